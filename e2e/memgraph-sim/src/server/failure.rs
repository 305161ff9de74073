//! Why the server does not start, and with which exit code it says so.

use bolt_server::UnknownVersion;

use super::{faults::ControlError, tls::TlsError};
use crate::flags::FlagErrors;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// It was asked to stop.
    Stopped = 0,
    /// The command line is wrong, or help was asked for.
    Usage = 1,
    /// The data directory belongs to somebody else (utils/exit_codes.hpp; 3.11 and later).
    DataDirectoryOwner = 12,
    /// The log file cannot be written (3.11 and later).
    LogFile = 13,
    /// It cannot go on. Memgraph aborts itself, for which a shell shows this number.
    Aborted = 134,
}

/// Why the server does not start, or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The variable that selects the release has a wrong value.
    #[error("MEMGRAPH_SIM_VERSION: {0}")]
    Version(#[from] UnknownVersion),
    /// The command line or a configuration file is wrong.
    #[error("{0}")]
    Flags(#[from] FlagErrors),
    /// Words of the command line belong to no flag (3.10 and later).
    #[error("{0}")]
    Words(String),
    /// Faults were to be asked for in a way that does not work.
    #[error("{0}")]
    Faults(#[from] ControlError),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {error}; check that it exists and is writable")]
    DataDirectory {
        /// The directory.
        path: String,
        /// What went wrong.
        error: std::io::Error,
    },
    /// The data directory belongs to another user.
    #[error("{message}")]
    Owner {
        /// The text of the release.
        message: String,
        /// Whether the release has an exit code for it.
        coded: bool,
    },
    /// The log file cannot be written.
    #[error("Failed to open log file '{path}': {error}.")]
    LogFile {
        /// The file.
        path: String,
        /// What went wrong.
        error: std::io::Error,
        /// Whether the release has an exit code for it.
        coded: bool,
    },
    /// The operating system refused something that every server needs.
    #[error("cannot set the server up: {0}")]
    System(#[from] std::io::Error),
    /// The server could not start, or not go on.
    #[error("{0}")]
    Fatal(String),
}

impl From<TlsError> for StartError {
    fn from(error: TlsError) -> Self {
        Self::Fatal(error.to_string())
    }
}

impl StartError {
    /// The exit code that goes with the error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Version(_) | Self::Flags(_) | Self::Words(_) | Self::Faults(_) => ExitCode::Usage,
            Self::Owner { coded: true, .. } => ExitCode::DataDirectoryOwner,
            Self::LogFile { coded: true, .. } => ExitCode::LogFile,
            Self::Owner { .. }
            | Self::LogFile { .. }
            | Self::DataDirectory { .. }
            | Self::System(_)
            | Self::Fatal(_) => ExitCode::Aborted,
        }
    }
}
