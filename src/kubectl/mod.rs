//! `kubectl memgraph`: looks at clusters and asks the operator for what a human may ask for.
//!
//! It has no rights of its own and reaches nothing but the API server: it reads and changes MemgraphClusters, forwards ports, copies
//! files and reads logs with the rights of whoever calls it. Where these allow it, the operator's own view is read through the API server too (`services/proxy`).

mod access;
mod args;
mod backup;
mod change;
mod console;
mod page;
mod render;
mod report;
mod shelf;
mod status;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, process::ExitCode};

use clap::CommandFactory;

pub use args::{Arguments, Output};

use self::args::Command;

/// How a call has ended, as its exit code says. 2 is a call that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0: done; of `status`: clients can write.
    Done,
    /// 3: of `status`: clients cannot write to some cluster that was asked for.
    NotReady,
    /// 4: the operator has refused what was asked for, or it has failed.
    Refused,
    /// 5: it was asked for, and was not over in time. It goes on.
    TimedOut,
}

impl Outcome {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotReady => 3,
            Self::Refused => 4,
            Self::TimedOut => 5,
        }
    }
}

/// Why a call could not be carried out (exit code 1).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cluster to talk to.
    #[error(
        "cannot find out how to reach the Kubernetes cluster: check --kubeconfig, --context and KUBECONFIG"
    )]
    Config(#[from] Box<dyn std::error::Error + Send + Sync>),
    /// A request was not answered as it should.
    #[error("cannot {action}")]
    Request {
        /// What was to be done.
        action: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// A watch was not answered as it should.
    #[error("cannot follow {cluster}")]
    Watch {
        /// The cluster.
        cluster: String,
        /// Why not.
        source: Box<kube::runtime::watcher::Error>,
    },
    /// What was asked for makes no sense here.
    #[error("{0}")]
    Usage(String),
    /// The program that is to talk with the database is there, and does not start.
    #[error("cannot start {program}; --builtin does without it")]
    Program {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// The own shell has stopped.
    #[error(transparent)]
    Shell(#[from] mgconsole::Stopped),
    /// The shell's connection has ended in the middle of a statement.
    #[error(
        "the connection has ended while an answer was waited for ({0}), as it does when MAIN moves: it is not known whether that \
         statement was carried out. Look before it is repeated"
    )]
    Lost(String),
    /// Nobody has taken the shell's connection.
    #[error("{way} of {cluster} takes no connection; `kubectl memgraph status {cluster}` says why")]
    Untaken {
        /// The cluster.
        cluster: String,
        /// Where to.
        way: &'static str,
        /// What was said.
        source: mgconsole::Failure,
    },
    /// A port of this machine cannot be had.
    #[error("cannot listen on {address}; --port names another one")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The report cannot be packed.
    #[error("cannot pack the report")]
    Zip(#[from] zip::result::ZipError),
    /// The answer cannot be shown.
    #[error("cannot write the answer as JSON")]
    Json(#[from] serde_json::Error),
    /// The answer cannot be shown.
    #[error("cannot write the answer as YAML")]
    Yaml(#[from] serde_yaml::Error),
    /// The answer cannot be shown.
    #[error("cannot write the answer")]
    Write(#[from] io::Error),
}

/// Carries out a call on the streams of this process. Returns its exit code.
pub async fn call(arguments: Arguments) -> ExitCode {
    // Colours are left out where nobody sees them.
    let (mut out, mut progress) = (anstream::stdout(), anstream::stderr());
    match run(arguments, &mut out, &mut progress).await {
        Ok(outcome) => outcome.code().into(),
        Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kubectl memgraph: {}", crate::controller::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Carries out a call. `out` gets the answer, `progress` what happens meanwhile.
///
/// # Errors
/// When the API server cannot be reached, refuses, or does not know what is asked for.
pub async fn run(
    arguments: Arguments,
    out: &mut dyn io::Write,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    if let Command::Completion { shell } = arguments.command {
        let mut command = Arguments::command();
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "kubectl-memgraph", &mut script);
        out.write_all(&script)?;
        return Ok(Outcome::Done);
    }
    let access = access::Access::new(&arguments.access).await?;
    carry_out(arguments.command, &access, out, progress).await
}

async fn carry_out(
    command: Command,
    access: &access::Access,
    out: &mut dyn io::Write,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    match command {
        Command::Status(asked) => status::show(&asked, access, out, progress).await,
        Command::Switchover(asked) => change::switchover(&asked, access, progress).await,
        Command::Reset(asked) => change::reset(&asked, access, progress).await,
        Command::Fence(asked) => change::fence(&asked, true, access, progress).await,
        Command::Unfence(asked) => change::fence(&asked, false, access, progress).await,
        Command::Pause(asked) => change::pause(&asked, true, access, progress).await,
        Command::Resume(asked) => change::pause(&asked, false, access, progress).await,
        Command::Console(asked) => console::open(&asked, access, progress).await,
        Command::Backup(asked) => backup::take(&asked, access, out, progress).await,
        Command::Page(asked) => page::open(&asked, access, progress).await,
        Command::Report(asked) => report::write(&asked, access, progress).await,
        Command::Completion { .. } => Ok(Outcome::Done),
    }
}
