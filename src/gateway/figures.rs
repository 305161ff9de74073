//! What a gateway tells of itself: metrics, and its status as JSON.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use serde::Serialize;

use super::{
    certificate::Certificate,
    dormitory::Dormitory,
    gate::{Gate, Port},
    statistics::{Direction, Ending, Refusal, Statistics},
};
use crate::{
    api::ledger::Route,
    grants::Report,
    metrics::{self, ApiRequests, Families, Labels, OwnProcess, Registry, Samples, Unit, labels},
};

/// Upper bounds of the time that a fence takes, in seconds.
const FENCE_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// How often the way to a MAIN was closed, and how long that took until the last of its sessions was gone.
#[derive(Debug)]
pub struct Fences {
    count: AtomicU64,
    durations: Histogram,
}

impl Default for Fences {
    fn default() -> Self {
        Self {
            count: AtomicU64::default(),
            durations: Histogram::new(FENCE_BUCKETS),
        }
    }
}

impl Fences {
    /// One more.
    pub fn note(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.durations.observe(took.as_secs_f64());
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// What the figures of a gateway are read from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Namespace of its cluster.
    pub namespace: String,
    /// Name of its cluster.
    pub cluster: String,
    /// Its requests to the API server.
    pub requests: ApiRequests,
    /// What has become of connections at the read-write port.
    pub read_write: Arc<Statistics>,
    /// What has become of connections at the read port.
    pub read: Arc<Statistics>,
    /// By which clients know the gateway; none: TLS does not end here.
    pub certificate: Option<Arc<Certificate>>,
}

/// The status of one gateway. All counts are since it was started.
#[derive(Debug, Serialize)]
pub struct Status {
    namespace: String,
    cluster: String,
    version: &'static str,
    /// What holds, as the operator is told.
    report: Report,
    /// How often the way to a MAIN was closed.
    fences: u64,
    read_write: PortStatus,
    read: PortStatus,
    /// The certificate by which clients know the gateway; none: TLS does not end here.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateStatus>,
}

/// The certificate for clients.
#[derive(Debug, Serialize)]
struct CertificateStatus {
    /// When it ends; none: there is no certificate.
    ends: Option<Timestamp>,
    /// What is mounted cannot be used.
    rejected: bool,
}

/// One port.
#[derive(Debug, Serialize)]
struct PortStatus {
    /// Sessions now.
    sessions: usize,
    /// Connections that were accepted.
    connections: u64,
    /// Those that were refused, by reason.
    refused: BTreeMap<&'static str, u64>,
    /// Sessions that have ended, by how.
    ended: BTreeMap<&'static str, u64>,
    /// Attempts to reach an instance that failed.
    failed_connects: u64,
    /// Attempts to accept a connection that failed for want of something in this process or its node.
    failed_accepts: u64,
    /// Bytes from clients to instances.
    bytes_up: u64,
    /// Bytes from instances to clients.
    bytes_down: u64,
}

impl Sources {
    /// The status, as it is now.
    #[must_use]
    pub fn status(&self, report: Report, gate: &Gate) -> Status {
        let sessions = report.sessions;
        Status {
            namespace: self.namespace.clone(),
            cluster: self.cluster.clone(),
            version: env!("CARGO_PKG_VERSION"),
            fences: gate.fences().count(),
            read_write: PortStatus::read(&self.read_write, sessions.read_write),
            read: PortStatus::read(&self.read, sessions.read),
            certificate: self.certificate.as_ref().map(|certificate| CertificateStatus {
                ends: certificate.ends(),
                rejected: certificate.is_rejected(),
            }),
            report,
        }
    }

