//! Copies that were in sync and that MAIN refuses.

use std::time::Duration;

use super::{
    super::{
        Plan, Situation, Step,
        observation::{DataStatus, Sight},
        plan,
    },
    decisions::running,
    world::World,
};
use crate::api::{
    conditions::Reason,
    ledger::{OperationKind, Route},
};

/// MAIN is killed, its volume is put back to an older state, and a member leads: it has restarted in the epoch before, so that it
/// takes whoever has come further than it had then for one that has branched off (`storage/v2/replication/replication_client.cpp`).
struct PutBack {
    world: World,
    older: usize,
}

impl PutBack {
    fn new(replicas: i32) -> Self {
        let mut world = World::new(replicas);
        world.settle();
        world.client_write();
        let older = world.servers[0].data.clone();
        world.client_write();
        world.servers[0].up = false;
        world.step(usize::MAX);
        assert_eq!(world.ledger.as_ref().unwrap().main.instance, "demo-1");
        world.servers[0].data.clone_from(&older);
        world.restart(0, true);
        Self {
            world,
            older: older.len(),
        }
    }

    fn main(&self) -> &str {
        &self.world.ledger.as_ref().unwrap().main.instance
    }

    fn step(&mut self) -> Plan {
        let mut seen = self.world.observe();
        let branched = self.world.servers[0].data.len() == self.older;
        seen.instances[0].refused |= branched && self.main() == "demo-1";
        let plan = plan(&seen);
        self.world.carry_out(&plan, usize::MAX);
        self.world.check();
        plan
    }

    fn until_main_is(&mut self, name: &str) {
        for _ in 0..10 {
            if self.main() == name {
                return;
            }
            self.step();
        }
        panic!("{}", self.world.tell());
    }
}

fn opens(plan: &Plan) -> bool {
    let open = |step: &Step| matches!(step, Step::Write(ledger) if ledger.route == Route::Open);
    plan.steps.iter().any(open)
}

#[test]
fn an_older_main_does_not_take_the_lead_for_good_from_a_member_in_its_life() {
    let mut put_back = PutBack::new(2);
    put_back.until_main_is("demo-0");
    assert!(!put_back.world.is_open());
    put_back.until_main_is("demo-1");
    let ledger = put_back.world.ledger.as_ref().unwrap();
    assert!(
        ledger.candidates.is_empty(),
        "what was shown to lack something is no candidate: {ledger:?}"
    );
    for _ in 0..40 {
        put_back.step();
    }
    assert_eq!(put_back.world.main(), Some(1), "{}", put_back.world.tell());
    assert_eq!(
        put_back.world.servers[0].data.len(),
        2,
        "it is filled anew, by nobody's word"
    );
}

#[test]
fn two_copies_that_have_restarted_and_refuse_each_other_are_left_to_a_human() {
    let mut put_back = PutBack::new(2);
    put_back.until_main_is("demo-0");
    put_back.world.restart(1, true);
    let plan = (0..10)
        .map(|_| put_back.step())
        .find(|plan| plan.steps.is_empty())
        .unwrap();
    assert!(
        matches!(&plan.situation, Situation::Stalled(Reason::DivergedInstance, text) if text.contains("demo-1")),
        "{plan:?}"
    );
    let ledger = put_back.world.ledger.as_ref().unwrap();
    assert!(ledger.resets.is_empty() && ledger.relies_on("demo-1"));
    put_back.world.servers[1].reset_asked = true;
    put_back.world.step(usize::MAX);
    let ledger = put_back.world.ledger.as_ref().unwrap();
    assert!(!ledger.relies_on("demo-1") && ledger.route == Route::Closed);
}

#[test]
fn no_third_copy_lets_an_older_main_go_on_without_the_member_that_stepped_aside_for_it() {
    let mut put_back = PutBack::new(3);
    // Nobody but the former MAIN can be registered.
    while put_back.main() == "demo-1" {
        let mut seen = put_back.world.observe();
        for index in [0, 2] {
            seen.instances[index].refused = true;
        }
        let plan = plan(&seen);
        put_back.world.carry_out(&plan, usize::MAX);
    }
    put_back.world.servers[1].up = false;
    let older = put_back.world.servers[0].data.clone();
    put_back.world.servers[2].data = older;
    let mut opened = None;
    for away in [1, 59, 60] {
        for _ in 0..5 {
            let mut seen = put_back.world.observe();
            seen.instances[1].away_for = Duration::from_secs(away);
            let plan = plan(&seen);
            if opens(&plan) {
                opened.get_or_insert(away);
                break;
            }
            put_back.world.carry_out(&plan, usize::MAX);
        }
    }
    assert_eq!(opened, Some(60), "{}", put_back.world.tell());
}

/// A human has to ask for another MAIN, so that the restarted one leads again.
#[test]
fn a_member_in_its_life_leads_instead_of_a_restarted_main_that_refuses_it() {
    for fenced in [false, true] {
        let mut world = running();
        world.settings.automatic_failover = false;
        let older = world.servers[0].data.clone();
        world.client_write();
        world.restart(0, true);
        // The third copy could follow the older MAIN.
        world.servers[0].data.clone_from(&older);
        world.servers[2].data = older;
        world.step(usize::MAX);
        let ledger = world.ledger.clone().unwrap();
        let kind = ledger.operation.map(|operation| operation.kind);
        assert_eq!(
            (kind, &*ledger.main.instance),
            (Some(OperationKind::Restart), "demo-0")
        );
        if !fenced {
            world.settle();
            assert_eq!(world.main(), Some(1), "{}", world.tell());
            continue;
        }
        world.settings.fenced = vec!["demo-1".into()];
        let stalled = (0..10).any(|_| {
            let mut seen = world.observe();
            // It was refused before it was fenced.
            seen.instances[1].refused = true;
            let plan = plan(&seen);
            assert!(!opens(&plan), "{plan:?}");
            world.carry_out(&plan, usize::MAX);
            matches!(plan.situation, Situation::Stalled(Reason::FencedInstance, _))
        });
        assert!(stalled, "{}", world.tell());
    }
}

/// The in-sync replica has restarted with data that has branched off, in its pod. MAIN lists it so, and does not look again.
#[test]
fn a_member_that_has_branched_off_is_replaced_and_filled_anew() {
    for replicas in [2, 3] {
        let mut world = World::new(replicas);
        world.settle();
        world.client_write();
        world.restart(1, true);
        let branch = vec![(99, 99)];
        world.servers[1].data.clone_from(&branch);
        for _ in 0..40 {
            let mut seen = world.observe();
            if let Sight::Serving(view) = &mut seen.instances[0].sight
                && world.servers[1].data == branch
            {
                let its = |name: &str| name.starts_with("pod_1_");
                for registration in view.registrations.iter_mut().filter(|r| its(&r.name)) {
                    registration.status = Some(DataStatus::Diverged);
                }
            }
            let plan = plan(&seen);
            world.carry_out(&plan, usize::MAX);
            world.check();
        }
        assert_eq!(world.main(), Some(0), "{}", world.tell());
        assert_eq!(world.servers[1].data, world.servers[0].data, "{}", world.tell());
    }
}
