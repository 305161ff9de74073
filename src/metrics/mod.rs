//! Metrics for Prometheus: how they are written down, and those that every process has.
//!
//! Whatever a process knows is read anew for each scrape, so that no figure is older than the question. Names follow
//! Prometheus' rules: base units, `_total` on counters, no unit inside a name, and no label whose values have no bound.

mod api_requests;
mod families;
mod process;
#[cfg(test)]
mod tests;

pub use api_requests::ApiRequests;
pub(crate) use api_requests::verb;
pub use families::{Families, Labels, labels};
pub use process::OwnProcess;

use std::fmt;

pub use prometheus_client::registry::{Registry, Unit};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, encoding::text::encode};
use tracing::error;
use warp::{
    Filter, Rejection, Reply,
    http::{StatusCode, header::CONTENT_TYPE},
    reply::{Response, with_header, with_status},
};

/// What the answers are written in: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`: all that is in the registry that `read` makes for each request.
pub fn filter<R, F>(read: R) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone
where
    R: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Registry> + Send,
{
    warp::path!("metrics").and(warp::get()).then(move || {
        let reading = read();
        async move { answer(&reading.await) }
    })
}

fn answer(registry: &Registry) -> Response {
    match text(registry) {
        Ok(text) => with_header(text, CONTENT_TYPE, OPEN_METRICS).into_response(),
        Err(error) => {
            error!(%error, "the metrics cannot be written down");
            with_status(
                "the metrics cannot be written down\n",
                StatusCode::INTERNAL_SERVER_ERROR,
            )
            .into_response()
        }
    }
}

/// All that is in a registry, as Prometheus reads it.
///
/// # Errors
/// When a collector cannot write its samples.
pub fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(text)
}

/// Samples that were read for one scrape.
pub trait Samples: fmt::Debug + Send + Sync + 'static {
    /// Writes them down.
    ///
    /// # Errors
    /// When what they are written to takes no more.
    fn write(&self, families: &mut Families<'_>) -> fmt::Result;
}

/// Adds samples to a registry.
pub fn add(registry: &mut Registry, samples: impl Samples) {
    #[derive(Debug)]
    struct Collected<S>(S);

    impl<S: Samples> Collector for Collected<S> {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.write(&mut Families::new(encoder))
        }
    }

    registry.register_collector(Box::new(Collected(samples)));
}

/// The names and types in an answer, one a line: what alerts and dashboards may rest on.
#[cfg(test)]
pub(crate) fn listed(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect()
}