    /// All that one scrape is told.
    #[must_use]
    pub fn registry(&self, report: Report, gate: &Gate) -> Registry {
        let mut registry = Registry::default();
        let gateway = registry.sub_registry_with_prefix("memgraph_gateway");
        self.requests.register(gateway);
        gateway.register_with_unit(
            "fence_duration",
            "How long it took to close the way to a MAIN, until the last of its sessions was gone",
            Unit::Seconds,
            gate.fences().durations.clone(),
        );
        let limits = gate.limits();
        let sample = Sample {
            status: self.status(report, gate),
            sleeping: gate.dormitory().map_or(0, Dormitory::sleepers),
            max_sessions: [limits.read_write, limits.read],
        };
        metrics::add(&mut registry, sample);
        metrics::add(&mut registry, OwnProcess::read());
        registry
    }
}

impl PortStatus {
    fn read(statistics: &Statistics, sessions: usize) -> Self {
        Self {
            sessions,
            connections: statistics.accepted(),
            refused: Refusal::ALL
                .map(|refusal| (refusal_name(refusal), statistics.refused(refusal)))
                .into(),
            ended: Ending::ALL
                .map(|ending| (ending_name(ending), statistics.ended(ending)))
                .into(),
            failed_connects: statistics.failed_connects(),
            failed_accepts: statistics.failed_accepts(),
            bytes_up: statistics.bytes(Direction::Up),
            bytes_down: statistics.bytes(Direction::Down),
        }
    }
}

fn refusal_name(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TooMany => "too_many",
        Refusal::TooFast => "too_fast",
        Refusal::Source => "source_not_allowed",
        Refusal::NoHeader => "no_proxy_header",
        Refusal::TooManyHeld => "too_many_held",
        Refusal::NoInstance => "no_instance",
        Refusal::OutOfResources => "out_of_resources",
        Refusal::Ending => "gateway_ends",
        Refusal::Gone => "client_gone",
        Refusal::PlainText => "plain_text",
        Refusal::Handshake => "tls_handshake",
        Refusal::NoCertificate => "no_certificate",
    }
}

fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Finished => "finished",
        Ending::Cut => "cut",
        Ending::Expired => "grant_expired",
        Ending::Idle => "idle",
        Ending::ByClient => "by_client",
        Ending::ByInstance => "by_instance",
    }
}

/// What one scrape is told.
#[derive(Debug)]
struct Sample {
    status: Status,
    sleeping: usize,
    max_sessions: [usize; 2],
}

const fn port_name(port: Port) -> &'static str {
    match port {
        Port::ReadWrite => "read_write",
        Port::Read => "read",
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus' figures are floating-point numbers"
)]
fn count(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus' figures are floating-point numbers"
)]
fn number(number: usize) -> f64 {
    number as f64
}

fn seconds(millis: u64) -> f64 {
    count(millis) / 1000.0
}

impl Sample {
    fn ports(&self) -> [(Port, &PortStatus); 2] {
        [
            (Port::ReadWrite, &self.status.read_write),
            (Port::Read, &self.status.read),
        ]
    }

    fn each_port(&self, value: impl Fn(&PortStatus) -> f64) -> Vec<(Labels, f64)> {
        self.ports()
            .map(|(port, status)| (labels([("port", port_name(port))]), value(status)))
            .into()
    }

    fn by_reason(&self, reasons: impl Fn(&PortStatus) -> &BTreeMap<&'static str, u64>) -> Vec<(Labels, f64)> {
        self.ports()
            .iter()
            .flat_map(|(port, status)| {
                reasons(status).iter().map(|(reason, n)| {
                    (
                        labels([("port", port_name(*port)), ("reason", reason)]),
                        count(*n),
                    )
                })
            })
            .collect()
    }
}

impl Samples for Sample {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        // Its namespace is that of the target that is scraped.
        let info = labels([
            ("cluster", &self.status.cluster),
            ("version", self.status.version),
        ]);
        families.gauge(
            "memgraph_gateway_info",
            "What this process is.",
            None,
            [(info, 1.0)],
        )?;
        self.write_route(families)?;
        self.write_certificate(families)?;
        self.write_ports(families)
    }
}

