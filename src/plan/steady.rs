//! What to do while MAIN serves: keep every replica registered as it should be, without a moment in which an
//! acknowledged write is on MAIN alone.

use std::time::Duration;

use super::{
    Action, Plan, Situation, Step, addresses, failing, fate, fenced, loss,
    members::{self, Members},
    notes,
    observation::{Access, Instance, NEAR, Observation, Registration},
    reset,
    switchover::{self, Standing},
    update,
};
use crate::api::{
    RegistrationMode, SwitchoverState,
    conditions::Reason,
    ledger::{Ledger, Member, Operation, OperationKind, Route},
};

/// For how long an in-sync replica may be away before another takes its place. Until then a restart is
/// cheaper: writes wait in both cases, and the returning replica needs no new registration.
const REPLACE_AFTER: Duration = Duration::from_secs(10);

/// After what time a change of registrations that clients' commits leave no moment for is made behind a closed route. Only
/// where these commits fail anyway: it costs nothing then.
const STARVED_AFTER: Duration = Duration::from_secs(1);
/// The same where commits succeed, and clients are held for it: by then it is known whether these end soon.
const CROWDED_OUT_AFTER: Duration = Duration::from_secs(20);
/// An instance whose pod is deleted serves for 5 s more. After this time nothing waits any more for a replica that clients outpace.
const ENDS_SOON: Duration = Duration::from_secs(1);
/// An instance whose pod is deleted serves for 5 s more. One that still does after this is on a node that is cut off, as a rule.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn plan(seen: &Observation, ledger: &Ledger) -> Plan {
    let fate = fate::fate(seen, ledger);
    if let Some(plan) = loss::react(seen, ledger, &fate) {
        return plan;
    }
    let Some(members) = Members::of(seen, ledger) else {
        return Plan::new(seen, Situation::Serving);
    };
    // One change at a time: the next plan sees what this one has done.
    let mut desk = Desk {
        members,
        ledger: ledger.clone(),
        numbers: seen.numbers,
    };
    let mut situation = Situation::Serving;
    let steps = desk
        .wait_for_replication(&mut situation)
        .or_else(|| desk.demote_impostors())
        .or_else(|| desk.repair(&mut situation))
        .or_else(|| desk.switch_over())
        .or_else(|| desk.leave_unfit(&mut situation))
        .or_else(|| desk.admit())
        .or_else(|| desk.shrink())
        .or_else(|| desk.replace_displaced())
        .or_else(|| desk.remove())
        .or_else(|| desk.grow())
        .or_else(|| desk.reset(&mut situation))
        .or_else(|| desk.revive(&mut situation))
        .or_else(|| desk.say_who_is_shut_out(&mut situation))
        .or_else(|| desk.register_missing())
        .or_else(|| desk.show_what_is_missing())
        .or_else(|| desk.settle_users())
        .or_else(|| desk.conclude_recovery())
        .or_else(|| desk.note_how_clients_come())
        .or_else(|| notes::note_volumes(seen, ledger).map(|step| Work::Steps(vec![step])))
        .or_else(|| desk.update())
        .unwrap_or_default();
    let numbers = desk.numbers;
    let steps = match steps {
        Work::Steps(steps) => members::after_reserving(ledger, desk.ledger, steps),
        Work::Close(plan) => {
            situation = plan.situation;
            plan.steps
        }
    };
    Plan {
        steps,
        situation,
        numbers,
    }
}

enum Work {
    Steps(Vec<Step>),
    Close(Plan),
}

impl Default for Work {
    fn default() -> Self {
        Self::Steps(Vec::new())
    }
}

/// The steps are laid out here; what they need written first goes into `ledger`.
struct Desk<'a> {
    members: Members<'a>,
    ledger: Ledger,
    numbers: super::observation::Numbers,
}

impl<'a> Desk<'a> {
    /// Clients come to this MAIN past the gateway from here on. When gateways are switched on, those that are there may stay: that they
    /// have gone is known of another MAIN only.
    fn note_how_clients_come(&mut self) -> Option<Work> {
        (self.members.seen.settings.direct && !self.ledger.direct).then(|| {
            self.ledger.direct = true;
            Work::Steps(Vec::new())
        })
    }

