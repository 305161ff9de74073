//! Where clients may go, derived from the `MemgraphCluster`. Pure: no clock, no I/O.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use kube::ResourceExt;

use crate::{
    api::{
        GatewaySpec, Health, InstanceRole, InstanceStatus, MemgraphCluster, RegistrationMode,
        ledger::{Ledger, Route},
        names::BOLT_PORT,
    },
    grants::Position,
};

use super::{access::Access, gate::Port, rate::Rate};

/// What Memgraph's SHOW REPLICAS says of a replica that follows MAIN without a gap.
const READY: &str = "ready";
/// What it says of a replica whose data is not MAIN's. A replica that is only behind says something else.
const NOT_MAINS_DATA: [&str; 2] = ["invalid", "diverged"];

/// An instance that sessions may lead to, for as long as nothing in here changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// UID of the `MemgraphCluster`.
    pub cluster: String,
    /// Name of the instance.
    pub instance: String,
    /// Where it speaks Bolt.
    pub address: SocketAddr,
    /// As what the instance serves.
    pub duty: Duty,
}

/// As what an instance serves a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// As MAIN. Memgraph takes writes on every session of a MAIN, so one that came by the read port is bound to its term as
    /// well.
    Main {
        /// The ledger's term in which it became MAIN. Later ones, up to [`Routes::term`], have only paused its sessions.
        since: i64,
    },
    /// As a replica, whichever MAIN it follows.
    Replica,
}

/// An instance that read sessions may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOffer {
    /// The instance.
    pub target: Target,
    /// Its place in the order of choice.
    pub preference: Preference,
    /// Whether new sessions may go there. Those that are there may stay in any case: a replica that lags for a
    /// moment gets no new reader, but keeps the ones it has.
    pub accepts_new: bool,
}

/// In which order readers are given an instance: the first kind of which there is one takes them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preference {
    /// A replica that no write waits for.
    Async,
    /// A replica that every write waits for.
    Sync,
    /// MAIN itself.
    Main,
    /// A replica of which nothing is heard at the moment. It may be gone.
    Unheard,
}

/// Bounds on sessions, from the spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Read-write sessions at the same time.
    pub read_write: usize,
    /// Read sessions at the same time.
    pub read: usize,
    /// How long a connect to an instance may take.
    pub connect_timeout: Duration,
    /// How long a session may pass nothing; zero: for ever.
    pub idle_timeout: Duration,
    /// From where read-write sessions may come.
    pub read_write_access: Access,
    /// From where read sessions may come.
    pub read_access: Access,
    /// How fast the clients of one address may connect to one port; none: as fast as they like.
    pub rate: Option<Rate>,
    /// Clients that wait for a MAIN at the same time.
    pub held: usize,
    /// How long each may wait.
    pub hold_timeout: Duration,
}

impl Limits {
    /// From where the clients of this port may come.
    #[must_use]
    pub fn access(&self, port: Port) -> &Access {
        match port {
            Port::ReadWrite => &self.read_write_access,
            Port::Read => &self.read_access,
        }
    }
}

impl From<&GatewaySpec> for Limits {
    fn from(spec: &GatewaySpec) -> Self {
        // The schema keeps the numbers positive; a negative one that came past it lets nobody in.
        let count = |n: i32| usize::try_from(n).unwrap_or(0);
        Self {
            read_write: count(spec.read_write.max_connections),
            read: count(spec.read.max_connections),
            read_write_access: Access::new(
                &spec.read_write.source_ranges,
                spec.read_write.proxy_protocol.as_ref(),
            ),
            read_access: Access::new(&spec.read.source_ranges, spec.read.proxy_protocol.as_ref()),
            connect_timeout: spec.connect_timeout.0,
            idle_timeout: spec.idle_timeout.0,
            rate: spec.connection_rate_limit.as_ref().map(Rate::from),
            held: count(spec.max_held_connections),
            hold_timeout: spec.hold_timeout.0,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&GatewaySpec::default())
    }
}

/// What is known of the own `MemgraphCluster`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    #[default]
    Unseen,
    /// It is there, and never had a ledger since this gateway started.
    WithoutLedger,
    /// It has been seen with a ledger.
    Known,
    /// It has been deleted, or there is none of this name.
    Absent,
}

/// Everything that clients may reach, and within which bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// UID of the `MemgraphCluster`; none was seen yet otherwise.
    pub cluster: Option<String>,
    /// The highest term of this cluster that was seen; 0 before the first.
    pub term: i64,
    /// Where read-write sessions lead to. None: nowhere.
    pub read_write: Option<Target>,
    /// A MAIN whose sessions stay although the route is closed: it is going to be open to the same MAIN in a moment. None of
    /// their bytes moves.
    pub paused: Option<Target>,
    /// Until when read-write sessions may lead there, by the gateway's clock. Without it no byte passes between clients and MAIN.
    pub granted_until: Option<Duration>,
    /// From when on what MAIN says must be attested by its replicas ([`crate::grants::Permit::free_until`]).
    pub free_until: Option<Duration>,
    /// How far the ledger of this cluster has come; none while it was not seen.
    pub position: Option<Position>,
    /// Where read sessions may lead to.
    pub read: Vec<ReadOffer>,
    /// Readers may be led to MAIN where there is no replica.
    pub fallback_to_main: bool,
    /// Where instances take TLS only, of all that the status tells of, whoever may be led there.
    pub encrypted: BTreeSet<SocketAddr>,
    /// The bounds.
    pub limits: Limits,
    /// What is known of the `MemgraphCluster`.
    pub standing: Standing,
}

