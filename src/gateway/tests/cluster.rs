//! `MemgraphCluster` objects as the API server would show them.

use std::net::SocketAddr;

use crate::api::{
    DurationString, Health, InstanceRole, InstanceStatus, MemgraphCluster, MemgraphClusterSpec,
    MemgraphClusterStatus, RegistrationMode,
    ledger::{Ledger, Operation, OperationKind, Route},
};

/// A cluster with an open route: term 7, MAIN demo-0 at 10.0.0.10, no replica reported. No client is held.
pub(super) fn demo() -> MemgraphCluster {
    let mut cluster = MemgraphCluster::new("demo", MemgraphClusterSpec::default());
    cluster.metadata.uid = Some("uid-1".to_owned());
    cluster.spec.gateway.hold_timeout = DurationString::from_millis(0);
    cluster.metadata.namespace = Some("default".to_owned());
    cluster.status = Some(MemgraphClusterStatus {
        ledger: Some(Ledger {
            term: 7,
            route: Route::Open,
            main_address: "10.0.0.10".to_owned(),
            ..Ledger::default()
        }),
        ..MemgraphClusterStatus::default()
    });
    cluster.main("demo-0", "10.0.0.10")
}

/// The same before it is set up.
pub(super) fn unset() -> MemgraphCluster {
    MemgraphCluster {
        status: None,
        ..demo()
    }
}

/// An instance that serves readers: up, registered ASYNC, ready.
pub(super) fn replica(name: &str, address: &str) -> InstanceStatus {
    InstanceStatus {
        name: name.to_owned(),
        address: Some(address.to_owned()),
        role: InstanceRole::Replica,
        mode: Some(RegistrationMode::Async),
        health: Health::Up,
        in_sync: false,
        data_status: Some("ready".to_owned()),
        tls: false,
        obstacle: None,
        warning: None,
    }
}

pub(super) trait Build: Sized {
    fn ledger(self, change: impl FnOnce(&mut Ledger)) -> Self;
    fn instances(self, instances: impl IntoIterator<Item = InstanceStatus>) -> Self;
    fn spec(self, change: impl FnOnce(&mut MemgraphClusterSpec)) -> Self;
    fn version(self, version: &str) -> Self;

    fn main(self, instance: &str, address: &str) -> Self {
        self.ledger(|l| {
            l.main.instance = instance.to_owned();
            l.main_address = address.to_owned();
        })
    }

    fn main_at(self, instance: &str, address: SocketAddr) -> Self {
        self.main(instance, &address.to_string())
    }

    fn term(self, term: i64) -> Self {
        self.ledger(|l| l.term = term)
    }

    fn closed(self) -> Self {
        self.ledger(|l| l.route = Route::Closed)
    }

    /// Closed in the next term, for a moment and with the same MAIN.
    fn paused(self) -> Self {
        self.ledger(|l| {
            l.term += 1;
            l.route = Route::Closed;
            l.operation = Some(Operation {
                kind: OperationKind::Repair,
                target: l.main.instance.clone(),
                from: Some(l.main.instance.clone()),
                started_at: String::new(),
                cause: String::new(),
                lossy: false,
                election: None,
                reversed: false,
                proven: false,
            });
        })
    }

    /// Open to the MAIN that the ledger names.
    fn resumed(self) -> Self {
        self.ledger(|l| {
            l.route = Route::Open;
            l.operation = None;
        })
    }
}

impl Build for MemgraphCluster {
    fn ledger(mut self, change: impl FnOnce(&mut Ledger)) -> Self {
        change(self.status.as_mut().unwrap().ledger.as_mut().unwrap());
        self
    }

    fn instances(mut self, instances: impl IntoIterator<Item = InstanceStatus>) -> Self {
        self.status.as_mut().unwrap().instances = instances.into_iter().collect();
        self
    }

    fn spec(mut self, change: impl FnOnce(&mut MemgraphClusterSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    fn version(mut self, version: &str) -> Self {
        self.metadata.resource_version = Some(version.to_owned());
        self
    }
}
