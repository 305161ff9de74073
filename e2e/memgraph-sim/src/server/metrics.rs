//! Numbers over HTTP, on the metrics port.
//!
//! Up to 3.10 the port refuses everybody without a licence; from 3.11 on it is open (http_handlers/). Only
//! what the simulator measures is there: a name that is missing is not known here, rather than zero.

mod collect;

use std::{convert::Infallible, rc::Rc};

use bolt_server::Version;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue, SERVER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::spawn_local,
};

use super::{Driver, peers::bind};
use crate::flags::Flags;

/// What the HTTP library that Memgraph uses calls itself, without the number of its release.
const SERVER_NAME: &str = "Boost.Beast";
/// The answer without a licence, up to 3.10.
const NO_LICENCE: &str = "Memgraph must have an Enterprise License for providing metrics! Check your license status by \
                          running SHOW LICENSE INFO.";

/// How the numbers are written (`--metrics-format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    OpenMetrics,
}

/// The metrics port as flags set it.
#[derive(Debug)]
pub(super) struct MetricsPort {
    address: (String, u16),
    version: Version,
    format: Format,
}

impl MetricsPort {
    pub(super) fn new(version: Version, flags: &Flags) -> Self {
        let format = match flags.text("metrics_format") {
            "OpenMetrics" => Format::OpenMetrics,
            _ => Format::Json,
        };
        Self {
            address: (
                flags.text("metrics_address").to_owned(),
                flags.port("metrics_port"),
            ),
            version,
            format,
        }
    }

    /// Why a request gets no numbers.
    fn refusal(&self, method: &Method, target: &str) -> Option<(StatusCode, &'static str)> {
        if self.version < Version::V3_11 {
            return Some((StatusCode::BAD_REQUEST, NO_LICENCE));
        }
        if method != Method::GET {
            return Some((StatusCode::BAD_REQUEST, "Unknown HTTP-method"));
        }
        match self.format {
            Format::Json if !target.starts_with('/') || target.contains("..") => {
                Some((StatusCode::BAD_REQUEST, "Illegal request-target"))
            }
            Format::OpenMetrics if !matches!(target, "/" | "/metrics") => {
                Some((StatusCode::NOT_FOUND, "Not Found"))
            }
            _ => None,
        }
    }

    fn content_type(&self, status: StatusCode) -> &'static str {
        match self.format {
            Format::Json => "application/json",
            Format::OpenMetrics if status == StatusCode::OK => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
            Format::OpenMetrics => "text/plain",
        }
    }
}

impl Driver {
    /// Opens the metrics port. The server goes on without it if it is taken.
    pub(super) fn open_metrics_port(self: &Rc<Self>) {
        let (address, port) = &self.metrics_port.address;
        let Ok(listener) = bind(address, *port) else {
            return tracing::warn!(
                "Metrics server failed to start on port {port}. The port may already be in use."
            );
        };
        tracing::trace!("Metrics server started");
        let driver = Rc::clone(self);
        spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => driver.measure(stream),
                    Err(error) => {
                        tracing::warn!("cannot accept a client of the metrics: {error}");
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
    }

    fn measure(self: &Rc<Self>, stream: TcpStream) {
        let driver = Rc::clone(self);
        spawn_local(async move {
            match driver.client_tls.acceptor() {
                None => driver.answer_requests(stream).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => driver.answer_requests(stream).await,
                    Err(error) => tracing::warn!("Failed on SSL handshake: {error}"),
                },
            }
        });
    }

    async fn answer_requests<S>(self: &Rc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let answer = |request: Request<Incoming>| {
            let response = self.answer(&request);
            async { Ok::<_, Infallible>(response) }
        };
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service_fn(answer))
            .await;
        if let Err(error) = served {
            tracing::debug!("a client of the metrics is gone: {error}");
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let port = &self.metrics_port;
        let (status, body) = match port.refusal(request.method(), request.uri().path()) {
            Some((status, reason)) if port.format == Format::Json => {
                (status, json!({ "error": reason }).to_string())
            }
            Some((status, reason)) => (status, reason.to_owned()),
            None => {
                let numbers = self.numbers();
                let body = match port.format {
                    Format::Json => numbers.to_json(),
                    Format::OpenMetrics => numbers.to_open_metrics(),
                };
                (StatusCode::OK, body)
            }
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static(SERVER_NAME));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(port.content_type(status)));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(version: Version, format: Format) -> MetricsPort {
        MetricsPort {
            address: ("127.0.0.1".to_owned(), 0),
            version,
            format,
        }
    }

    #[test]
    fn metrics_are_for_licensees_up_to_3_10() {
        let refusal = port(Version::V3_10, Format::Json).refusal(&Method::GET, "/");
        assert_eq!(refusal, Some((StatusCode::BAD_REQUEST, NO_LICENCE)));
        assert_eq!(
            port(Version::V3_11, Format::Json).refusal(&Method::GET, "/"),
            None
        );
    }

    #[test]
    fn json_is_at_every_path_and_open_metrics_at_two() {
        let json = port(Version::V3_12, Format::Json);
        assert_eq!(json.refusal(&Method::GET, "/any/path"), None);
        assert!(json.refusal(&Method::GET, "/a/../b").is_some());
        assert!(json.refusal(&Method::POST, "/").is_some());
        let open = port(Version::V3_12, Format::OpenMetrics);
        assert_eq!(open.refusal(&Method::GET, "/metrics"), None);
        let (status, _) = open.refusal(&Method::GET, "/any/path").unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
}