impl Sample {
    fn write_route(&self, families: &mut Families<'_>) -> fmt::Result {
        let report = &self.status.report;
        let alone = |value: Option<f64>| value.map(|value| (Vec::new(), value));
        let open = if report.route == Route::Open { 1.0 } else { 0.0 };
        families.gauge(
            "memgraph_gateway_route_open",
            "1 while writers are led to MAIN.",
            None,
            alone(Some(open)),
        )?;
        #[expect(clippy::cast_precision_loss, reason = "a term is a small number")]
        families.gauge(
            "memgraph_gateway_term",
            "The ledger's term that is in force here.",
            None,
            alone(Some(report.term as f64)),
        )?;
        families.gauge(
            "memgraph_gateway_grant_remaining",
            "For how long the right to lead clients to MAIN still lasts, unless it is renewed; missing: none is held.",
            Some(&Unit::Seconds),
            alone(report.held.as_ref().map(|held| seconds(held.remaining_millis))),
        )?;
        families.gauge(
            "memgraph_gateway_main_answer_age",
            "How long ago MAIN completed a Bolt handshake with this gateway; missing: not in this term.",
            Some(&Unit::Seconds),
            alone(report.reach.handshake_millis_ago.map(seconds)),
        )?;
        families.gauge(
            "memgraph_gateway_held_clients",
            "Clients that wait for a MAIN.",
            None,
            alone(Some(number(report.sessions.held))),
        )
    }

