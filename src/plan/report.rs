//! What the status says of a cluster: a pure function of what was observed and what is being done about it.

use super::{
    Situation, Stage, durability, failing, hibernation,
    members::Members,
    observation::{Container, DataStatus, Instance, Observation, Registration, Role, Sight},
    paused, release, reset, silence,
    switchover::{self, Standing},
    update, volumes,
};
use crate::{
    api::{
        Health, InstanceRole, InstanceStatus, Phase, SwitchoverState,
        conditions::{ConditionType, Reason, Truth, Verdict},
        ledger::{Ledger, OperationKind, ResetOrder, Route, SwitchoverRecord},
    },
    grants::LONGEST_PAUSE,
};

/// What is known of the gateway beside the instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayState {
    /// Whether the spec asks for one.
    pub enabled: bool,
    /// Number of gateway pods that are ready.
    pub ready: i32,
    /// What keeps one of its pods from running, as Kubernetes says it.
    pub obstacle: Option<String>,
    /// What its pods lack to be as the spec asks, by what Kubernetes says.
    pub unfinished: Option<String>,
}

/// The report on one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The conditions in one word.
    pub phase: Phase,
    /// Whether clients are not to be led to MAIN any more: its pod ends, or has ended, with all others.
    pub ends_pods: bool,
    /// Number of instances that answer in the role they should have.
    pub ready_replicas: i32,
    /// Number of replicas that hold every acknowledged write.
    pub in_sync_replicas: i32,
    /// The version that MAIN reports.
    pub version: Option<String>,
    /// The instances.
    pub instances: Vec<InstanceStatus>,
    /// What has become of the newest request to move MAIN.
    pub switchover: Option<SwitchoverRecord>,
    /// The conditions.
    pub verdicts: Vec<Verdict>,
}

/// Reports on a cluster whose ledger is `ledger` by now.
#[must_use]
pub fn report(
    seen: &Observation,
    ledger: Option<&Ledger>,
    situation: &Situation,
    gateway: GatewayState,
) -> Report {
    let facts = Facts::gather(seen, ledger, situation, gateway);
    Report {
        phase: facts.phase(),
        ends_pods: seen.stage.ends_pods(),
        ready_replicas: count(seen.declared().filter(|i| facts.is_as_it_should_be(i))),
        in_sync_replicas: count(facts.live_members()),
        version: facts
            .main
            .and_then(Instance::view)
            .map(|view| view.version.clone()),
        instances: seen.declared().map(|i| facts.instance(i)).collect(),
        switchover: facts.switchover(),
        verdicts: facts.verdicts(),
    }
}

struct Facts<'a> {
    seen: &'a Observation,
    ledger: Option<&'a Ledger>,
    situation: &'a Situation,
    gateway: GatewayState,
    /// MAIN's registrations, where the ledger's MAIN serves.
    members: Option<Members<'a>>,
    main: Option<&'a Instance>,
}

impl<'a> Facts<'a> {
    fn gather(
        seen: &'a Observation,
        ledger: Option<&'a Ledger>,
        situation: &'a Situation,
        gateway: GatewayState,
    ) -> Self {
        let members = ledger.and_then(|ledger| Members::of(seen, ledger));
        let main = members.as_ref().map(|members| members.main);
        Self {
            seen,
            ledger,
            situation,
            gateway,
            members,
            main,
        }
    }

    fn is_open(&self) -> bool {
        self.ledger.is_some_and(|ledger| ledger.route == Route::Open)
    }

    /// Whether clients are served by a MAIN that only this operator does not hear, as far as handshakes can tell.
    fn serves_unheard(&self) -> bool {
        let unheard = matches!(self.situation, Situation::MainLost(Reason::MainUnreachable, _));
        let ledger = self.ledger.filter(|_| unheard && self.is_open());
        ledger.is_some_and(|ledger| silence::serves_unheard(self.seen, ledger))
    }

    fn main_serves(&self) -> bool {
        self.main.is_some() && !matches!(self.situation, Situation::MainLost(..))
    }

