//! What is measured, and how it is written.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::{Map, Value, json};

use super::super::Driver;
use crate::engine::Statistics;

/// Whose number it is: in OpenMetrics those of the database carry its name and UUID.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Instance,
    Database,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
}

/// A number, with its names in both formats (metrics/prometheus_metrics.cpp, http_handlers/metrics.hpp).
struct Number {
    value: u64,
    scope: Scope,
    kind: Kind,
    name: &'static str,
    help: &'static str,
    /// Group and key in the JSON form.
    json: &'static [(&'static str, &'static str)],
}

/// A look at all numbers.
pub(super) struct Numbers {
    database: String,
    average_degree: f64,
    numbers: Vec<Number>,
}

impl Driver {
    pub(super) fn numbers(&self) -> Numbers {
        let statistics = self.engine.borrow().statistics();
        let disk = disk_usage(self.disk.root());
        let (resident, peak) = memory();
        let average_degree = match statistics.vertices {
            0 => 0.0,
            vertices => 2.0 * statistics.edges as f64 / vertices as f64,
        };
        let mut numbers = engine_numbers(&statistics);
        numbers.extend(self.session_numbers());
        numbers.extend([
            Number {
                value: disk,
                scope: Scope::Database,
                kind: Kind::Gauge,
                name: "memgraph_disk_usage_bytes",
                help: "Disk usage of the database in bytes",
                json: &[("General", "disk_usage")],
            },
            Number {
                value: resident,
                scope: Scope::Instance,
                kind: Kind::Gauge,
                name: "memgraph_memory_res_bytes",
                help: "Resident memory usage of the process in bytes",
                json: &[("General", "memory_usage")],
            },
            Number {
                value: peak,
                scope: Scope::Instance,
                kind: Kind::Gauge,
                name: "memgraph_peak_memory_res_bytes",
                help: "Peak resident memory usage in bytes",
                json: &[("General", "peak_memory_usage"), ("Memory", "PeakMemoryRes")],
            },
        ]);
        Numbers {
            database: statistics.database,
            average_degree,
            numbers,
        }
    }

    #[rustfmt::skip]
    fn session_numbers(&self) -> Vec<Number> {
        use Kind::{Counter, Gauge};
        use Scope::{Database, Instance};
        let counters = &self.counters;
        [
            (counters.sessions.get(), Instance, Gauge, "memgraph_active_sessions", "Number of active connections", &[("Session", "ActiveSessions")] as &[_]),
            (counters.bolt_sessions.get(), Instance, Gauge, "memgraph_active_bolt_sessions", "Number of active Bolt connections", &[("Session", "ActiveBoltSessions")]),
            (counters.tcp_sessions.get(), Instance, Gauge, "memgraph_active_tcp_sessions", "Number of active TCP connections", &[("Session", "ActiveTCPSessions")]),
            (counters.tls_sessions.get(), Instance, Gauge, "memgraph_active_ssl_sessions", "Number of active SSL connections", &[("Session", "ActiveSSLSessions")]),
            (counters.websocket_sessions.get(), Instance, Gauge, "memgraph_active_websocket_sessions", "Number of active WebSocket connections", &[("Session", "ActiveWebSocketSessions")]),
            (counters.bolt_messages.get(), Instance, Counter, "memgraph_bolt_messages_total", "Number of Bolt messages sent", &[("Session", "BoltMessages")]),
            (counters.read_queries.get(), Database, Counter, "memgraph_read_queries_total", "Total number of read queries", &[("QueryType", "ReadQuery")]),
            (counters.write_queries.get(), Database, Counter, "memgraph_write_queries_total", "Total number of write queries", &[("QueryType", "WriteQuery")]),
            (counters.read_write_queries.get(), Database, Counter, "memgraph_read_write_queries_total", "Total number of read-write queries", &[("QueryType", "ReadWriteQuery")]),
            (counters.successful_queries.get(), Database, Counter, "memgraph_successful_queries_total", "Total number of successful queries", &[("Transaction", "SuccessfulQuery")]),
            (counters.failed_queries.get(), Database, Counter, "memgraph_failed_queries_total", "Total number of failed queries", &[("Transaction", "FailedQuery")]),
            (counters.failed_prepares.get(), Database, Counter, "memgraph_failed_prepares_total", "Total number of failed query preparations", &[("Transaction", "FailedPrepare")]),
            (counters.failed_pulls.get(), Database, Counter, "memgraph_failed_pulls_total", "Total number of failed query pulls", &[("Transaction", "FailedPull")]),
            (counters.transient_errors.get(), Database, Counter, "memgraph_transient_errors_total", "Total number of transient errors", &[("Transaction", "TransientErrors")]),
        ].map(number).into()
    }
}

