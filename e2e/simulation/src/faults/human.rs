//! What humans do to the cluster and its instances.

use std::{rc::Rc, time::Duration};

use fastrand::Rng;
use memgraph_operator::api::names;
use memgraph_sim::engine::InspectedRole;
use serde_json::json;
use tokio::task::spawn_local;

use super::{
    kind::Kind,
    striker::{Fragile, Striker},
};
use crate::{api::Resource, memgraph::BOLT_PORT, processes::Instance, world::cluster_key};

impl Striker {
    /// Asks for another MAIN, half of the time for a certain one.
    pub(super) fn ask_for_switchover(&self) -> String {
        let number = self.requests.replace(self.requests.get() + 1);
        let target = self.any(self.replicas()).map(|instance| instance.name);
        let target = target.filter(|_| self.draw(Rng::bool));
        let told = format!("{target:?}");
        self.world.edit_spec(|spec| {
            spec["switchover"] = json!({"requestId": format!("request-{number}")});
            if let Some(target) = target {
                spec["switchover"]["target"] = json!(target);
            }
        });
        told
    }

    /// Changes something in the spec.
    pub(super) fn edit(&self) -> String {
        let told = match self.draw(|chance| chance.u32(0..5)) {
            // All instances are started anew, one after the other.
            0 => (
                "config",
                json!({"query-execution-timeout-sec": self.draw(|chance| chance.u32(600..=609)).to_string()}),
            ),
            1 => (
                "replication",
                json!({"syncReplicas": self.draw(|chance| chance.u32(1..=2))}),
            ),
            2 => (
                "replication",
                json!({"electableInstances": self.draw(|chance| chance.u32(3..=5))}),
            ),
            3 => (
                "gateway",
                json!({"replicas": self.draw(|chance| chance.u32(1..=3))}),
            ),
            _ => ("replicas", json!(self.draw(|chance| chance.u32(3..=4)))),
        };
        let (field, value) = told.clone();
        self.world.edit_spec(|spec| spec[field] = value);
        format!("{told:?}")
    }

    /// Puts the cluster to sleep, and wakes it up again: half of the time before its last pod has ended.
    pub(super) fn put_to_sleep(self: &Rc<Self>) -> String {
        let seconds = if self.draw(Rng::bool) { 0..=25 } else { 40..=80 };
        let time = Duration::from_millis(
            self.draw(|chance| chance.u64(seconds.start() * 1_000..=seconds.end() * 1_000)),
        );
        self.world.edit_spec(|spec| spec["hibernated"] = json!(true));
        self.ask_later(time, |striker| striker.world.wake());
        format!("for {time:?}")
    }

    /// Deletes the cluster, and makes it again as it was. Its claims stay.
    pub(super) fn recreate(self: &Rc<Self>) -> Option<String> {
        let mut store = self.world.api.store();
        let mut spec = store.get(&Resource::clusters(), &cluster_key())?["spec"].clone();
        // Whoever was to wake the first one up finds nobody.
        if let Some(fields) = spec.as_object_mut() {
            fields.remove("hibernated");
        }
        store.remove(&Resource::clusters(), &cluster_key());
        drop(store);
        self.is_lost(Fragile::Unsure);
        let time = Duration::from_secs(1) + self.time(Duration::from_secs(20));
        self.ask_later(time, move |striker| striker.world.create_cluster(&spec));
        Some(format!("after {time:?}"))
    }

    /// A human gives a command to an instance.
    fn command(self: &Rc<Self>, kind: Kind, instance: &Instance, statement: String) -> String {
        let mut client = self.world.memgraphs.client(self.world.memgraphs.place("human"));
        let at = (instance.address, BOLT_PORT).into();
        let told = format!("{} at {}", statement, instance.name);
        let trace = self.world.trace.clone();
        let hit = self.hit(kind);
        spawn_local(async move {
            let patience = Duration::from_secs(5);
            if client.connect(at, patience).await.is_ok() {
                let done = client.run(&statement, bolt_server::Map::new(), patience).await;
                if done.is_ok() {
                    hit();
                }
                trace.note(|| format!("human: {statement}: {:?}", done.map(drop)));
            }
        });
        told
    }

    pub(super) fn change_role(self: &Rc<Self>) -> Option<String> {
        self.is_lost(Fragile::Unsure);
        self.world.watchman.set_meddled(true);
        if self.draw(Rng::bool) {
            let replica = self.any(self.replicas())?;
            Some(self.command(
                Kind::HumanRole,
                &replica,
                "SET REPLICATION ROLE TO MAIN".to_owned(),
            ))
        } else {
            let demote = format!(
                "SET REPLICATION ROLE TO REPLICA WITH PORT {}",
                names::REPLICATION_PORT
            );
            Some(self.command(Kind::HumanRole, &self.world.main()?, demote))
        }
    }

    /// A human drops a registration of MAIN, or of the MAIN that was one before and lives on while another one is made.
    pub(super) fn drop_registration(self: &Rc<Self>) -> Option<String> {
        let known = self.world.main().into_iter();
        let mut found = known.chain(self.world.instances.live()).filter_map(|instance| {
            let look = self.world.memgraphs.look(instance.process?)?;
            match look.inspection.role {
                InspectedRole::Main { registrations, .. } if !registrations.is_empty() => {
                    Some((instance, registrations))
                }
                _ => None,
            }
        });
        let (main, registrations) = found.next()?;
        let registration = self.any(registrations)?;
        self.is_lost(Fragile::Unsure);
        self.world.watchman.set_meddled(true);
        Some(self.command(
            Kind::HumanDrop,
            &main,
            format!("DROP REPLICA {}", registration.name),
        ))
    }
}