    fn registration(&self, instance: &Instance) -> Option<&'a Registration> {
        self.members.as_ref()?.registration_of(instance)
    }

    /// Members of the in-sync set that MAIN reaches now.
    fn live_members(&self) -> impl Iterator<Item = &'a Instance> {
        let instances = self.seen.instances.iter();
        instances.filter(|i| self.is_member(i) && self.registration(i).is_some_and(Registration::follows))
    }

    /// Whether the in-sync set has it, in the life that it is in.
    fn is_member(&self, instance: &Instance) -> bool {
        let ledger = self.ledger;
        ledger.is_some_and(|ledger| ledger.in_sync.iter().any(|member| instance.is(member)))
    }

    fn order(&self, instance: &Instance) -> Option<&'a ResetOrder> {
        reset::order(self.ledger?, instance)
    }

    fn is_main(&self, instance: &Instance) -> bool {
        self.ledger
            .is_some_and(|ledger| ledger.main.instance == instance.name)
    }

    fn is_as_it_should_be(&self, instance: &Instance) -> bool {
        let keeps_up = |r: &Registration| r.keeps_up() || self.is_as_told_before(instance, r);
        match instance.role() {
            Some(Role::Main) => self.is_main(instance),
            Some(Role::Replica) => self.registration(instance).is_some_and(keeps_up),
            None => false,
        }
    }

    /// Whether MAIN is in a storage mode in which it says nothing of any replica.
    fn replicates_nothing(&self) -> bool {
        self.main.is_some_and(|main| main.unreplicated().is_some())
    }

    /// Whether MAIN would say of this replica what it said last: it replicates nothing since, and as far as is known the data is still there.
    fn is_as_told_before(&self, instance: &Instance, registration: &Registration) -> bool {
        let shows = instance.view().is_some_and(|view| view.contents.is_some());
        let emptied = shows && !self.ledger.is_some_and(|ledger| instance.carries(ledger));
        self.replicates_nothing() && registration.status.is_none() && !emptied
    }

    fn instance(&self, instance: &Instance) -> InstanceStatus {
        let registration = self.registration(instance);
        InstanceStatus {
            name: instance.name.clone(),
            address: instance.address.map(|address| address.to_string()),
            role: match instance.role() {
                // Where no ledger names MAIN, it says nothing against this one.
                Some(Role::Main) if self.ledger.is_none() || self.is_main(instance) => InstanceRole::Main,
                Some(Role::Main) => InstanceRole::Deposed,
                Some(Role::Replica) => InstanceRole::Replica,
                None => InstanceRole::Unknown,
            },
            mode: registration.map(|r| r.mode),
            health: match (instance.container, &instance.sight) {
                (Container::Running, Sight::Serving(_)) => Health::Up,
                (Container::Running, _) => Health::Silent,
                _ => Health::Down,
            },
            in_sync: instance.is_replica() && self.is_member(instance),
            // What it was told to be is carried over where this is written.
            data_status: match registration {
                Some(r) => (!self.is_as_told_before(instance, r)).then(|| data_status(r).to_owned()),
                // MAIN keeps no registration of one that it has refused.
                None => (instance.refused && instance.is_replica()).then(|| DIVERGED.to_owned()),
            },
            // Its pod tells.
            tls: false,
            warning: None,
            obstacle: instance.obstacle.clone(),
        }
    }

    /// What keeps the cluster from being just as the spec asks, while it serves.
    fn lacking(&self) -> Option<String> {
        let lacking: Vec<_> = self
            .seen
            .declared()
            .filter(|i| !self.is_as_it_should_be(i))
            .map(|i| i.name.as_str())
            .collect();
        if !lacking.is_empty() {
            return Some(format!("not following MAIN: {}", lacking.join(", ")));
        }
        let removed: Vec<_> = self
            .seen
            .instances
            .iter()
            .filter(|i| i.ordinal >= self.seen.settings.replicas)
            .map(|i| i.name.as_str())
            .collect();
        if !removed.is_empty() {
            return Some(format!("still to be removed: {}", removed.join(", ")));
        }
        // Of that, Durable tells.
        let told = !self.replicates_nothing();
        (told && count(self.live_members()) < sync_replicas(self.seen))
            .then(|| "fewer in-sync replicas than replication.syncReplicas asks for".to_owned())
    }

    /// Whether MAIN refuses writes because its in-sync replica is away.
    fn writes_blocked(&self) -> bool {
        // In a mode without replication it asks nobody.
        let members = self.members.as_ref().filter(|_| !self.replicates_nothing());
        members.is_some_and(|m| m.all().iter().any(|r| r.is_sync() && !r.follows()))
    }

    fn switchover(&self) -> Option<SwitchoverRecord> {
        let ledger = self.ledger?;
        let Some(request) = switchover::pending(self.seen, ledger) else {
            return ledger.switchover.clone();
        };
        let why = match self
            .members
            .as_ref()
            .map(|members| switchover::consider(members, request))
        {
            _ if self.is_paused() => {
                "it begins once the cluster is not paused any more (spec.paused)".to_owned()
            }
            _ if self.seen.stage.ends_pods() => {
                "it begins once the cluster is awake (spec.hibernated)".to_owned()
            }
            Some(Standing::Waiting(why)) => why,
            Some(_) => switchover::UNREACHED.to_owned(),
            None if !self.seen.settings.automatic_failover => {
                "it begins once MAIN serves, or once who is to follow a MAIN that is lost is known to hold every acknowledged write"
                    .to_owned()
            }
            None => "it begins once MAIN serves".to_owned(),
        };
        Some(switchover::record(request, SwitchoverState::Pending, why))
    }

    fn gateway_serves(&self) -> bool {
        !self.gateway.enabled || self.gateway.ready > 0
    }

    fn is_paused(&self) -> bool {
        paused::holds_back(self.seen)
    }

    fn phase(&self) -> Phase {
        match self.running_phase() {
            _ if self.seen.stage.ends_pods() => Phase::Hibernated,
            // Where clients cannot write, that is what people must see first.
            Phase::Pending | Phase::Operational | Phase::Updating | Phase::Degraded if self.is_paused() => {
                Phase::Paused
            }
            phase => phase,
        }
    }

    fn running_phase(&self) -> Phase {
        match self.situation {
            Situation::Stalled(..) if self.is_open() && self.main_serves() => {
                if self.writes_blocked() {
                    Phase::WritesBlocked
                } else {
                    Phase::Degraded
                }
            }
            Situation::Stalled(..) => Phase::Unknown,
            Situation::Waiting(..) => Phase::Pending,
            Situation::Working(OperationKind::Bootstrap, _) => Phase::Bootstrapping,
            Situation::Working(OperationKind::Switchover, _) => Phase::SwitchingOver,
            // Sessions are paused for so long.
            Situation::Working(OperationKind::Repair, _) if self.seen.closed_for < LONGEST_PAUSE => {
                Phase::Degraded
            }
            Situation::Working(OperationKind::Repair, _) => Phase::Unavailable,
            Situation::Working(..) => Phase::FailingOver,
            Situation::MainLost(..) if self.serves_unheard() => Phase::Degraded,
            Situation::MainLost(..) => Phase::Unavailable,
            Situation::Serving if !self.main_serves() => Phase::Unavailable,
            Situation::Serving if self.writes_blocked() => Phase::WritesBlocked,
            Situation::Serving if self.outdated().is_some() => Phase::Updating,
            Situation::Serving if self.misplaced().is_some() => Phase::Degraded,
            Situation::Serving
                if self.lacking().is_some() || !self.gateway_serves() || self.replicates_nothing() =>
            {
                Phase::Degraded
            }
            Situation::Serving if self.growing().is_some() => Phase::Updating,
            Situation::Serving => Phase::Operational,
        }
    }

    fn verdicts(&self) -> Vec<Verdict> {
        ConditionType::ALL
            .into_iter()
            .map(|condition| self.verdict(condition))
            .collect()
    }

    fn verdict(&self, condition: ConditionType) -> Verdict {
        let (status, reason, message) = match condition {
            ConditionType::Ready => self.ready(),
            ConditionType::Reconciling => self.reconciling(),
            ConditionType::Stalled => self.stalled(),
            ConditionType::MainAvailable => self.main_available(),
            ConditionType::Durable => self.durable(),
            ConditionType::ReplicationHealthy => self.replication_healthy(),
            ConditionType::GatewayAvailable => self.gateway_available(),
            ConditionType::StorageReady => volumes::verdict(self.seen, self.situation),
            ConditionType::UpToDate => self.up_to_date(),
            ConditionType::Paused => self.paused(),
            ConditionType::Hibernated => {
                let serves = self.is_open() && self.main_serves();
                hibernation::verdict(self.seen, serves, self.trouble())
            }
        };
        Verdict {
            condition,
            status,
            reason,
            message,
        }
    }

    fn ready(&self) -> (Truth, Reason, String) {
        // What a human must mend may leave the clients alone.
        let serves_on = matches!(self.situation, Situation::Stalled(..))
            && self.is_open()
            && self.main_serves()
            && !self.seen.stage.ends_pods();
        if let Some((reason, message)) = self.trouble().filter(|_| !serves_on) {
            let cannot_tell = self.serves_unheard();
            return (
                if cannot_tell { Truth::Unknown } else { Truth::False },
                reason,
                message,
            );
        }
        if !(self.is_open() && self.main_serves()) {
            return (Truth::False, Reason::MainUnreachable, "no MAIN serves".into());
        }
        if self.writes_blocked() {
            let message = "MAIN acknowledges no write while its in-sync replica is away".into();
            return (Truth::False, Reason::NoInSyncReplica, message);
        }
        if !self.gateway_serves() {
            return (Truth::False, Reason::GatewayNotReady, self.no_gateway());
        }
        (
            Truth::True,
            Reason::AsExpected,
            "the gateway leads to a MAIN that acknowledges writes".into(),
        )
    }

    /// What the situation itself says is wrong, and what keeps pods from running, as Kubernetes says it.
    fn trouble(&self) -> Option<(Reason, String)> {
        let (reason, message) = self.situation_says()?;
        Some((reason, self.with_obstacles(message)))
    }

    fn with_obstacles(&self, message: String) -> String {
        let mut told: Vec<(&str, Vec<&str>)> = Vec::new();
        for instance in self.seen.declared() {
            let Some(obstacle) = instance.obstacle.as_deref() else {
                continue;
            };
            match told.iter_mut().find(|(same, _)| *same == obstacle) {
                Some((_, names)) => names.push(&instance.name),
                None => told.push((obstacle, vec![&instance.name])),
            }
        }
        let told = told.into_iter().fold(message, |message, (obstacle, names)| {
            format!("{message}; {}: {obstacle}", names.join(", "))
        });
        match self.kept() {
            Some(kept) => format!("{told}; {kept}"),
            None => told,
        }
    }

    /// Who stays beyond `replicas` because nobody knows who holds the newest data ([`super::instances_to_keep`]), and the way out.
    fn kept(&self) -> Option<String> {
        let known = self
            .ledger
            .is_some_and(|ledger| self.main_serves() || !ledger.in_sync.is_empty());
        let goes = |i: &Instance| i.passing || i.terminating && self.seen.settings.data_in_pods;
        let noted = |i: &&Instance| i.claim.as_ref().is_some_and(|claim| claim.note.is_some()) && !goes(i);
        let beyond = self
            .seen
            .instances
            .iter()
            .filter(|i| i.ordinal >= self.seen.settings.replicas);
        let kept: Vec<_> = beyond.filter(noted).map(|i| i.name.as_str()).collect();
        (!known && !kept.is_empty()).then(|| {
            format!(
                "{} may hold the newest data, and stay beyond spec.replicas until MAIN serves; who does not need that data deletes \
                 their volume claims",
                kept.join(", ")
            )
        })
    }

    fn situation_says(&self) -> Option<(Reason, String)> {
        match self.situation {
            Situation::Waiting(reason, message)
            | Situation::Stalled(reason, message)
            | Situation::MainLost(reason, message) => Some((*reason, message.clone())),
            Situation::Working(OperationKind::Bootstrap, message) => {
                Some((Reason::Bootstrapping, message.clone()))
            }
            Situation::Working(OperationKind::Switchover, message) => {
                Some((Reason::SwitchingOver, message.clone()))
            }
            Situation::Working(OperationKind::Repair, message) => Some((Reason::Repairing, message.clone())),
            Situation::Working(_, message) => Some((Reason::FailingOver, message.clone())),
            Situation::Serving => None,
        }
    }

    fn reconciling(&self) -> (Truth, Reason, String) {
        if self.is_paused() {
            let message = "nothing is done before spec.paused is false";
            return (Truth::False, Reason::Paused, message.into());
        }
        if let Some((reason, message)) = self.waits_for_human() {
            return (Truth::False, reason, message);
        }
        if self.seen.stage == Stage::Asleep {
            let message = "the cluster is asleep, as the spec asks";
            return (Truth::False, Reason::Hibernated, message.into());
        }
        let lagging = || self.lacking().map(|lacking| (Reason::ReplicasLagging, lacking));
        match self
            .trouble()
            .or_else(|| self.misplaced())
            .or_else(lagging)
            .or_else(|| self.outdated())
            .or_else(|| self.growing())
            .or_else(|| self.gateways_change())
        {
            Some((reason, message)) => (Truth::True, reason, message),
            None => (Truth::False, Reason::AsExpected, "all is as the spec asks".into()),
        }
    }

    /// Why MAIN goes on where it may not be any more, by `replicas` or `electableInstances`. Of one that is fenced, the situation says it.
    fn misplaced(&self) -> Option<(Reason, String)> {
        let members = self.members.as_ref()?;
        let name = &members.main.name;
        if self.seen.electable(members.main) || self.seen.settings.is_fenced(name) {
            return None;
        }
        let next = switchover::away(members, false)
            .map_or_else(|why| why, |target| format!("it moves to {}", target.name));
        let message = format!("{name} may not be MAIN any more, and goes on as such: {next}");
        Some((Reason::SwitchingOver, message))
    }

    /// Which instances have an earlier configuration, and what their update waits for.
    fn outdated(&self) -> Option<(Reason, String)> {
        let named = |what: &str, outdated: bool| {
            let of_these = |i: &&Instance| i.is_current() != outdated && (outdated || i.restart_asked);
            let names: Vec<_> = self
                .seen
                .declared()
                .filter(of_these)
                .map(|i| i.name.as_str())
                .collect();
            (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
        };
        let outdated = named("still with an earlier configuration", true);
        let left = [
            outdated,
            named("to get another pod, as its annotation asks", false),
        ];
        let left: Vec<_> = left.into_iter().flatten().collect();
        if left.is_empty() {
            return release::downgrade(self.seen).map(|why| (Reason::Downgrade, why));
        }
        let left = left.join("; ");
        Some(match self.members.as_ref().map(update::next) {
            Some(update::Next::Wait(reason, why)) => (reason, self.with_obstacles(format!("{left}; {why}"))),
            _ => (Reason::Updating, left),
        })
    }

    fn growing(&self) -> Option<(Reason, String)> {
        volumes::growing(self.seen).map(|message| (Reason::Expanding, message))
    }

    fn paused(&self) -> (Truth, Reason, String) {
        if self.is_paused() {
            let message = "nothing is changed, and a lost MAIN is not replaced, before spec.paused is false";
            return (Truth::True, Reason::Paused, message.into());
        }
        match self.trouble().filter(|_| self.seen.settings.paused) {
            Some((reason, message)) => (Truth::False, reason, format!("this is finished first: {message}")),
            None => (Truth::False, Reason::AsExpected, "spec.paused is false".into()),
        }
    }

    fn up_to_date(&self) -> (Truth, Reason, String) {
        if self.seen.stage == Stage::Asleep {
            let message =
                "no instance runs; what has changed meanwhile takes effect when the cluster is awake";
            return (Truth::Unknown, Reason::Hibernated, message.into());
        }
        let (truth, reason, message) = match self.outdated() {
            Some((reason, message)) => (Truth::False, reason, message),
            None => match release::mixed(self.seen, self.main) {
                Some(message) => (Truth::False, Reason::MixedReleases, message),
                None => (Truth::True, Reason::AsExpected, self.is_up_to_date()),
            },
        };
        // Said from when it is asked for on, while the way back may still be open.
        match release::unknown(self.seen) {
            Some(unknown) => (truth, reason, format!("{message}; {unknown}")),
            None => (truth, reason, message),
        }
    }

    fn is_up_to_date(&self) -> String {
        let mut message = "every instance has the configuration that the spec asks for".to_owned();
        let image = &self.seen.settings.image;
        if release::floats(image) {
            message += &format!(
                "; image: {image} may mean another release the next time that a pod starts: name a release or a digest"
            );
        }
        message
    }

    /// What nothing goes on before.
    fn waits_for_human(&self) -> Option<(Reason, String)> {
        let waits = matches!(
            self.situation,
            Situation::Stalled(..) | Situation::MainLost(Reason::ManualFailover | Reason::Paused, _)
        );
        self.trouble().filter(|_| waits)
    }

    fn stalled(&self) -> (Truth, Reason, String) {
        match self.waits_for_human() {
            Some((reason, message)) => (Truth::True, reason, message),
            None => (
                Truth::False,
                Reason::AsExpected,
                "nothing waits for a human".into(),
            ),
        }
    }

    fn main_available(&self) -> (Truth, Reason, String) {
        match self.situation {
            Situation::MainLost(reason @ Reason::MainUnreachable, message) => {
                (Truth::Unknown, *reason, self.with_obstacles(message.clone()))
            }
            _ if self.is_open() && self.main_serves() => {
                (Truth::True, Reason::AsExpected, "MAIN answers".into())
            }
            _ => match self.trouble() {
                Some((reason, message)) => (Truth::False, reason, message),
                None => (Truth::False, Reason::MainUnreachable, "no MAIN serves".into()),
            },
        }
    }

    fn durable(&self) -> (Truth, Reason, String) {
        let trouble = self.trouble().map(|(reason, _)| reason);
        let following: Vec<_> = self.live_members().collect();
        let main = self.main.filter(|_| self.main_serves());
        durability::durable(self.seen, self.ledger, trouble, &following, main)
    }

    fn replication_healthy(&self) -> (Truth, Reason, String) {
        let Some(members) = &self.members else {
            let asleep = self.seen.stage == Stage::Asleep;
            return (
                Truth::Unknown,
                if asleep {
                    Reason::Hibernated
                } else {
                    Reason::MainUnreachable
                },
                "MAIN does not tell".into(),
            );
        };
        if let Some(why) = switchover::replicates_nothing(members.main) {
            return (Truth::Unknown, Reason::UnreplicatedMode, why);
        }
        let unwell: Vec<_> = members
            .others()
            .filter(|i| !members.registration_of(i).is_some_and(Registration::keeps_up))
            .map(|i| match members.registration_of(i) {
                Some(registration) if failing::keeps_ending(i) => {
                    let status = data_status(registration);
                    format!("{} ({status}: its process ends again and again)", i.name)
                }
                Some(registration) => {
                    let takes_nothing = i.takes_nothing().map(|why| format!(": it {why}"));
                    let status = data_status(registration);
                    format!("{} ({status}{})", i.name, takes_nothing.unwrap_or_default())
                }
                None if self.order(i).is_some() => {
                    let said = i.reset_note.as_ref().map_or("", |note| note.detail.as_str());
                    let colon = if said.is_empty() { "" } else { ": " };
                    format!("{} (its data is to be set aside{colon}{said})", i.name)
                }
                None if i.refused => format!("{} (diverged: it holds writes that MAIN does not)", i.name),
                None if failing::keeps_ending(i) => format!("{} (its process ends again and again)", i.name),
                None if i.obstacle.is_some() => {
                    format!("{} ({})", i.name, i.obstacle.as_deref().unwrap_or_default())
                }
                None if i.sight == Sight::Barred => format!("{} (it refuses the password)", i.name),
                None if matches!(i.sight, Sight::Untrusted { .. }) => {
                    format!("{} (its certificate cannot be trusted)", i.name)
                }
                None if matches!(i.sight, Sight::Silent | Sight::Handshake) => {
                    format!("{} (it answers nothing)", i.name)
                }
                None => format!("{} (not registered)", i.name),
            })
            .collect();
        if unwell.is_empty() {
            (
                Truth::True,
                Reason::AsExpected,
                "every replica follows MAIN".into(),
            )
        } else {
            (Truth::False, Reason::ReplicasLagging, unwell.join(", "))
        }
    }

    fn gateway_available(&self) -> (Truth, Reason, String) {
        if !self.gateway.enabled {
            (
                Truth::False,
                Reason::GatewayDisabled,
                "gateway.enabled is false".into(),
            )
        } else if self.gateway.ready > 0 {
            (Truth::True, Reason::AsExpected, "gateway pods are ready".into())
        } else if self.seen.stage.ends_pods() {
            let message = "spec.hibernated has the gateways end";
            (Truth::False, Reason::Hibernated, message.into())
        } else {
            (Truth::False, Reason::GatewayNotReady, self.no_gateway())
        }
    }

    /// What is still to become of the gateways, where some serve.
    fn gateways_change(&self) -> Option<(Reason, String)> {
        let left = self.gateway.unfinished.as_ref()?;
        let why = self.gateway.obstacle.as_ref();
        let why = why.map(|obstacle| format!("; {obstacle}")).unwrap_or_default();
        Some((Reason::GatewayNotReady, format!("gateways: {left}{why}")))
    }

    fn no_gateway(&self) -> String {
        let told = self.gateway.obstacle.as_ref();
        let why = told.map(|obstacle| format!(": {obstacle}")).unwrap_or_default();
        format!("no gateway pod is ready{why}")
    }
}

/// What is told of a replica that holds writes that MAIN does not.
const DIVERGED: &str = "diverged";

fn data_status(registration: &Registration) -> &'static str {
    match registration.status {
        _ if registration.keeps_up() => "ready",
        Some(DataStatus::Ready | DataStatus::Replicating) => "ready",
        Some(DataStatus::Recovery) => "recovery",
        Some(DataStatus::Invalid) => "invalid",
        Some(DataStatus::Diverged) => DIVERGED,
        None => "ghost",
    }
}

fn sync_replicas(seen: &Observation) -> i32 {
    i32::try_from(seen.settings.sync_replicas).unwrap_or(i32::MAX)
}

fn count(items: impl Iterator) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}
