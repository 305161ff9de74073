//! The fleet's metrics.

use std::{fmt, sync::Arc};

use super::{ClusterStatus, Fleet, Tally};
use crate::{
    api::{Health, InstanceRole, conditions::ConditionType, ledger::Route},
    memgraph::Usage,
    metrics::{self, Families, Labels, OwnProcess, Registry, Samples, Unit, labels},
    plan::Said,
};

/// All that one scrape is told.
pub(super) async fn registry(fleet: Arc<Fleet>) -> Registry {
    let mut registry = Registry::default();
    fleet.vitals.register(&mut registry);
    fleet
        .requests
        .register(registry.sub_registry_with_prefix("memgraph_operator"));
    registry
        .sub_registry_with_prefix("memgraph_operator")
        .register_with_unit(
            "operation_duration",
            "How long changes of MAIN took that this process has followed, from their announcement to the opened route",
            Unit::Seconds,
            fleet.operations.clone(),
        );
    metrics::add(&mut registry, Sample::read(&fleet).await);
    metrics::add(&mut registry, OwnProcess::read());
    registry
}

/// The clusters as they were told of when the question came. Only the leader tells of them: whoever sums up would count each
/// one twice otherwise.
#[derive(Debug)]
struct Sample {
    leads: bool,
    ready: bool,
    clusters: Vec<(ClusterStatus, Tally)>,
    /// How many clusters other installations look after.
    foreign: usize,
}

impl Sample {
    async fn read(fleet: &Fleet) -> Self {
        let now = fleet.began.elapsed();
        let leads = fleet.vitals.leads();
        let mut clusters = Vec::new();
        if leads {
            for known in fleet.known() {
                clusters.push((fleet.tell(&known, now).await, known.tally));
            }
        }
        Self {
            leads,
            ready: fleet.vitals.is_ready(),
            clusters,
            foreign: fleet.foreign(),
        }
    }

    fn each(&self, value: impl Fn(&ClusterStatus) -> Option<f64>) -> impl Iterator<Item = (Labels, f64)> {
        let clusters = self.clusters.iter();
        clusters.filter_map(move |(cluster, _)| Some((place(cluster), value(cluster)?)))
    }

    fn each_instance<'a>(
        &'a self,
        value: impl Fn(&super::InstanceState) -> Option<f64> + Copy + 'a,
    ) -> impl Iterator<Item = (Labels, f64)> + 'a {
        self.clusters.iter().flat_map(move |(cluster, _)| {
            let instances = cluster.cluster_state.instances.iter();
            instances.filter_map(move |i| Some((with(place(cluster), "pod", &i.name), value(i)?)))
        })
    }
}

fn place(cluster: &ClusterStatus) -> Labels {
    labels([("namespace", &cluster.namespace), ("cluster", &cluster.name)])
}

fn with(mut labels: Labels, name: &'static str, value: &str) -> Labels {
    labels.push((name, value.to_owned()));
    labels
}

/// Whether the status cannot tell if clients can write, although they could once.
fn is_untold(cluster: &ClusterStatus) -> bool {
    let ready = ConditionType::Ready.as_str();
    let mut conditions = cluster.conditions.iter();
    let ledger = cluster.cluster_state.ledger.as_ref();
    ledger.is_some_and(|ledger| ledger.opened)
        && conditions.any(|condition| condition.type_ == ready && condition.status == "Unknown")
}

fn since_1970(moment: &str) -> Option<f64> {
    let moment: jiff::Timestamp = moment.parse().ok()?;
    Some(moment.as_duration().as_secs_f64())
}

fn number(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus' figures are floating-point numbers"
)]
fn count(count: u64) -> f64 {
    count as f64
}

impl Samples for Sample {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        self.write_operator(families)?;
        self.write_state(families)?;
        self.write_counts(families)?;
        self.write_instances(families)
    }
}

impl Sample {
    fn write_operator(&self, families: &mut Families<'_>) -> fmt::Result {
        let version = labels([("version", env!("CARGO_PKG_VERSION"))]);
        families.gauge(
            "memgraph_operator_info",
            "What this process is.",
            None,
            [(version, 1.0)],
        )?;
        families.gauge(
            "memgraph_operator_leader",
            "1 while this process leads: it alone acts, and tells of clusters.",
            None,
            [(Vec::new(), number(self.leads))],
        )?;
        families.gauge(
            "memgraph_operator_ready",
            "1 once this process can lead: its caches are filled.",
            None,
            [(Vec::new(), number(self.ready))],
        )?;
        let foreign = u64::try_from(self.foreign).ok().filter(|_| self.leads);
        families.gauge(
            "memgraph_operator_clusters_of_others",
            "Clusters that another installation of the operator looks after, so that this one leaves them alone.",
            None,
            foreign.map(|foreign| (Vec::new(), count(foreign))),
        )
    }