    fn write_certificate(&self, families: &mut Families<'_>) -> fmt::Result {
        let certificate = self.status.certificate.as_ref();
        let alone = |value: Option<f64>| value.map(|value| (Vec::new(), value));
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds since 1970 are exact for millions of years"
        )]
        let ends = certificate
            .and_then(|certificate| certificate.ends)
            .map(|ends| ends.as_second() as f64);
        families.gauge(
            "memgraph_gateway_certificate_expiry_timestamp",
            "When the certificate ends that clients are shown, in seconds since 1970; missing: TLS does not end here.",
            Some(&Unit::Seconds),
            alone(ends),
        )?;
        let rejected = certificate.map(|certificate| if certificate.rejected { 1.0 } else { 0.0 });
        families.gauge(
            "memgraph_gateway_certificate_rejected",
            "1 while the Secret for TLS with clients cannot be used, and what it said before goes on.",
            None,
            alone(rejected),
        )
    }

    fn write_ports(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "memgraph_gateway_sessions",
            "Sessions that lead to an instance.",
            None,
            self.each_port(|port| number(port.sessions)),
        )?;
        families.gauge(
            "memgraph_gateway_sleeping_sessions",
            "Those of them that have said nothing for a while, and occupy little memory.",
            None,
            [(Vec::new(), number(self.sleeping))],
        )?;
        let [read_write, read] = self.max_sessions;
        families.gauge(
            "memgraph_gateway_max_sessions",
            "Sessions that the spec allows (maxConnections).",
            None,
            [(Port::ReadWrite, read_write), (Port::Read, read)]
                .map(|(port, max)| (labels([("port", port_name(port))]), number(max))),
        )?;
        families.counter(
            "memgraph_gateway_connections",
            "Connections that were accepted.",
            None,
            self.each_port(|port| count(port.connections)),
        )?;
        families.counter(
            "memgraph_gateway_refusals",
            "Connections that were reset before they led anywhere.",
            None,
            self.by_reason(|port| &port.refused),
        )?;
        families.counter(
            "memgraph_gateway_session_ends",
            "Sessions that have ended; cut: the way to their instance was closed.",
            None,
            self.by_reason(|port| &port.ended),
        )?;
        families.counter(
            "memgraph_gateway_failed_connects",
            "Attempts to reach an instance that failed.",
            None,
            self.each_port(|port| count(port.failed_connects)),
        )?;
        families.counter(
            "memgraph_gateway_failed_accepts",
            "Attempts to accept a connection that failed for want of something in this process or its node.",
            None,
            self.each_port(|port| count(port.failed_accepts)),
        )?;
        let bytes = self.ports().into_iter().flat_map(|(port, status)| {
            [("up", status.bytes_up), ("down", status.bytes_down)].map(|(direction, bytes)| {
                let labels = labels([("port", port_name(port)), ("direction", direction)]);
                (labels, count(bytes))
            })
        });
        families.counter(
            "memgraph_gateway_passed",
            "Bytes that were passed on; up: from clients to instances.",
            Some(&Unit::Bytes),
            bytes,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gateway::Keeper,
        grants::{Held, MainReach, SessionCounts},
        leader::BootClock,
        metrics::{listed, text},
    };

    fn sources() -> Sources {
        let read_write = Arc::new(Statistics::new(Port::ReadWrite));
        read_write.accept();
        read_write.accept();
        read_write.refuse(Refusal::TooMany, None);
        read_write.fail_accept();
        read_write.begin().end(Ending::Cut);
        read_write.pass(Direction::Up, 100);
        Sources {
            namespace: "graphs".to_owned(),
            cluster: "demo".to_owned(),
            requests: ApiRequests::default(),
            read_write,
            read: Arc::new(Statistics::new(Port::Read)),
            certificate: Some(Arc::default()),
        }
    }

    fn report() -> Report {
        Report {
            term: 4,
            route: Route::Open,
            sessions: SessionCounts {
                read_write: 3,
                read: 2,
                held: 1,
                paused: 0,
            },
            held: Some(Held {
                term: 4,
                remaining_millis: 1500,
                tainted: false,
                failsafe: false,
            }),
            reach: MainReach {
                handshake_millis_ago: Some(250),
                ..MainReach::default()
            },
            ..Report::default()
        }
    }

    #[test]
    fn the_metrics_are_those_that_alerts_and_dashboards_rest_on() {
        let gate = Gate::new(Keeper::new(BootClock, "uid".to_owned(), 1));
        let sources = sources();
        sources.requests.note("get", "memgraphclusters", None);
        let text = text(&sources.registry(report(), &gate)).unwrap();
        assert_eq!(
            listed(&text).join("\n") + "\n",
            include_str!("metrics.golden"),
            "{text}"
        );
        for sample in [
            r#"memgraph_gateway_connections_total{port="read_write"} 2.0"#,
            r#"memgraph_gateway_refusals_total{port="read_write",reason="too_many"} 1.0"#,
            r#"memgraph_gateway_session_ends_total{port="read_write",reason="cut"} 1.0"#,
            r#"memgraph_gateway_failed_accepts_total{port="read_write"} 1.0"#,
            r#"memgraph_gateway_passed_bytes_total{port="read_write",direction="up"} 100.0"#,
            r#"memgraph_gateway_sessions{port="read"} 2.0"#,
            r#"memgraph_gateway_api_requests_total{verb="get",resource="memgraphclusters",code="none"} 1"#,
            "memgraph_gateway_held_clients 1.0",
            "memgraph_gateway_sleeping_sessions 0.0",
            "memgraph_gateway_certificate_rejected 0.0",
            "memgraph_gateway_grant_remaining_seconds 1.5",
            "memgraph_gateway_main_answer_age_seconds 0.25",
            "memgraph_gateway_route_open 1.0",
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
        }
    }

    #[test]
    fn the_status_has_the_same_figures() {
        let gate = Gate::new(Keeper::new(BootClock, "uid".to_owned(), 1));
        gate.fences().note(Duration::from_millis(3));
        let status = serde_json::to_value(sources().status(report(), &gate)).unwrap();
        assert_eq!(status["cluster"], "demo");
        assert_eq!(status["report"]["term"], 4);
        assert_eq!(status["fences"], 1);
        assert_eq!(status["read_write"]["refused"]["too_many"], 1);
        assert_eq!(status["read_write"]["sessions"], 3);
        assert_eq!(status["read"]["connections"], 0);
    }
}