    /// While MAIN is in a storage mode in which it replicates nothing, it says nothing of its replicas, which are as they were when
    /// that began: nothing is done to their registrations, so that all is as before once the mode is left.
    fn wait_for_replication(&mut self, situation: &mut Situation) -> Option<Work> {
        self.members.main.unreplicated()?;
        let done = None
            .or_else(|| self.demote_impostors())
            .or_else(|| self.switch_over())
            .or_else(|| self.leave_unfit(situation))
            .or_else(|| self.replace_displaced())
            .or_else(|| self.settle_users());
        Some(done.unwrap_or_default())
    }

    /// An instance that is MAIN without the ledger's word gets no client; before it is demoted it leaves the
    /// in-sync set, because what it wrote as MAIN is not what MAIN acknowledged.
    fn demote_impostors(&mut self) -> Option<Work> {
        let impostors: Vec<_> = self.members.impostors().collect();
        if impostors.is_empty() {
            return None;
        }
        self.ledger
            .in_sync
            .retain(|m| impostors.iter().all(|i| i.name != m.instance));
        Some(Work::Steps(
            impostors
                .into_iter()
                .map(|i| Members::put_down(self.members.seen, &self.ledger, i))
                .collect(),
        ))
    }

    /// A sync registration that is of the wrong kind, a ghost, or stuck is made anew while Closed: in the
    /// moment between DROP and REGISTER a commit would be on MAIN alone.
    ///
    /// Where the route could not be opened again, MAIN goes on with one that it waits for, and it is said.
    fn repair(&mut self, situation: &mut Situation) -> Option<Work> {
        let seen = self.members.seen;
        let mode = seen.settings.sync_mode();
        let guards = self.members.all().iter().filter(|r| self.guards(r));
        let broken = guards.filter(|r| match self.members.instance_of(r) {
            Some(instance) => r.mode != mode || !members::is_waited_for(r) || members::is_stuck(r, instance),
            // MAIN takes no second registration at this address.
            None => self.members.is_in_the_way(r),
        });
        // Without those that MAIN does not wait for it acknowledges writes alone.
        let broken = broken.min_by_key(|r| members::is_waited_for(r));
        let lost = self.members.ledger.in_sync.iter().find(|m| {
            let declared = seen.declared().any(|i| i.name == m.instance);
            declared && self.members.registration_by(m).is_none()
        });
        let why = match (broken, lost) {
            (Some(registration), None) if members::is_waited_for(registration) => {
                let why = format!("the registration {} must be made anew", registration.name);
                if let Some(never) = fenced::shuts_out(seen, &self.members.main.name) {
                    let text =
                        format!("{why}, behind a closed route that could not be opened again: {never}");
                    *situation = Situation::Stalled(Reason::FencedInstance, text);
                    return None;
                }
                why
            }
            (Some(registration), _) => format!("the registration {} must be made anew", registration.name),
            (None, Some(member)) => format!("MAIN has lost the registration of {}", member.instance),
            (None, None) => return None,
        };
        Some(self.close(why))
    }

    /// Says what keeps MAIN from acknowledging writes where nobody may take the place of the replica that it waits for.
    fn say_who_is_shut_out(&self, situation: &mut Situation) -> Option<Work> {
        let blocks = |r: &&Registration| r.is_sync() && !r.follows() && r.unwell_for >= REPLACE_AFTER;
        let blocking = self.members.all().iter().find(blocks)?;
        let why = fenced::shuts_out(self.members.seen, &self.members.main.name)?;
        if *situation == Situation::Serving {
            let text = format!(
                "MAIN acknowledges no write, because {} does not follow it, and {why}",
                blocking.name
            );
            *situation = Situation::Stalled(Reason::FencedInstance, text);
        }
        None
    }

    /// Closes the route for what is to be done to registrations; MAIN stays.
    fn close(&mut self, why: String) -> Work {
        let before = self.members.ledger;
        let cause = why.clone();
        let mut next = Ledger {
            term: before.term + 1,
            main_address: String::new(),
            route: Route::Closed,
            candidates: self.waited_for(),
            operation: Some(Operation {
                kind: OperationKind::Repair,
                target: before.main.instance.clone(),
                from: Some(before.main.instance.clone()),
                started_at: String::new(),
                cause,
                lossy: false,
                reversed: false,
                election: None,
                proven: false,
            }),
            ..before.clone()
        };
        // What was laid out before is dropped, and what it has reserved with it.
        self.numbers = self.members.seen.numbers;
        self.numbers.ensure(&mut next);
        let fence = Step::Do(Action::Fence { term: next.term });
        let situation = Situation::Working(OperationKind::Repair, why);
        let steps = [Step::write(next), fence];
        Work::Close(Plan::with(self.members.seen, situation, steps))
    }