    fn write_state(&self, families: &mut Families<'_>) -> fmt::Result {
        let info = self.clusters.iter().map(|(cluster, _)| {
            let version = cluster.cluster_state.version.as_deref().unwrap_or_default();
            (with(place(cluster), "version", version), 1.0)
        });
        families.gauge(
            "memgraph_cluster_info",
            "The Memgraph version of MAIN.",
            None,
            info,
        )?;
        families.gauge(
            "memgraph_cluster_ready",
            "1 while the gateways lead to a MAIN that can acknowledge writes; missing while that cannot be told.",
            None,
            self.each(|c| (!is_untold(c)).then(|| number(c.health.ready))),
        )?;
        let unavailable = self.clusters.iter();
        families.gauge(
            "memgraph_cluster_unavailable",
            "1 while nobody can write although the cluster was set up, is awake and is not being deleted.",
            None,
            unavailable.map(|(cluster, tally)| (place(cluster), number(tally.is_unavailable()))),
        )?;
        let conditions = self.clusters.iter().flat_map(|(cluster, _)| {
            cluster
                .conditions
                .iter()
                .filter(|condition| condition.status != "Unknown")
                .map(|condition| {
                    let labels = with(place(cluster), "condition", &condition.type_);
                    let labels = with(labels, "reason", &condition.reason);
                    (labels, number(condition.status == "True"))
                })
        });
        families.gauge(
            "memgraph_cluster_condition",
            "1 while a condition of the cluster holds, 0 while it does not; missing while that cannot be told.",
            None,
            conditions,
        )?;
        families.gauge(
            "memgraph_cluster_hibernated",
            "1 while the cluster sleeps as spec.hibernated asks, and on its way there and back.",
            None,
            self.each(|c| Some(number(Said::among(&c.conditions) != Said::Nothing))),
        )?;
        families.gauge(
            "memgraph_cluster_route_open",
            "1 while clients may reach MAIN.",
            None,
            self.each(|c| c.cluster_state.route.map(|route| number(route == Route::Open))),
        )?;
        #[expect(clippy::cast_precision_loss, reason = "a term is a small number")]
        families.gauge(
            "memgraph_cluster_term",
            "The ledger's term, which grows with each closing of the route.",
            None,
            self.each(|c| c.cluster_state.term.map(|term| term as f64)),
        )?;
        families.gauge(
            "memgraph_cluster_replicas",
            "Instances that the spec asks for.",
            None,
            self.each(|c| Some(c.cluster_state.replicas.into())),
        )?;
        families.gauge(
            "memgraph_cluster_ready_replicas",
            "Instances that answer in the role they should have.",
            None,
            self.each(|c| Some(c.cluster_state.ready_replicas.into())),
        )?;
        families.gauge(
            "memgraph_cluster_in_sync_replicas",
            "Replicas that hold every acknowledged write.",
            None,
            self.each(|c| Some(c.cluster_state.in_sync_replicas.into())),
        )
    }

    fn write_counts(&self, families: &mut Families<'_>) -> fmt::Result {
        let operations = || {
            self.clusters.iter().flat_map(|(cluster, tally)| {
                let each = tally.operations();
                each.map(move |(kind, sum)| (with(place(cluster), "kind", kind), sum))
            })
        };
        families.counter(
            "memgraph_cluster_operations",
            "Changes of MAIN that are over: Failover and Restart are those that nobody planned.",
            None,
            operations().map(|(labels, sum)| (labels, count(sum.count))),
        )?;
        families.counter(
            "memgraph_cluster_operation",
            "How long these took, from their announcement to the opened route.",
            Some(&Unit::Seconds),
            operations().map(|(labels, sum)| (labels, sum.time.as_secs_f64())),
        )?;
        let steps = self.clusters.iter().flat_map(|(cluster, tally)| {
            let steps = tally.steps();
            steps.map(|(step, time)| (with(place(cluster), "step", step), time.as_secs_f64()))
        });
        families.counter(
            "memgraph_cluster_operation_step",
            "How long their steps took.",
            Some(&Unit::Seconds),
            steps,
        )?;
        families.counter(
            "memgraph_cluster_write_unavailable",
            "How long nobody could write, after the cluster had been set up.",
            Some(&Unit::Seconds),
            self.each(|c| Some(c.health.write_unavailable_seconds)),
        )?;
        families.gauge(
            "memgraph_cluster_last_failover_timestamp",
            "When clients were let in again after the last change of MAIN that nobody planned, since the Unix epoch.",
            Some(&Unit::Seconds),
            self.each(|c| {
                let record = c.cluster_state.last_failover.as_ref()?;
                since_1970(&record.finished_at)
            }),
        )?;
        families.gauge(
            "memgraph_cluster_certificate_expiry_timestamp",
            "With spec.tls: when the certificate of the instances ends, since the Unix epoch.",
            Some(&Unit::Seconds),
            self.each(|c| since_1970(c.health.certificate_ends.as_ref()?)),
        )
    }

