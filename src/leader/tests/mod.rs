mod contest;
mod guarding;
mod looking;
mod requests;
mod watching;