    /// Moves MAIN to another instance where that was asked for and can be done now.
    fn switch_over(&mut self) -> Option<Work> {
        let request = switchover::pending(self.members.seen, self.members.ledger)?;
        let (state, message) = match switchover::consider(&self.members, request) {
            Standing::Possible(target) => {
                let candidates = self.waited_for();
                let purpose = switchover::Purpose::Asked(request);
                let plan = switchover::begin(&self.members, &purpose, target, candidates);
                self.numbers = plan.numbers;
                return Some(Work::Close(plan));
            }
            // The report says so.
            Standing::Waiting(_) => return None,
            Standing::Refused(why) => (SwitchoverState::Refused, why),
            Standing::Done(why) => (SwitchoverState::Succeeded, why),
        };
        self.ledger.switchover = Some(switchover::record(request, state, message));
        Some(Work::Steps(Vec::new()))
    }

    /// Moves MAIN away from an instance that is fenced, to be removed, not to be elected any more, or whose pod is being deleted
    /// and serves for a moment more. Of the first it says why that cannot be done; the others wait for it.
    fn leave_unfit(&mut self, situation: &mut Situation) -> Option<Work> {
        let seen = self.members.seen;
        let main = &self.members.main.name;
        let ending = seen.electable(self.members.main);
        if seen.stays(self.members.main) || ending && !switchover::is_time_to_go(&self.members) {
            return None;
        }
        let fenced = seen.settings.is_fenced(main);
        let cause = if ending {
            format!("the pod of {main} is being deleted")
        } else if fenced {
            format!("{main} is fenced")
        } else {
            format!("{main} may not be MAIN any more")
        };
        // Where it ends in a moment, a change of MAIN comes with or without this one. Of a node that is cut off nobody ends it.
        let soon = ending && self.members.main.terminating_for < ENDS_WITHIN;
        let why = match switchover::away(&self.members, soon) {
            Ok(target) => {
                let purpose = switchover::Purpose::Unfit(&cause);
                let plan = switchover::begin(&self.members, &purpose, target, self.waited_for());
                self.numbers = plan.numbers;
                return Some(Work::Close(plan));
            }
            Err(why) => why,
        };
        // Of one that may not be MAIN any more the report says it.
        if !fenced {
            return None;
        }
        let text = format!(
            "{main} is fenced but goes on as MAIN: {why}. It moves as soon as another instance can take over"
        );
        *situation = Situation::Stalled(Reason::FencedInstance, text);
        None
    }

    /// Writes into the ledger who holds everything: a replica that was registered as sync and has caught up,
    /// or a member that has restarted and caught up.
    ///
    /// MAIN's word for it is confirmed by a commit that needs the replica's vote. While another sync replica is
    /// away no commit can succeed, and none can happen in between either: then MAIN's word is enough.
    fn admit(&mut self) -> Option<Work> {
        let set = &self.members.ledger.in_sync;
        let short = self.is_short();
        let new: Vec<_> = self
            .members
            .all()
            .iter()
            .filter_map(|registration| {
                let confirmed = self.members.confirmed(registration);
                let fenced = || self.members.confirmed_though_fenced(registration);
                Some((registration, confirmed.or_else(fenced)?))
            })
            .filter(|(_, member)| !self.members.ledger.in_sync.contains(member))
            .filter(|(_, member)| short || set.iter().any(|m| m.instance == member.instance))
            .collect();
        if new.is_empty() {
            return None;
        }
        let blocked = self.members.all().iter().any(|r| r.is_sync() && !r.follows());
        let names: Vec<_> = new
            .iter()
            .map(|(registration, _)| registration.name.clone())
            .collect();
        let mut next = self.ledger.clone();
        for (_, member) in new {
            next.in_sync.retain(|m| m.instance != member.instance);
            next.in_sync.push(member);
        }
        next.in_sync
            .sort_by_key(|m| self.members.seen.instance(&m.instance).map(|i| i.ordinal));
        let mut steps = Vec::new();
        if !blocked {
            steps.push(self.members.probe_commit());
        }
        steps.push(self.members.confirm(names));
        steps.push(Step::write(next));
        Some(Work::Steps(steps))
    }

