//! Why a text is no statement of the subset.

/// Why a text is no statement of the subset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Memgraph would refuse the text, too, with this message (as
    /// `Memgraph.ClientError.MemgraphError.MemgraphError`, before anything is executed).
    #[error("{0}")]
    Refused(String),
    /// Memgraph would take the text, or might; this project does not. Names the construct.
    #[error("not supported by the simulator: {0}")]
    Unsupported(String),
}
