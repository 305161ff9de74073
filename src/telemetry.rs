//! Logs: one JSON object a line on standard error.

use tracing_subscriber::EnvFilter;

/// Starts logging. `level` is a level (`info`) or a filter as `tracing` takes it (`info,memgraph_operator=debug`).
///
/// # Errors
/// When the filter cannot be read.
pub fn start(level: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    // The client logs each attempt that fails as an error; an outage is told once, by who makes the attempts.
    let filter = EnvFilter::try_new(level)?.add_directive("kube_client::client::builder=off".parse()?);
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .init();
    Ok(())
}
