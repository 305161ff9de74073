//! A stand-in for `mgconsole`, Memgraph's command-line client: the same flags, the same reading of statements,
//! the same output and exit codes, for scripts and recipes that pipe statements into it. Written anew after the
//! behaviour of mgconsole 1.5.
//!
//! What is not there: `--import-mode` other than `serial`, line editing and history, points, and date-times
//! in a named time zone.
//!
//! As a library it is the shell of `kubectl memgraph console`, and asks what `kubectl memgraph backup` asks.

mod client;
mod flags;
mod input;
mod interactive;
mod output;
mod temporal;
pub mod tls;
mod values;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

pub use self::{client::Failure, output::Error};

/// What a statement returns: of each row, what is in each column.
pub type Rows = Vec<bolt_server::Map>;

use self::{
    client::Session,
    flags::{Flags, Outcome},
    input::Statements,
};

/// Does what a command line, without the program's name, asks for.
#[must_use]
pub fn call(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let flags = match Flags::parse(arguments) {
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
    match talk(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Where a shell is led to.
#[derive(Clone)]
pub struct Server {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it expects TLS. Its certificate is not checked, as mgconsole does not either.
    pub tls: bool,
    /// The user. Empty: nobody.
    pub username: String,
    /// The password. Empty: a terminal is asked for it, if there is a user.
    pub password: String,
    /// For how long a terminal's connection that is lost is made anew, before the shell ends.
    pub patience: Duration,
}

impl From<&Server> for Flags {
    fn from(server: &Server) -> Self {
        Self {
            host: server.host.clone(),
            port: server.port,
            username: server.username.clone(),
            password: server.password.clone(),
            tls: server.tls,
            patience: server.patience,
            ..Self::default()
        }
    }
}

/// Executes one statement, and returns its rows. It blocks.
///
/// # Errors
/// When the server cannot be reached or ends the connection, and when it refuses the statement.
pub fn ask(server: &Server, statement: &str) -> Result<Rows, Failure> {
    let answer = Session::connect(&server.into())?.execute(statement)?;
    let columns = answer.header;
    let row = |values: Vec<_>| columns.iter().cloned().zip(values).collect();
    Ok(answer.rows.into_iter().map(row).collect())
}

/// Executes statements from standard input and shows their rows as tables: those of a pipe up to the first failure, those of a
/// terminal until it ends. It blocks.
///
/// # Errors
/// When the server cannot be reached or ends the connection, and when a statement from a pipe fails.
pub fn shell(server: &Server) -> Result<(), Stopped> {
    talk(server.into())
}

fn talk(flags: Flags) -> Result<(), Stopped> {
    if io::stdin().is_terminal() {
        interactive::run(flags)
    } else {
        run(&flags)
    }
}

/// Why statements were not all executed.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The server does not answer, or lets nobody in with these credentials.
    #[error("Connection failure: {0}")]
    Connection(Failure),
    /// A statement from a pipe was refused.
    #[error("Failed query: {statement}\nClient received query exception: {message}")]
    Query {
        /// The statement.
        statement: String,
        /// What the server says.
        message: String,
    },
    /// The connection has ended while an answer was waited for.
    #[error("Client received connection exception: {0}")]
    Lost(String),
    /// Rows cannot be shown.
    #[error("{0}")]
    Output(#[from] output::Error),
    /// Statements cannot be read.
    #[error("cannot read statements: {0}")]
    Input(#[from] io::Error),
    /// The terminal has ended instead of naming the user's password.
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
