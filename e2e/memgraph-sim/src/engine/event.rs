//! What goes into an engine and what comes out of it.

use std::time::Duration;

use super::message::PeerMessage;

/// The engine's clock: how long after its start something happens. Whoever drives the engine decides what
/// that means; tests let it be virtual.
pub type Time = Duration;

/// Names a client's session. The driver chooses it; it must not be used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Names a connection between two instances. Those that the engine opens have even numbers, those that the
/// driver accepts must have odd ones; none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// Whether the driver has accepted it.
    pub(super) const fn is_incoming(self) -> bool {
        self.0 % 2 == 1
    }
}

/// Names an operation whose result the engine waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// The process was asked to stop (SIGTERM).
    Stop,
    /// A client connected.
    SessionOpened(SessionId),
    /// A client asks for something. Each session has at most one request outstanding.
    Request(SessionId, bolt_server::Request),
    /// A client is gone. What it asked for last may still happen.
    SessionClosed(SessionId),
    /// An instance connected to the replication port.
    Accepted(ConnectionId),
    /// A connection that the engine asked for is there.
    Connected(ConnectionId),
    /// A connection broke, was closed by the peer, or could not be made.
    Disconnected(ConnectionId),
    /// A message of another instance. Messages of one connection arrive in order.
    Received(ConnectionId, PeerMessage),
    /// What became of [`Effect::Listen`].
    Listening(Token, bool),
    /// What became of [`Effect::ReloadTls`]: why the files cannot be used, if so.
    TlsReloaded(Token, Result<(), String>),
    /// What became of a disk operation.
    Disk(Token, Result<DiskReply, DiskError>),
}

/// Something that the driver has to do, in the order in which it is given.
#[derive(Debug)]
pub enum Effect {
    /// The start is complete: open the Bolt port.
    Ready,
    /// The process ends. Nothing that follows is carried out.
    Exit(ExitReason),
    /// The answer to a client's request.
    Respond(SessionId, bolt_server::Response),
    /// Open the replication port, and tell with [`Event::Listening`].
    Listen(Token, u16),
    /// Close the replication port (but not its connections).
    StopListening,
    /// Connect to `host:port`; the name is to be resolved now.
    Connect(ConnectionId, String),
    /// Send a message.
    Send(ConnectionId, PeerMessage),
    /// Close a connection, without an event.
    Disconnect(ConnectionId),
    /// Do something on disk. With a token, tell with [`Event::Disk`]; all but [`DiskOperation::Sync`] and
    /// [`DiskOperation::Replace`] must take effect before the next effect is carried out. Without one, all must,
    /// and the process ends with [`DiskOperation::last_words`] if it cannot be done.
    Disk(Option<Token>, DiskOperation),
    /// A run-time setting has this value now; those that outlive a restart are also told at the start.
    Setting(String, String),
    /// Read the files of the Bolt port's TLS again, and tell with [`Event::TlsReloaded`].
    ReloadTls(Token),
    /// A line for the log.
    Log(Level, String),
}

/// Why the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// It was asked to.
    Stopped,
    /// It cannot go on, for example because a state file cannot be read.
    Fatal(String),
}

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// TRACE
    Trace,
    /// DEBUG
    Debug,
    /// INFO
    Info,
    /// WARNING
    Warning,
    /// ERROR
    Error,
}

/// An operation on the data directory; all paths are relative to it. Folders are made as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskOperation {
    /// Write at the end of a file, made if it does not exist.
    Append(String, Vec<u8>),
    /// Put a whole file in place, so that a reader sees the old content or the new one.
    Replace(String, Vec<u8>),
    /// Make what was written to a file survive a power loss.
    Sync {
        /// The file.
        path: String,
        /// How many bytes were written to it since its last sync: Memgraph tells that if the sync fails.
        unsynced: u64,
    },
    /// Rename a file or folder; a file in the way is replaced.
    Rename(String, String),
    /// Remove a file, or a folder with all that is in it; it need not exist.
    Remove(String),
    /// Read a whole file.
    Read(String),
    /// List the files of a folder, but not its folders; a folder that does not exist is empty.
    List(String),
}

impl DiskOperation {
    /// What an instance says before it ends because this could not be done.
    ///
    /// For a sync, it is what Memgraph says (`OutputFile::Sync` in `src/utils/file.cpp`): it cannot know what is on
    /// the disk after that, and aborts itself. Log files and snapshots are synced in the same way.
    pub fn last_words(&self, data_directory: &str, error: &DiskError) -> String {
        match self {
            Self::Sync { path, unsynced } => {
                let directory = data_directory.trim_end_matches('/');
                format!(
                    "While trying to sync {directory}/{path}, an error occurred: {error}. Possibly {unsynced} bytes from \
                     previous write calls were lost."
                )
            }
            _ => format!("Couldn't write to disk: {error}"),
        }
    }
}

/// The result of a [`DiskOperation`] that worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskReply {
    /// It is done.
    Done,
    /// The content of the file that was read.
    Content(Vec<u8>),
    /// Names of files, sorted.
    Names(Vec<String>),
}

/// The result of a [`DiskOperation`] that did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// There is no such file.
    #[error("no such file")]
    Missing,
    /// Anything else, as the operating system words it, with the number that it has there:
    /// `Input/output error (5)`.
    #[error("{0}")]
    Failed(String),
}