    /// Takes a member out of the ledger that is not wanted any more, or that another has replaced; only while
    /// enough others are live, or where MAIN may go on alone. The write comes first; the registration goes afterwards ([`Self::remove`]), so
    /// that MAIN waits for a superset of what the ledger says.
    fn shrink(&mut self) -> Option<Work> {
        let seen = self.members.seen;
        let wanted = seen.settings.sync_replicas;
        let set = &self.ledger.in_sync;
        let leaves = set
            .iter()
            .filter(|m| {
                let others = set
                    .iter()
                    .filter(|o| o.instance != m.instance && self.members.is_live(o))
                    .count();
                let instance = seen.instance(&m.instance);
                let unfit = !instance.is_some_and(|i| seen.stays(i) && i.away_for < REPLACE_AFTER);
                others >= wanted && (unfit || set.len() > wanted) || self.is_given_up(m)
            })
            .max_by_key(|m| {
                let instance = seen.instance(&m.instance);
                let electable = instance.is_some_and(|i| seen.electable(i));
                (!self.members.is_live(m), !electable, instance.map(|i| i.ordinal))
            })?;
        let name = leaves.instance.clone();
        self.ledger.in_sync.retain(|m| m.instance != name);
        Some(Work::Steps(Vec::new()))
    }

    /// Replaces the pod of an instance that may not start where it is.
    fn replace_displaced(&self) -> Option<Work> {
        let step = addresses::replace_displaced(self.members.seen, &self.ledger)?;
        Some(Work::Steps(vec![step]))
    }

    /// Whether MAIN is to go on without this member, which blocks its writes.
    fn is_given_up(&self, member: &Member) -> bool {
        let registration = self.members.registration_by(member);
        registration.is_some_and(|r| self.blocks_too_long(r))
    }

    /// Whether a sync replica is away for so long that a MAIN which may go on alone does so.
    fn blocks_too_long(&self, registration: &Registration) -> bool {
        let settings = &self.members.seen.settings;
        settings.unprotected
            && registration.is_sync()
            && !registration.follows()
            && registration.unwell_for >= settings.detection_timeout
    }

    /// Whether this registration keeps MAIN from acknowledging a write that it alone holds: a member's, or the
    /// last sync one. It is never dropped while the route is open.
    fn guards(&self, registration: &Registration) -> bool {
        let required = self.members.seen.settings.required_members();
        let syncs = self.members.all().iter().filter(|r| r.is_sync()).count();
        self.members.is_relied_on(registration) || registration.is_sync() && syncs <= required
    }

    /// The members that MAIN has gone on waiting for: what was acknowledged without the others is missing there.
    fn waited_for(&self) -> Vec<Member> {
        let set = self.members.ledger.in_sync.iter();
        set.filter(|m| self.is_waited_for(m)).cloned().collect()
    }

    /// Whether MAIN waits for this member before it acknowledges a write.
    fn is_waited_for(&self, member: &Member) -> bool {
        let registration = self.members.registration_by(member);
        registration.is_some_and(|r| r.is_sync() && members::is_waited_for(r))
    }

    /// Whether fewer members are live than the spec asks for.
    fn is_short(&self) -> bool {
        self.members.live(&self.ledger.in_sync) < self.members.seen.settings.sync_replicas
    }

    /// Drops what should not be registered: removed instances, ghosts, replicas whose address or mode is wrong.
    /// Members are left alone: they leave the ledger first.
    fn remove(&mut self) -> Option<Work> {
        let mode = self.members.seen.settings.sync_mode();
        let short = self.is_short();
        let wrong = self.members.all().iter().filter(|r| !self.guards(r)).find(|r| {
            match self.members.instance_of(r) {
                None => true,
                Some(instance) => {
                    // One that is to become a member stays while it catches up.
                    let joining = r.mode == mode
                        && short
                        && self.members.seen.electable(instance)
                        && !self.blocks_too_long(r);
                    r.status.is_none() || members::is_stuck(r, instance) || r.is_sync() && !joining
                }
            }
        })?;
        let what = format!("MAIN could forget {}", wrong.name);
        let dropped = self.members.drop(wrong);
        self.close_if_starved(&what)
            .or_else(|| Some(Work::Steps(vec![dropped])))
    }

    /// Closes the route where clients' commits leave no moment for this: MAIN changes no registration while one is under way, and
    /// says so at once (`repl_state_.TryLock()` in `replication_handler/replication_handler.cpp`). Where they fail anyway, because MAIN waits
    /// for a replica that does not follow, that costs nothing. Where they do not, they are held for a moment, and only after a while.
    fn close_if_starved(&mut self, what: &str) -> Option<Work> {
        let busy_for = self.members.seen.busy_for;
        let blocked = self.members.all().iter().any(|r| r.is_sync() && !r.follows());
        if blocked && busy_for >= STARVED_AFTER {
            return Some(self.close(format!(
                "clients whose writes fail leave no moment in which {what}"
            )));
        }
        (!blocked && busy_for >= CROWDED_OUT_AFTER)
            .then(|| self.hold_clients(format!("clients leave no moment in which {what}")))
            .flatten()
    }

