//! Logs: one JSON object a line on standard error.

use tracing_subscriber::EnvFilter;

/// What libraries say at these levels is said by this program too, where it matters.
const LIBRARIES: &str = "neo4rs=warn,kube_client::client::builder=off";

/// Starts logging. `level` is a level (`info`) or a filter as `tracing` takes it (`info,memgraph_operator=debug`).
///
/// # Errors
/// When the filter cannot be read.
pub fn start(level: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::try_new(format!("{LIBRARIES},{level}"))?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .init();
    Ok(())
}