impl Routes {
    /// What this state of the cluster allows, without regard to any earlier one.
    #[must_use]
    pub fn derive(cluster: &MemgraphCluster) -> Self {
        let ledger = cluster.status.as_ref().and_then(|s| s.ledger.as_ref());
        let mut routes = Self {
            cluster: cluster.uid(),
            limits: Limits::from(&cluster.spec.gateway),
            standing: Standing::WithoutLedger,
            ..Self::default()
        };
        let (Some(uid), Some(ledger)) = (routes.cluster.as_deref(), ledger) else {
            return routes;
        };
        routes.standing = Standing::Known;
        routes.term = ledger.term;
        routes.position = Some(Position::of(ledger));
        routes.encrypted = encrypted(cluster, ledger);
        let main = main_target(uid, ledger);
        if cluster.spec.has_read_gateway() {
            let instances = cluster.status.iter().flat_map(|s| &s.instances);
            let fenced = &cluster.spec.fenced_instances;
            routes.read = instances
                .filter(|i| !fenced.contains(&i.name))
                .filter_map(|i| replica_offer(uid, ledger, i))
                .collect();
            routes.fallback_to_main = cluster.spec.gateway.read.fallback_to_main;
            if routes.fallback_to_main {
                routes.read.extend(main.clone().map(|target| ReadOffer {
                    target,
                    preference: Preference::Main,
                    accepts_new: true,
                }));
            }
        }
        routes.read_write = main;
        routes
    }

    /// The same cluster and term with nothing to reach.
    #[must_use]
    pub fn closed(&self) -> Self {
        Self {
            read_write: None,
            paused: None,
            granted_until: None,
            free_until: None,
            read: Vec::new(),
            ..self.clone()
        }
    }
}

/// The ledger tells MAIN's address even while the report does not.
fn encrypted(cluster: &MemgraphCluster, ledger: &Ledger) -> BTreeSet<SocketAddr> {
    let instances = cluster.status.iter().flat_map(|status| &status.instances);
    let addresses = instances.filter(|instance| instance.tls).flat_map(|instance| {
        let main = (instance.name == ledger.main.instance).then_some(ledger.main_address.as_str());
        [instance.address.as_deref(), main]
    });
    addresses.flatten().filter_map(parse_address).collect()
}

fn main_target(uid: &str, ledger: &Ledger) -> Option<Target> {
    match ledger.route {
        Route::Closed => None,
        Route::Open => Some(Target {
            cluster: uid.to_owned(),
            instance: ledger.main.instance.clone(),
            address: parse_address(&ledger.main_address)?,
            duty: Duty::Main { since: ledger.term },
        }),
    }
}

/// The ledger's MAIN is never offered as a replica, whatever the report says of it: the ledger names the next
/// MAIN before it is promoted, and from then on a session there could write.
fn replica_offer(uid: &str, ledger: &Ledger, instance: &InstanceStatus) -> Option<ReadOffer> {
    let serves = instance.role == InstanceRole::Replica
        && instance.health == Health::Up
        && instance.name != ledger.main.instance
        && !tells_of_other_data(instance);
    if !serves {
        return None;
    }
    Some(ReadOffer {
        target: replica_target(uid, instance)?,
        preference: match instance.mode {
            Some(RegistrationMode::Sync | RegistrationMode::StrictSync) => Preference::Sync,
            Some(RegistrationMode::Async) | None => Preference::Async,
        },
        accepts_new: instance.mode.is_some() && instance.data_status.as_deref() == Some(READY),
    })
}

/// Where this instance of the cluster with this UID serves as a replica.
pub(super) fn replica_target(uid: &str, instance: &InstanceStatus) -> Option<Target> {
    Some(Target {
        cluster: uid.to_owned(),
        instance: instance.name.clone(),
        address: parse_address(instance.address.as_deref()?)?,
        duty: Duty::Replica,
    })
}

/// Whether MAIN has said that this replica's data is not its own.
pub(super) fn tells_of_other_data(instance: &InstanceStatus) -> bool {
    let told = instance.data_status.as_deref();
    told.is_some_and(|status| NOT_MAINS_DATA.contains(&status))
}

/// Reads a pod's address: an IP address, to which Bolt's port is added, or `ip:port` where the port differs.
pub(super) fn parse_address(text: &str) -> Option<SocketAddr> {
    text.parse()
        .ok()
        .or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, BOLT_PORT)))
}
