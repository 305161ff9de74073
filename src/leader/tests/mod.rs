mod contest;
mod guarding;
mod requests;
mod watching;
