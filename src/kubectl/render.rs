//! A cluster's status as text for people. Pure.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use crate::{
    api::{
        Health, InstanceRole, OperationRecord, Phase,
        conditions::ConditionType,
        ledger::{OperationKind, Route},
    },
    fleet::{ClusterStatus, GatewayState, InstanceState},
};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
const HEADING: Style = Style::new().bold();

/// A table's cell, and how it looks.
type Cell = (String, Style);

fn plain(text: impl Into<String>) -> Cell {
    (text.into(), Style::new())
}

/// Columns that are as wide as their widest cell. Styles take no room.
fn table(heads: &[&str], rows: &[Vec<Cell>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells
            .map(|(text, _)| text.chars().count())
            .max()
            .unwrap_or_default();
        widest.max(heads[column].len())
    };
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let heads: Vec<Cell> = heads.iter().map(|head| ((*head).to_owned(), HEADING)).collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for ((cell, style), width) in row.iter().zip(&widths) {
            let padding = " ".repeat(width + 2 - cell.chars().count().min(width + 2));
            let _ = write!(line, "{style}{cell}{style:#}{padding}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A time span, in the unit that fits.
pub(super) fn time(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    match seconds {
        ..1.0 => format!("{:.0} ms", seconds * 1000.0),
        ..60.0 => format!("{seconds:.1} s"),
        ..3600.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

fn ago(seconds: Option<f64>) -> String {
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map_or_else(|| "-".to_owned(), |span| format!("{} ago", time(span)))
}

fn since(text: &str, now: Timestamp) -> Option<Duration> {
    let then: Timestamp = text.parse().ok()?;
    Duration::try_from(now.duration_since(then)).ok()
}

fn phase(phase: Option<Phase>) -> Cell {
    let style = match phase {
        Some(Phase::Operational) => GOOD,
        Some(Phase::Unavailable | Phase::Unknown | Phase::WritesBlocked) => BAD,
        _ => DOUBTFUL,
    };
    (
        phase.map_or_else(|| "-".to_owned(), |phase| format!("{phase:?}")),
        style,
    )
}

/// One line for each cluster.
pub(super) fn list(clusters: &[ClusterStatus]) -> String {
    if clusters.is_empty() {
        return "There is no MemgraphCluster here.\n".to_owned();
    }
    let rows: Vec<_> = clusters
        .iter()
        .map(|cluster| {
            let state = &cluster.cluster_state;
            vec![
                plain(&cluster.namespace),
                plain(&cluster.name),
                phase(cluster.phase),
                writes(cluster),
                plain(state.main.as_deref().unwrap_or("-")),
                plain(format!("{}/{}", state.ready_replicas, state.replicas)),
                plain(state.in_sync_replicas.to_string()),
                plain(number(state.term)),
                plain(lag(state
                    .instances
                    .iter()
                    .filter_map(|i| i.lag_transactions)
                    .max())),
            ]
        })
        .collect();
    table(
        &[
            "NAMESPACE",
            "NAME",
            "PHASE",
            "WRITES",
            "MAIN",
            "READY",
            "IN-SYNC",
            "TERM",
            "LAG",
        ],
        &rows,
    )
}

/// What nodes lack: a line for each thing, with the instances that it is about.
fn warnings(instances: &[InstanceState]) -> String {
    let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for instance in instances {
        if let Some(warning) = &instance.warning {
            told.entry(warning).or_default().push(&instance.name);
        }
    }
    let lines = told
        .into_iter()
        .map(|(warning, names)| format!("{DOUBTFUL}{}{DOUBTFUL:#}: {warning}\n", names.join(", ")));
    lines.collect()
}

fn writes(cluster: &ClusterStatus) -> Cell {
    let ready = ConditionType::Ready.as_str();
    let told = cluster.conditions.iter().find(|c| c.type_ == ready);
    match told.map(|told| told.status.as_str()) {
        Some("True") => ("yes".to_owned(), GOOD),
        Some("Unknown") => ("unknown".to_owned(), DOUBTFUL),
        _ => ("no".to_owned(), BAD),
    }
}

fn number(number: Option<i64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn lag(transactions: Option<u64>) -> String {
    transactions.map_or_else(|| "-".to_owned(), |lag| lag.to_string())
}

/// All about one cluster.
pub(super) fn cluster(cluster: &ClusterStatus, now: Timestamp) -> String {
    let state = &cluster.cluster_state;
    let mut text = String::new();
    let mut line = |head: &str, (value, style): Cell| {
        let _ = writeln!(text, "{HEADING}{head:<10}{HEADING:#}{style}{value}{style:#}");
    };
    line(
        "Cluster",
        plain(format!("{}/{}", cluster.namespace, cluster.name)),
    );
    line("Phase", phase(cluster.phase));
    line("Writes", writes(cluster));
    let route = state
        .route
        .map_or("-", |route| if route == Route::Open { "open" } else { "closed" });
    let main = state.main.as_deref().unwrap_or("none");
    line(
        "MAIN",
        plain(format!("{main}, term {}, route {route}", number(state.term))),
    );
    line("Memgraph", plain(state.version.as_deref().unwrap_or("-")));
    line(
        "Writers",
        plain(state.read_write_address.as_deref().unwrap_or("-")),
    );
    line("Readers", plain(state.read_address.as_deref().unwrap_or("-")));
    if let Some(operation) = &state.operation {
        let from = operation.from.as_deref().unwrap_or("nobody");
        let for_now = since(&operation.started_at, now).map(time).unwrap_or_default();
        let text = format!(
            "{:?} from {from} to {}, for {for_now}",
            operation.kind, operation.target
        );
        line("Going on", (text, DOUBTFUL));
    }
    text.push('\n');
    let rows: Vec<_> = state.instances.iter().map(instance).collect();
    text += &table(
        &[
            "INSTANCE", "ROLE", "MODE", "HEALTH", "DATA", "IN-SYNC", "LAG", "ANSWERED",
        ],
        &rows,
    );
    for instance in &state.instances {
        if let Some(obstacle) = &instance.obstacle {
            let _ = writeln!(text, "{DOUBTFUL}{}{DOUBTFUL:#}: {obstacle}", instance.name);
        }
    }
    text += &warnings(&state.instances);
    if let Some(gateways) = cluster.gateways.as_ref().filter(|gateways| !gateways.is_empty()) {
        text.push('\n');
        let rows: Vec<_> = gateways.iter().map(gateway).collect();
        text += &table(
            &[
                "GATEWAY",
                "ROUTE",
                "TERM",
                "LEADS TO",
                "WRITERS",
                "READERS",
                "WAITING",
                "MAIN ANSWERED",
            ],
            &rows,
        );
    }
    text += &history(cluster, now);
    text += &conditions(cluster);
    text += &advice(cluster);
    text
}

fn instance(instance: &InstanceState) -> Vec<Cell> {
    let role = match instance.role {
        InstanceRole::Main => ("Main".to_owned(), HEADING),
        InstanceRole::Deposed => ("Deposed".to_owned(), BAD),
        role => plain(format!("{role:?}")),
    };
    let health = match instance.health {
        Health::Up => GOOD,
        Health::Silent => DOUBTFUL,
        Health::Down => BAD,
    };
    let in_sync = match instance.role {
        InstanceRole::Replica if instance.in_sync => "yes",
        InstanceRole::Replica => "no",
        _ => "-",
    };
    let data = instance.data_status.as_deref().unwrap_or("-");
    let fenced = if instance.fenced { " (fenced)" } else { "" };
    vec![
        plain(format!("{}{fenced}", instance.name)),
        role,
        plain(
            instance
                .mode
                .map_or_else(|| "-".to_owned(), |mode| format!("{mode:?}")),
        ),
        (format!("{:?}", instance.health), health),
        (
            data.to_owned(),
            if matches!(data, "invalid" | "diverged") {
                BAD
            } else {
                Style::new()
            },
        ),
        plain(in_sync),
        plain(lag(instance.lag_transactions)),
        plain(ago(instance.answered_seconds_ago)),
    ]
}

fn gateway(gateway: &GatewayState) -> Vec<Cell> {
    let open = gateway.route == Route::Open;
    vec![
        plain(&gateway.pod),
        if open {
            plain("open")
        } else {
            ("closed".to_owned(), DOUBTFUL)
        },
        plain(gateway.term.to_string()),
        plain(gateway.main.as_deref().unwrap_or("-")),
        plain(gateway.read_write_sessions.to_string()),
        plain(gateway.read_sessions.to_string()),
        plain(gateway.held_clients.to_string()),
        plain(ago(gateway.main_answered_seconds_ago)),
    ]
}

fn history(cluster: &ClusterStatus, now: Timestamp) -> String {
    let history = &cluster.cluster_state.history;
    if history.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = history
        .iter()
        .map(|record| {
            let length = crate::fleet::length(record);
            let steps: Vec<_> = record
                .steps
                .iter()
                .map(|step| format!("{} {}", step.step, time(step.took.0)))
                .collect();
            vec![
                plain(record.term.to_string()),
                plain(format!("{:?}", record.kind)),
                plain(record.from.as_deref().unwrap_or("-")),
                plain(&record.to),
                plain(
                    since(&record.finished_at, now)
                        .map_or_else(|| "-".to_owned(), |s| format!("{} ago", time(s))),
                ),
                plain(time(length)),
                plain(steps.join(", ")),
            ]
        })
        .collect();
    let table = table(&["TERM", "CHANGE", "FROM", "TO", "WHEN", "TOOK", "STEPS"], &rows);
    format!("\n{table}{}", left_out(history))
}

/// Says of the terms between those of the history, newest first, why they are not there.
fn left_out(history: &[OperationRecord]) -> String {
    let gaps = history.windows(2).rev().filter_map(|pair| {
        // A switchover has closed the route in the term before the one in which it was opened again.
        let own = i64::from(pair[0].kind == OperationKind::Switchover);
        let (first, last) = (pair[1].term + 1, pair[0].term - 1 - own);
        match last - first {
            ..0 => None,
            0 => Some(first.to_string()),
            _ => Some(format!("{first}-{last}")),
        }
    });
    let gaps: Vec<_> = gaps.collect();
    if gaps.is_empty() {
        return String::new();
    }
    format!(
        "Terms {}: begun, and taken over by the next change before clients were let in.\n",
        gaps.join(", ")
    )
}

fn conditions(cluster: &ClusterStatus) -> String {
    let rows: Vec<_> = cluster
        .conditions
        .iter()
        .map(|condition| {
            vec![
                plain(&condition.type_),
                plain(&condition.status),
                plain(&condition.reason),
                plain(&condition.message),
            ]
        })
        .collect();
    let table = table(&["CONDITION", "STATUS", "REASON", "MESSAGE"], &rows);
    format!("\n{table}")
}

fn advice(cluster: &ClusterStatus) -> String {
    let mut text = format!("\n{HEADING}What to do next{HEADING:#}\n");
    if cluster.advice.is_empty() {
        text += "Nothing: all is as the spec asks.\n";
    }
    for advice in &cluster.advice {
        let style = if advice.needed { BAD } else { DOUBTFUL };
        let _ = writeln!(text, "{style}{}{style:#}: {}", advice.about, advice.text);
        if let Some(command) = &advice.command {
            let _ = writeln!(text, "  {command}");
        }
    }
    text
}
