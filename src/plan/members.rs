//! Compares MAIN's registrations with what they should be.

use std::time::Duration;

use super::{
    Action, Step, addresses,
    expendable::is_expendable,
    numbers::{parse_registration_name, registration_name},
    observation::{DataStatus, Instance, Numbers, Observation, Registration, Role},
};
use crate::api::{
    RegistrationMode,
    ledger::{Ledger, Member},
};

/// For how long a registration may stay `invalid` although its instance serves, before it is made anew. A
/// replica that has restarted heals by itself within a check period (1 s) and the recovery's start.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);

/// MAIN's registrations, beside the instances that they mean.
pub(super) struct Members<'a> {
    pub(super) seen: &'a Observation,
    pub(super) ledger: &'a Ledger,
    pub(super) main: &'a Instance,
    registrations: &'a [Registration],
}

impl<'a> Members<'a> {
    /// None where MAIN did not answer as MAIN.
    pub(super) fn of(seen: &'a Observation, ledger: &'a Ledger) -> Option<Self> {
        let main = seen.instance(&ledger.main.instance)?;
        let view = main.view().filter(|view| view.role == Role::Main)?;
        Some(Self {
            seen,
            ledger,
            main,
            registrations: &view.registrations,
        })
    }

    pub(super) fn all(&self) -> &'a [Registration] {
        self.registrations
    }

    /// The declared instance that a registration leads to: it was made at the address that the instance's pod has now, after
    /// that address was noted for it. One that is older may have been made while somebody else was to be found there.
    pub(super) fn instance_of(&self, registration: &Registration) -> Option<&'a Instance> {
        let (ordinal, number) = parse_registration_name(&registration.name)?;
        let instance = self.seen.declared().find(|i| i.ordinal == ordinal)?;
        let address = instance.replication_address.as_ref()?;
        let noted = addresses::noted(self.ledger, &instance.name)?;
        let leads_there =
            registration.address == *address && noted.address == *address && number >= noted.since;
        (leads_there && instance.name != self.main.name).then_some(instance)
    }

    /// The registration that `member` is in the set by. It may lead nowhere any more, but MAIN waits for it.
    pub(super) fn registration_by(&self, member: &Member) -> Option<&'a Registration> {
        self.registrations.iter().find(|r| is_by(member, r))
    }

    /// Whether the in-sync set rests on this registration.
    pub(super) fn is_relied_on(&self, registration: &Registration) -> bool {
        self.ledger
            .in_sync
            .iter()
            .any(|member| is_by(member, registration))
    }

    /// The registration that means this instance.
    pub(super) fn registration_of(&self, instance: &Instance) -> Option<&'a Registration> {
        self.registrations.iter().find(|r| {
            self.instance_of(r)
                .is_some_and(|meant| meant.name == instance.name)
        })
    }

    /// Whether a registration that leads to no instance, as far as can be told, has the address that one has now: MAIN
    /// refuses another registration there (`Error: 2`).
    pub(super) fn is_in_the_way(&self, registration: &Registration) -> bool {
        let at = Some(&registration.address);
        self.instance_of(registration).is_none()
            && self.others().any(|i| i.replication_address.as_ref() == at)
    }

    /// Whether MAIN refuses to register this instance, because it lists somebody else at its address.
    pub(super) fn is_barred(&self, instance: &Instance) -> bool {
        let at = instance.replication_address.as_ref();
        let in_the_way = |r: &&Registration| Some(&r.address) == at && self.is_in_the_way(r);
        self.registrations.iter().any(|r| in_the_way(&r))
    }

    /// How many of these members may count ([`Self::is_live`]).
    pub(super) fn live(&self, members: &[Member]) -> usize {
        members.iter().filter(|m| self.is_live(m)).count()
    }

    /// Whether a member may count: MAIN feeds it as sync, it holds everything, it may be in sync, and its pod is not about to end.
    pub(super) fn is_live(&self, member: &Member) -> bool {
        self.registration_by(member).is_some_and(|r| {
            let stays = |i| self.seen.stays(i);
            r.is_sync() && r.follows() && self.instance_of(r).is_some_and(stays)
        })
    }

    /// The declared instances but MAIN.
    pub(super) fn others(&self) -> impl Iterator<Item = &'a Instance> {
        let main = self.main.name.as_str();
        self.seen.declared().filter(move |i| i.name != main)
    }

    /// The ledger's member that is this instance, in whatever life.
    pub(super) fn member(&self, instance: &Instance) -> Option<&'a Member> {
        self.ledger.in_sync.iter().find(|m| m.instance == instance.name)
    }

    /// Instances that are MAIN although the ledger says otherwise. One that could not be made a replica, and whose pod is being
    /// deleted for that, is waited for no longer: nobody is led to it, and it takes nobody away from the ledger's MAIN.
    pub(super) fn impostors(&self) -> impl Iterator<Item = &'a Instance> {
        let main = self.main.name.as_str();
        self.seen
            .instances
            .iter()
            .filter(move |i| i.name != main && i.role() == Some(Role::Main))
            .filter(|i| !(i.adamant && i.terminating))
    }

    /// Registers an instance at the address that its pod has now, which `ledger` must say before. None while it has none.
    pub(super) fn register(
        &self,
        instance: &Instance,
        mode: RegistrationMode,
        numbers: &mut Numbers,
        ledger: &mut Ledger,
    ) -> Option<Step> {
        let address = instance.replication_address.clone()?;
        addresses::note(instance, numbers, ledger);
        Some(Step::Do(Action::Register {
            main: self.main.name.clone(),
            instance: instance.name.clone(),
            name: registration_name(instance.ordinal, numbers.take(ledger)),
            address,
            mode,
        }))
    }

    pub(super) fn drop(&self, registration: &Registration) -> Step {
        Step::Do(Action::Drop {
            main: self.main.name.clone(),
            name: registration.name.clone(),
        })
    }

    pub(super) fn demote(instance: &Instance) -> Step {
        Step::Do(Action::Demote {
            instance: instance.name.clone(),
        })
    }

    /// Makes an instance a replica that is MAIN without the ledger's word; if its commits leave no moment for that command, by a
    /// new pod, which starts as one. Its volume stays, or nothing depends on that.
    pub(super) fn put_down(seen: &Observation, ledger: &Ledger, instance: &Instance) -> Step {
        let by_force = instance.adamant && is_expendable(seen, Some(ledger), instance);
        match &instance.pod_uid {
            Some(pod_uid) if by_force => Step::Do(Action::DeletePod {
                instance: instance.name.clone(),
                pod_uid: pod_uid.clone(),
            }),
            _ => Self::demote(instance),
        }
    }

    pub(super) fn probe_commit(&self) -> Step {
        Step::Do(Action::ProbeCommit {
            main: self.main.name.clone(),
        })
    }

    pub(super) fn confirm(&self, names: Vec<String>) -> Step {
        Step::Do(Action::Confirm {
            main: self.main.name.clone(),
            names,
        })
    }

    /// The member that this registration makes of its instance as it is now. The marker is asked for because
    /// MAIN's view of a replica may be seconds old: an instance that came back empty has none.
    pub(super) fn confirmed(&self, registration: &Registration) -> Option<Member> {
        let instance = self.instance_of(registration)?;
        if !(registration.is_sync() && registration.in_sync()) {
            return None;
        }
        self.as_member(instance, registration)
    }

    /// A member by this very registration that is fenced by now, as it is in its present life: MAIN waits for it as before. It
    /// is not promoted for that, but what it holds counts. Nobody comes into the set by it.
    pub(super) fn confirmed_though_fenced(&self, registration: &Registration) -> Option<Member> {
        let instance = self.instance_of(registration)?;
        let member = self
            .member(instance)
            .filter(|member| is_by(member, registration))?;
        let holds_all = registration.is_sync() && registration.in_sync();
        let fit = holds_all && instance.is_replica() && instance.carries(self.ledger);
        let fenced = fit && self.seen.settings.is_fenced(&instance.name);
        fenced.then_some(())?;
        Some(Member {
            incarnation: instance.incarnation.clone()?,
            mode: Some(registration.mode),
            ..member.clone()
        })
    }

    /// The copy that `instance` is under this registration, if it is one that may be promoted at all.
    pub(super) fn as_member(&self, instance: &Instance, registration: &Registration) -> Option<Member> {
        let (_, generation) = parse_registration_name(&registration.name)?;
        if !(instance.is_replica() && instance.carries(self.ledger) && self.seen.electable(instance)) {
            return None;
        }
        Some(Member {
            instance: instance.name.clone(),
            incarnation: instance.incarnation.clone()?,
            generation,
            address: registration.address.clone(),
            mode: Some(registration.mode),
        })
    }
}