    /// Closes the route for a moment although writes succeed. Not where it could not be opened again, where it would be shut for as long
    /// as a grant or a slow commit lasts, or where clients come past the gateways.
    fn hold_clients(&mut self, why: String) -> Option<Work> {
        let (seen, ledger) = (self.members.seen, self.members.ledger);
        let reaches_past = seen.settings.direct || ledger.direct;
        if reaches_past
            || seen.misses_a_gateway
            || seen.commits_slowly
            || fenced::shuts_out(seen, &self.members.main.name).is_some()
        {
            return None;
        }
        let mut work = self.close(why);
        if let Work::Close(plan) = &mut work {
            plan.steps.insert(0, Step::Do(Action::ReachGateways));
        }
        Some(work)
    }

    /// Makes an ASYNC replica that follows closely a sync one, where one is missing, has been away for long, or is about to end.
    fn grow(&mut self) -> Option<Work> {
        let seen = self.members.seen;
        // MAIN's word decides, not what this operator can reach: MAIN is who waits for the replica.
        let reliable = |r: &&Registration| {
            r.is_sync()
                && (r.follows() || r.unwell_for < REPLACE_AFTER)
                && self.members.instance_of(r).is_some_and(|i| seen.stays(i))
        };
        if self.members.all().iter().filter(reliable).count() >= seen.settings.sync_replicas {
            return None;
        }
        let able: Vec<_> = self
            .members
            .others()
            .filter(|i| seen.stays(i) && i.is_replica() && i.carries(self.members.ledger))
            .filter_map(|i| Some((i, self.members.registration_of(i)?)))
            .filter(|(_, r)| r.mode == RegistrationMode::Async)
            .collect();
        let follows = |r: &Registration| r.follows() && r.behind >= -NEAR;
        let Some(&(instance, registration)) = able.iter().find(|(_, r)| follows(r)) else {
            return self.let_one_catch_up(&able);
        };
        let what = format!(
            "{} could take the place of the replica that is away",
            instance.name
        );
        if let Some(work) = self.close_if_starved(&what) {
            return Some(work);
        }
        let dropped = self.members.drop(registration);
        let registered = self.members.register(
            instance,
            seen.settings.sync_mode(),
            &mut self.numbers,
            &mut self.ledger,
        );
        Some(Work::Steps(vec![dropped, registered?]))
    }

    /// Holds clients for a moment, in which a replica that they outpace becomes a sync one. Registered as one while they write, it would
    /// fail their commits for that moment. Of a pod that ends nobody waits for the moment in which it follows by itself.
    fn let_one_catch_up(&mut self, able: &[(&Instance, &Registration)]) -> Option<Work> {
        let ends = |r: &&Registration| {
            let instance = self.members.instance_of(r);
            r.is_sync() && instance.is_some_and(|i| i.terminating && i.terminating_for >= ENDS_SOON)
        };
        let soon = self.members.all().iter().any(|r| ends(&r));
        let (instance, _) = able
            .iter()
            .find(|(_, r)| r.is_outpaced() || soon && r.advances())?;
        self.hold_clients(format!(
            "clients write faster than {} follows, which is to become a sync replica",
            instance.name
        ))
    }

    /// Sets aside what has branched off, or says that a human must decide about it.
    fn reset(&mut self, situation: &mut Situation) -> Option<Work> {
        if let Some(steps) = reset::next(&self.members, &mut self.ledger, &mut self.numbers) {
            return Some(Work::Steps(steps));
        }
        if *situation == Situation::Serving
            && let Some(text) = reset::awaits_a_word(&self.members)
        {
            *situation = Situation::Stalled(Reason::DivergedInstance, text);
        }
        None
    }

    /// Replaces the pod of a replica that hangs, or says what a human must do about one that does not start.
    fn revive(&mut self, situation: &mut Situation) -> Option<Work> {
        if let Some(step) = failing::replace_hanging(&self.members) {
            return Some(Work::Steps(vec![step]));
        }
        if *situation == Situation::Serving
            && let Some(complaint) = failing::complaint(self.members.seen, &self.ledger)
        {
            *situation = complaint;
        }
        None
    }