    fn write_instances(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "memgraph_instance_up",
            "1 while an instance answers Bolt.",
            None,
            self.each_instance(|i| Some(number(i.health == Health::Up))),
        )?;
        let roles = self.clusters.iter().flat_map(|(cluster, _)| {
            cluster.cluster_state.instances.iter().map(|instance| {
                let role = match instance.role {
                    InstanceRole::Main => "main",
                    InstanceRole::Replica => "replica",
                    InstanceRole::Deposed => "deposed",
                    InstanceRole::Unknown => "unknown",
                };
                let labels = with(place(cluster), "pod", &instance.name);
                (with(labels, "role", role), 1.0)
            })
        });
        families.gauge(
            "memgraph_instance_role",
            "The role of an instance; deposed: it is MAIN against the ledger's word, and gets no client.",
            None,
            roles,
        )?;
        families.gauge(
            "memgraph_instance_in_sync",
            "1 while a replica is known to hold every acknowledged write.",
            None,
            self.each_instance(|i| (i.role == InstanceRole::Replica).then(|| number(i.in_sync))),
        )?;
        families.gauge(
            "memgraph_instance_lag_transactions",
            "Transactions that a replica is behind, as MAIN says.",
            None,
            self.each_instance(|i| i.lag_transactions.map(count)),
        )?;
        families.gauge(
            "memgraph_instance_answer_age",
            "How long ago an instance answered for the last time.",
            Some(&Unit::Seconds),
            self.each_instance(|i| i.answered_seconds_ago),
        )?;
        let data = self.clusters.iter().flat_map(|(cluster, _)| {
            cluster.cluster_state.instances.iter().filter_map(|instance| {
                let status = instance.data_status.as_deref()?;
                let labels = with(place(cluster), "pod", &instance.name);
                Some((with(labels, "status", status), 1.0))
            })
        });
        families.gauge(
            "memgraph_instance_data_status",
            "What MAIN says of a replica's data.",
            None,
            data,
        )?;
        self.write_usage(families)
    }

    fn write_usage(&self, families: &mut Families<'_>) -> fmt::Result {
        let each = |figure: fn(&Usage) -> Option<u64>| {
            self.each_instance(move |i| i.usage.as_ref().and_then(figure).map(count))
        };
        families.gauge(
            "memgraph_instance_vertices",
            "Nodes that an instance holds, those included that were deleted lately.",
            None,
            each(|usage| usage.vertices),
        )?;
        families.gauge(
            "memgraph_instance_edges",
            "Relationships that an instance holds.",
            None,
            each(|usage| usage.edges),
        )?;
        families.gauge(
            "memgraph_instance_memory",
            "Memory that the process of an instance has in RAM.",
            Some(&Unit::Bytes),
            each(|usage| usage.memory_bytes),
        )?;
        families.gauge(
            "memgraph_instance_memory_peak",
            "The most memory that the process of an instance has had in RAM.",
            Some(&Unit::Bytes),
            each(|usage| usage.memory_peak_bytes),
        )?;
        families.gauge(
            "memgraph_instance_memory_tracked",
            "Memory that an instance counts against its limit.",
            Some(&Unit::Bytes),
            each(|usage| usage.memory_tracked_bytes),
        )?;
        families.gauge(
            "memgraph_instance_memory_limit",
            "The memory beyond which queries of an instance fail; missing where there is no limit.",
            Some(&Unit::Bytes),
            each(|usage| usage.memory_limit_bytes),
        )?;
        families.gauge(
            "memgraph_instance_disk",
            "Files in the data directory of an instance: snapshots and logs.",
            Some(&Unit::Bytes),
            each(|usage| usage.disk_bytes),
        )
    }
}
