//! A stand-in for `mgconsole`, Memgraph's command-line client: the same flags, the same reading of statements,
//! the same output and exit codes, for scripts and recipes that pipe statements into it. Written anew after the
//! behaviour of mgconsole 1.5.
//!
//! What is not there: `--import-mode` other than `serial`, line editing and history, points, and date-times
//! in a named time zone.

mod client;
mod flags;
mod input;
mod interactive;
mod output;
mod temporal;
mod tls;
mod values;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use self::{
    client::{Failure, Session},
    flags::{Flags, Outcome},
    input::Statements,
};

fn main() -> ExitCode {
    let flags = match Flags::parse(std::env::args().skip(1)) {
        Outcome::Run(flags) => flags,
        Outcome::Tell(text) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Outcome::Help(text) => {
            print!("{text}");
            return ExitCode::FAILURE;
        }
        Outcome::Refuse(reason) => {
            eprintln!("{reason}");
            return ExitCode::FAILURE;
        }
    };
    let ended = if io::stdin().is_terminal() {
        interactive::run(flags)
    } else {
        run(&flags)
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Why statements from a pipe were not all executed.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("Connection failure: {0}")]
    Connection(Failure),
    #[error("Failed query: {statement}\nClient received query exception: {message}")]
    Query { statement: String, message: String },
    #[error("Client received connection exception: {0}")]
    Lost(String),
    #[error("{0}")]
    Output(#[from] output::Error),
    #[error("cannot read statements: {0}")]
    Input(#[from] io::Error),
    #[error("Password not submitted: Requested password for username {0}")]
    NoPassword(String),
}

/// Executes what comes from a pipe, up to the first failure.
fn run(flags: &Flags) -> Result<(), Stopped> {
    let mut session = Session::connect(flags).map_err(Stopped::Connection)?;
    let mut statements = Statements::new(io::stdin().lock());
    let mut output = io::stdout().lock();
    while let Some(statement) = statements.next()? {
        if statement.is_empty() {
            continue;
        }
        let answer = session.execute(&statement).map_err(|failure| match failure {
            Failure::Query(message) => Stopped::Query { statement, message },
            Failure::Connection(message) => Stopped::Lost(message),
        })?;
        output::write(&mut output, &answer, flags)?;
        output.flush().map_err(output::Error::from)?;
    }
    Ok(())
}