    /// A commit that a replica refuses which has missed the second phase of the one before, so that MAIN feeds it again. Without it the
    /// replica lacks what a client was told of until the next client commits, and a loss of MAIN alone would lose that. While another
    /// one does not follow, the commit would fail for that; and one that does not answer would have it wait.
    fn show_what_is_missing(&self) -> Option<Work> {
        let registrations = self.members.all();
        let blocked = registrations.iter().any(|r| r.is_sync() && !r.follows());
        let answers = |r: &&Registration| self.members.instance_of(r).is_some_and(|i| i.view().is_some());
        let lacks = registrations
            .iter()
            .filter(answers)
            .any(Registration::lacks_a_commit);
        // That is a commit, too, and the two would wait for each other.
        let is_tried = !self.members.seen.commit_for.is_zero();
        let main = self.members.main.name.clone();
        (lacks && !blocked && !is_tried).then(|| Work::Steps(vec![Step::Do(Action::ShowMissing { main })]))
    }

    /// Gives MAIN the password that the spec names now. Clients that are signed in stay.
    fn settle_users(&self) -> Option<Work> {
        let main = self.members.main.name.clone();
        (self.members.seen.access == Access::Controlled { settled: false })
            .then(|| Work::Steps(vec![Step::Do(Action::SettleUsers { main })]))
    }

    /// Every instance has followed MAIN since a human has said who it is: none of them can hold more.
    fn conclude_recovery(&mut self) -> Option<Work> {
        let follow = |i: &Instance| self.members.registration_of(i).is_some_and(Registration::in_sync);
        if !(self.ledger.recovered && self.members.others().all(follow)) {
            return None;
        }
        self.ledger.recovered = false;
        Some(Work::Steps(Vec::new()))
    }

    /// Replaces the next pod that was started with an earlier configuration.
    fn update(&mut self) -> Option<Work> {
        match update::next(&self.members) {
            update::Next::Replace(step) => Some(Work::Steps(vec![step])),
            update::Next::MoveMain(target) => {
                let cause = format!("the pod of {} is to be updated", self.members.main.name);
                let purpose = switchover::Purpose::Unfit(&cause);
                let plan = switchover::begin(&self.members, &purpose, target, self.waited_for());
                self.numbers = plan.numbers;
                Some(Work::Close(plan))
            }
            update::Next::Done | update::Next::Wait(..) => None,
        }
    }

    /// Whether a member's pod has come back at another address: its registration leads nowhere, and MAIN's writes fail for it,
    /// or will as soon as MAIN notices.
    fn has_moved(&self, instance: &Instance) -> bool {
        let seen = self.members.seen;
        let member = self.members.member(instance);
        let abandoned = member.and_then(|m| self.members.registration_by(m));
        abandoned.is_some_and(|r| r.is_sync() && self.members.instance_of(r).is_none())
            && seen.stays(instance)
            && instance.carries(self.members.ledger)
            && self.is_short()
    }

    /// Registers instances that MAIN does not find, at least not where they are now: as ASYNC, but for a member whose absence
    /// blocks MAIN. That one is registered as sync beside its own old registration, which blocks MAIN until the ledger names
    /// the new one.
    fn register_missing(&mut self) -> Option<Work> {
        let missing: Vec<&Instance> = self
            .members
            .others()
            .filter(|i| i.is_replica() && !i.refused && !i.unregistrable)
            .filter(|i| self.members.registration_of(i).is_none() && !self.members.is_barred(i))
            .filter(|i| reset::order(self.members.ledger, i).is_none())
            .collect();
        if let Some(instance) = missing.first().filter(|i| !self.has_moved(i)) {
            let what = format!("{} could be registered", instance.name);
            if let Some(work) = self.close_if_starved(&what) {
                return Some(work);
            }
        }
        let mut steps = Vec::new();
        for instance in missing {
            let mode = if self.has_moved(instance) {
                if self.members.seen.busy_for >= STARVED_AFTER {
                    let why = format!(
                        "clients whose writes fail leave no moment in which {} could be registered at its new address",
                        instance.name
                    );
                    return Some(self.close(why));
                }
                self.members.seen.settings.sync_mode()
            } else {
                RegistrationMode::Async
            };
            let registered = self
                .members
                .register(instance, mode, &mut self.numbers, &mut self.ledger);
            steps.extend(registered);
        }
        (!steps.is_empty()).then_some(Work::Steps(steps))
    }
}
