//! `mgconsole`, or something very much like it.

use std::process::ExitCode;

fn main() -> ExitCode {
    mgconsole::call(std::env::args().skip(1))
}