type Columns = (
    u64,
    Scope,
    Kind,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

fn number((value, scope, kind, name, help, json): Columns) -> Number {
    Number {
        value,
        scope,
        kind,
        name,
        help,
        json,
    }
}

#[rustfmt::skip]
fn engine_numbers(it: &Statistics) -> Vec<Number> {
    use Kind::{Counter, Gauge};
    use Scope::{Database, Instance};
    [
        (it.vertices, Database, Gauge, "memgraph_vertex_count", "Number of vertices in the database", &[("General", "vertex_count")] as &[_]),
        (it.edges, Database, Gauge, "memgraph_edge_count", "Number of edges in the database", &[("General", "edge_count")]),
        (it.active_transactions, Database, Gauge, "memgraph_active_transactions", "Number of active transactions", &[("Transaction", "ActiveTransactions")]),
        (it.committed_transactions, Database, Counter, "memgraph_committed_transactions_total", "Total number of committed transactions", &[("Transaction", "CommitedTransactions")]),
        (it.rolled_back_transactions, Database, Counter, "memgraph_rolled_back_transactions_total", "Total number of rolled back transactions", &[("Transaction", "RollbackedTransactions")]),
        (it.label_indexes, Database, Gauge, "memgraph_active_label_indices", "Number of active label indices", &[("Index", "ActiveLabelIndices")]),
        (it.label_property_indexes, Database, Gauge, "memgraph_active_label_property_indices", "Number of active label property indices", &[("Index", "ActiveLabelPropertyIndices")]),
        (it.edge_type_indexes, Database, Gauge, "memgraph_active_edge_type_indices", "Number of active edge type indices", &[("Index", "ActiveEdgeTypeIndices")]),
        (it.edge_type_property_indexes, Database, Gauge, "memgraph_active_edge_type_property_indices", "Number of active edge type property indices", &[("Index", "ActiveEdgeTypePropertyIndices")]),
        (it.existence_constraints, Database, Gauge, "memgraph_active_existence_constraints", "Number of active existence constraints", &[("Constraint", "ActiveExistenceConstraints")]),
        (it.unique_constraints, Database, Gauge, "memgraph_active_unique_constraints", "Number of active unique constraints", &[("Constraint", "ActiveUniqueConstraints")]),
        (it.recoveries_succeeded, Instance, Counter, "memgraph_replica_recovery_success_total", "Number of times replica recovery finished successfully", &[("HighAvailability", "ReplicaRecoverySuccess")]),
        (it.recoveries_failed, Instance, Counter, "memgraph_replica_recovery_fail_total", "Number of times replica recovery finished unsuccessfully", &[("HighAvailability", "ReplicaRecoveryFail")]),
        (it.recoveries_skipped, Instance, Counter, "memgraph_replica_recovery_skip_total", "Number of times replica recovery was skipped", &[("HighAvailability", "ReplicaRecoverySkip")]),
    ].map(number).into()
}

impl Numbers {
    pub(super) fn to_json(&self) -> String {
        let mut groups = Map::new();
        let mut put = |group: &str, key: &str, value: Value| {
            let entry = groups.entry(group).or_insert_with(|| json!({}));
            entry[key] = value;
        };
        put("General", "average_degree", json!(self.average_degree));
        for number in &self.numbers {
            for (group, key) in number.json {
                put(group, key, json!(number.value));
            }
        }
        Value::Object(groups).to_string()
    }

    pub(super) fn to_open_metrics(&self) -> String {
        let mut text = String::new();
        for number in &self.numbers {
            let kind = match number.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            let labels = match number.scope {
                Scope::Instance => String::new(),
                Scope::Database => format!("{{database=\"memgraph\",uuid=\"{}\"}}", self.database),
            };
            let Number {
                value, name, help, ..
            } = number;
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}\n"
            );
        }
        text.push_str("# EOF\n");
        text
    }
}

/// The bytes in a folder and below it. What vanishes meanwhile does not count.
fn disk_usage(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => disk_usage(&entry.path()),
        Ok(found) if found.is_file() => found.len(),
        Ok(_) | Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// What the kernel counts as resident memory of this process, and the most that it was.
fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    (kilobytes(&status, "VmRSS:"), kilobytes(&status, "VmHWM:"))
}

fn kilobytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> Numbers {
        let statistics = Statistics {
            database: "an-id".to_owned(),
            vertices: 3,
            recoveries_failed: 1,
            ..Statistics::default()
        };
        Numbers {
            database: statistics.database.clone(),
            average_degree: 0.5,
            numbers: engine_numbers(&statistics),
        }
    }

    #[test]
    fn json_has_the_names_of_old() {
        let shown: Value = serde_json::from_str(&numbers().to_json()).unwrap();
        assert_eq!(shown["General"]["vertex_count"], 3);
        assert_eq!(shown["General"]["average_degree"], 0.5);
        assert_eq!(shown["HighAvailability"]["ReplicaRecoveryFail"], 1);
        assert_eq!(
            shown["Transaction"]["CommitedTransactions"], 0,
            "the spelling is Memgraph's"
        );
    }

    #[test]
    fn open_metrics_name_the_database() {
        let text = numbers().to_open_metrics();
        assert!(text.starts_with(
            "# HELP memgraph_vertex_count Number of vertices in the database\n\
             # TYPE memgraph_vertex_count gauge\n\
             memgraph_vertex_count{database=\"memgraph\",uuid=\"an-id\"} 3\n"
        ));
        assert!(text.contains("\nmemgraph_replica_recovery_fail_total 1\n"));
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn memory_is_what_the_kernel_says() {
        assert_eq!(
            kilobytes("VmHWM:\t 20 kB\nVmRSS:\t    12 kB\n", "VmRSS:"),
            12 * 1024
        );
        let (resident, peak) = memory();
        assert!(0 < resident && resident <= peak);
    }
}
