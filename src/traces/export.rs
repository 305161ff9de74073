//! The way to the collector.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use rustls::{ClientConfig, RootCertStore};
use tokio::{sync::mpsc, time::timeout};

/// Spans in one request.
const BATCH: usize = 256;
/// For how long one request is waited for.
const DEADLINE: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const ANSWER: usize = 64 << 10;

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The address is none, or a variable such as OTEL_EXPORTER_OTLP_HEADERS cannot be used.
    #[error(
        "the collector of traces {endpoint} cannot be used: it must be a URL such as http://collector:4318"
    )]
    Unusable {
        /// Its address.
        endpoint: String,
        /// Why not.
        source: ExporterBuildError,
    },
    /// Nothing says which certificates are good.
    #[error(
        "the collector of traces {endpoint} speaks TLS, but there are no root certificates to check it by"
    )]
    NoRoots {
        /// Its address.
        endpoint: String,
    },
}

/// Who tells of something.
#[derive(Clone, Debug)]
pub struct Service {
    /// What it is, such as `memgraph-gateway`.
    pub name: &'static str,
    /// Which of several, such as the name of its pod.
    pub instance: String,
}

/// A collector that takes spans by OTLP over HTTP.
#[derive(Debug)]
pub struct Collector {
    exporter: SpanExporter,
}

impl Collector {
    /// One at this address, to which `/v1/traces` is added. OTEL_EXPORTER_OTLP_HEADERS and OTEL_RESOURCE_ATTRIBUTES are obeyed.
    ///
    /// # Errors
    /// When the address is none, or its certificate could not be checked.
    pub fn at(endpoint: &str, service: &Service) -> Result<Self, CollectorError> {
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Http::new(endpoint)?)
            .with_timeout(DEADLINE)
            .with_endpoint(url)
            .build()
            .map_err(|source| CollectorError::Unusable {
                endpoint: endpoint.to_owned(),
                source,
            })?;
        let resource = Resource::builder()
            .with_service_name(service.name)
            .with_attribute(KeyValue::new("service.instance.id", service.instance.clone()))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        exporter.set_resource(&resource);
        Ok(Self { exporter })
    }

    /// Sends whatever comes, for ever. What the collector does not take is lost.
    pub(super) async fn take(self, mut spans: mpsc::Receiver<SpanData>) {
        let mut batch = Vec::new();
        while spans.recv_many(&mut batch, BATCH).await > 0 {
            let count = batch.len();
            match self.exporter.export(std::mem::take(&mut batch)).await {
                Ok(()) => tracing::debug!(count, "spans sent"),
                Err(error) => tracing::warn!(%error, count, "the collector has not taken spans"),
            }
        }
    }
}

#[derive(Debug)]
struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    fn new(endpoint: &str) -> Result<Self, CollectorError> {
        let mut roots = RootCertStore::empty();
        if endpoint.starts_with("https:") {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(CollectorError::NoRoots {
                    endpoint: endpoint.to_owned(),
                });
            }
        }
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = async {
            let (parts, body) = self.client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
            Ok(Response::from_parts(parts, body))
        };
        timeout(DEADLINE, exchange).await?
    }
}
