//! Logs: one JSON object a line on standard error.

use tracing_subscriber::EnvFilter;

/// Starts logging. `level` is a level (`info`) or a filter as `tracing` takes it (`info,memgraph_operator=debug`).
///
/// # Errors
/// When the filter cannot be read.
pub fn start(level: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::try_new(level)?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .init();
    Ok(())
}