/// Whether `member` is in the set by this registration.
fn is_by(member: &Member, registration: &Registration) -> bool {
    let number = parse_registration_name(&registration.name).map(|(_, number)| number);
    number == Some(member.generation) && registration.address == member.address
}

/// Whether MAIN waits for this replica, if it is a sync one, before it acknowledges a write.
pub(super) fn is_waited_for(registration: &Registration) -> bool {
    !matches!(registration.status, None | Some(DataStatus::Diverged))
}

/// Whether MAIN lists a replica for long as `invalid` that serves: it accepts another MAIN's word, or none. One that is
/// slower than MAIN's writers is `invalid` between two recoveries: that heals by itself, and a new registration would begin it
/// anew. One that [takes nothing](Instance::takes_nothing_in) would take as little by a new one; before that is known, it is asked.
pub(super) fn is_stuck(registration: &Registration, instance: &Instance) -> bool {
    registration.status == Some(DataStatus::Invalid)
        && registration.invalid_for >= STUCK_AFTER
        && instance.away_for.is_zero()
        && instance.is_replica()
        && instance.view().is_some_and(|view| view.storage_mode.is_some())
        && instance.takes_nothing_in().is_none()
}

/// The steps, preceded by a write of the ledger if they made it different.
pub(super) fn after_reserving(before: &Ledger, ledger: Ledger, steps: Vec<Step>) -> Vec<Step> {
    if *before == ledger {
        steps
    } else {
        [Step::write(ledger)].into_iter().chain(steps).collect()
    }
}
