//! Holder and issuer message by message, and both together in a world of delays, losses and closings.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

mod failsafe;
mod pausing;

use proptest::prelude::*;

use super::*;
use crate::api::{
    DurationString,
    ledger::{DataCopy, GatewayEntry, Incarnation, Ledger, Route},
};

const CLUSTER: &str = "cluster-uid";
const POD: &str = "gateway-uid";

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn listed(uids: &[&str]) -> Vec<GatewayEntry> {
    let entry = |uid: &&str| GatewayEntry {
        pod_uid: (*uid).to_owned(),
        leaving: false,
    };
    uids.iter().map(entry).collect()
}

/// Open in term 7 with MAIN demo-0, for grants of 4 s.
fn ledger() -> Ledger {
    Ledger {
        term: 7,
        route: Route::Open,
        main: DataCopy {
            instance: "demo-0".into(),
            incarnation: Incarnation {
                container_id: "first".into(),
                ..Incarnation::default()
            },
        },
        main_address: "10.0.0.10".into(),
        gateways: listed(&[POD]),
        grant_ttl: Some(DurationString::from_millis(4_000)),
        ..Ledger::default()
    }
}

fn closed(term: i64) -> Position {
    Position {
        term,
        route: Route::Closed,
        main: "demo-1".into(),
        pause: false,
    }
}

fn holder() -> Holder {
    Holder::new(POD.into(), 1)
}

fn response(holder: &mut Holder, now: Duration) -> Response {
    Response {
        version: VERSION,
        pod_uid: holder.pod_uid().to_owned(),
        nonce: holder.nonce(now),
        report: Report {
            held: holder.held(now),
            ..Report::default()
        },
        refusal: None,
    }
}

fn issuing(ledger: &Ledger) -> Issuing<'_> {
    Issuing {
        cluster: CLUSTER,
        ledger,
        leads: true,
        pod_uid: POD,
        main_serves: false,
        failsafe: None,
    }
}

/// A grant that answers a nonce sent now.
fn granted(holder: &mut Holder, ledger: &Ledger, now: Duration) -> Grant {
    issue(issuing(ledger), &response(holder, now)).unwrap()
}

fn holding(now: Duration) -> Holder {
    let mut holder = holder();
    let grant = granted(&mut holder, &ledger(), now);
    holder.accept(&grant, now).unwrap();
    holder
}

#[test]
fn a_gateway_that_was_granted_nothing_passes_nothing() {
    let mut holder = holder();
    assert_eq!(holder.permit(secs(0)), None);
    let open = Position::of(&ledger());
    holder.learn(CLUSTER, &open, secs(0));
    assert_eq!(
        holder.permit(secs(0)),
        None,
        "to know where MAIN is gives no right"
    );
    assert_eq!(
        holder.confirm(CLUSTER, &ledger(), secs(0), secs(0)),
        Err(Unrenewed::Nothing)
    );
}

#[test]
fn a_grant_counts_from_when_its_nonce_was_sent_and_ends_at_that_very_moment() {
    let mut holder = holder();
    let grant = granted(&mut holder, &ledger(), secs(100));
    holder.accept(&grant, secs(103)).unwrap();
    let permit = holder.permit(secs(103)).unwrap();
    assert_eq!((permit.term, permit.until), (7, secs(104)));
    assert_eq!(
        (permit.main.instance.as_str(), permit.address.as_str()),
        ("demo-0", "10.0.0.10")
    );
    assert!(holder.permit(secs(104) - Duration::from_nanos(1)).is_some());
    assert_eq!(holder.permit(secs(104)), None);
    assert_eq!(holder.held(secs(104)).unwrap().remaining_millis, 0);
}

#[test]
fn a_grant_that_comes_late_or_again_is_worth_no_more() {
    let mut holder = holder();
    let grant = granted(&mut holder, &ledger(), secs(100));
    assert_eq!(holder.accept(&grant, secs(104)), Err(Refusal::Late));
    holder.accept(&grant, secs(101)).unwrap();
    holder.accept(&grant, secs(103)).unwrap();
    assert_eq!(holder.permit(secs(103)).unwrap().until, secs(104));
    // An older one than the one that is held does not shorten it.
    let newer = granted(&mut holder, &ledger(), secs(103));
    holder.accept(&newer, secs(103)).unwrap();
    holder.accept(&grant, secs(103)).unwrap();
    assert_eq!(holder.permit(secs(103)).unwrap().until, secs(107));
}

#[test]
fn a_gateway_that_was_frozen_finds_its_grant_over() {
    let holder = holding(secs(100));
    assert_eq!(holder.permit(secs(160)), None);
}

#[test]
fn a_nonce_that_this_process_did_not_send_lately_is_refused() {
    let mut before = Holder::new(POD.into(), 1);
    let grant = granted(&mut before, &ledger(), secs(100));
    let mut restarted = Holder::new(POD.into(), 2);
    assert_eq!(restarted.accept(&grant, secs(101)), Err(Refusal::UnknownNonce));
    for _ in 0..16 {
        before.nonce(secs(101));
    }
    assert_eq!(before.accept(&grant, secs(101)), Err(Refusal::UnknownNonce));
}

/// MAIN gives the second phase of a commit up after 5 s, and what it says then must not be passed on, whatever an older operator grants.
#[test]
fn a_grant_that_is_longer_than_any_may_be_is_worth_the_longest() {
    let mut holder = holder();
    let long = Grant {
        ttl_millis: 12_000,
        ..granted(&mut holder, &ledger(), secs(100))
    };
    holder.accept(&long, secs(100)).unwrap();
    let end = secs(100) + LONGEST_TTL;
    assert!(LONGEST_TTL < secs(5));
    assert!(holder.permit(end - Duration::from_nanos(1)).is_some());
    assert!(holder.permit(end).is_none());
}

/// A gateway of a release that took longer ones would go by all of it.
#[test]
fn no_grant_is_longer_than_any_may_be() {
    let mut holder = holder();
    let long = Ledger {
        grant_ttl: Some(DurationString::from_millis(12_000)),
        ..ledger()
    };
    let granted = granted(&mut holder, &long, secs(100));
    assert_eq!(u128::from(granted.ttl_millis), LONGEST_TTL.as_millis());
}

#[test]
fn a_grant_for_somebody_else_is_refused() {
    let mut holder = holder();
    let grant = granted(&mut holder, &ledger(), secs(100));
    let other = Grant {
        pod_uid: "other".into(),
        ..grant.clone()
    };
    assert_eq!(holder.accept(&other, secs(100)), Err(Refusal::OtherGateway));
    holder.follow("another-cluster");
    assert_eq!(holder.accept(&grant, secs(100)), Err(Refusal::OtherCluster));
    holder.follow(CLUSTER);
    holder.accept(&grant, secs(100)).unwrap();
    let moved = Grant {
        address: "10.0.0.11".into(),
        ..grant
    };
    assert_eq!(holder.accept(&moved, secs(100)), Err(Refusal::OtherMain));
}

#[test]
fn what_is_known_of_a_later_term_ends_a_grant_and_keeps_older_ones_out() {
    let mut holder = holding(secs(100));
    let late = granted(&mut holder, &ledger(), secs(101));
    assert!(holder.learn(CLUSTER, &closed(8), secs(101)));
    assert_eq!(holder.permit(secs(101)), None);
    assert_eq!(holder.accept(&late, secs(101)), Err(Refusal::OldTerm));
    assert!(
        !holder.learn(CLUSTER, &Position::of(&ledger()), secs(101)),
        "the older position tells nothing"
    );
    assert_eq!(holder.position(), Some(&closed(8)));
}

#[test]
fn a_late_report_of_the_closing_does_not_end_the_term_that_has_opened_since() {
    let mut holder = holder();
    let opened = Ledger { term: 8, ..ledger() };
    let grant = granted(&mut holder, &opened, secs(100));
    holder.accept(&grant, secs(100)).unwrap();
    assert!(!holder.learn(CLUSTER, &closed(8), secs(101)));
    assert!(holder.permit(secs(101)).is_some());
}

#[test]
fn another_cluster_under_the_same_name_ends_everything() {
    let mut holder = holding(secs(100));
    assert!(!holder.learn("another-cluster", &closed(9), secs(101)));
    assert!(
        holder.permit(secs(101)).is_some(),
        "a message about another cluster changes nothing"
    );
    holder.follow("another-cluster");
    assert_eq!(holder.permit(secs(101)), None);
    assert_eq!(holder.position(), None);
}

#[test]
fn a_gateway_that_ends_takes_nothing_any_more_and_stays_for_one_more_grants_time() {
    let mut holder = holding(secs(100));
    let next = granted(&mut holder, &ledger(), secs(101));
    assert_eq!(holder.retire(secs(101)), secs(105));
    assert_eq!(holder.permit(secs(101)), None);
    assert_eq!(holder.due(secs(101)), None);
    assert_eq!(holder.accept(&next, secs(101)), Err(Refusal::Retired));
    assert_eq!(
        holder.confirm(CLUSTER, &ledger(), secs(101), secs(101)),
        Err(Unrenewed::Nothing)
    );
    // It follows the ledger as ever.
    assert!(holder.learn(CLUSTER, &closed(8), secs(102)));
}

#[test]
fn a_gateway_stays_after_a_closing_as_well_while_its_last_grant_could_have_held() {
    let closed_at = |now| {
        let mut holder = holding(secs(100));
        holder.learn(CLUSTER, &closed(8), secs(101));
        holder.learn(CLUSTER, &closed(9), secs(102));
        holder.retire(now)
    };
    assert_eq!(closed_at(secs(103)), secs(107));
    assert_eq!(closed_at(secs(104)), secs(104));
    assert_eq!(holding(secs(100)).retire(secs(104)), secs(104), "it has run out");

    let forgotten = |end: fn(&mut Holder)| {
        let mut holder = holding(secs(100));
        holder.learn(CLUSTER, &closed(8), secs(101));
        end(&mut holder);
        holder.retire(secs(102))
    };
    assert_eq!(forgotten(Holder::let_go), secs(102), "its cluster is gone");
    assert_eq!(forgotten(|holder| holder.follow("another")), secs(102));
    assert_eq!(holder().retire(secs(1)), secs(1), "it never had one");
}

#[test]
fn the_ledger_itself_renews_a_grant_from_when_it_was_asked_for() {
    let mut holder = holding(secs(100));
    holder.confirm(CLUSTER, &ledger(), secs(103), secs(103)).unwrap();
    assert_eq!(holder.permit(secs(103)).unwrap().until, secs(107));
    // An answer that comes late counts from when it was asked for all the same, and never shortens.
    holder.confirm(CLUSTER, &ledger(), secs(102), secs(102)).unwrap();
    assert_eq!(holder.permit(secs(103)).unwrap().until, secs(107));
}

#[test]
fn a_ledger_that_was_asked_for_too_late_renews_nothing() {
    let mut holder = holding(secs(100));
    assert_eq!(
        holder.confirm(CLUSTER, &ledger(), secs(105), secs(105)),
        Err(Unrenewed::Nothing)
    );
}

#[test]
fn a_ledger_that_says_something_else_renews_nothing() {
    let restarted = |mut ledger: Ledger| {
        ledger.main.incarnation.container_id = "second".into();
        ledger
    };
    let cases = [
        (restarted(ledger()), Unrenewed::Changed),
        (
            Ledger {
                main_address: "10.0.0.11".into(),
                ..ledger()
            },
            Unrenewed::Changed,
        ),
        (
            Ledger {
                gateways: listed(&["other"]),
                ..ledger()
            },
            Unrenewed::Unlisted,
        ),
        (
            Ledger {
                gateways: vec![GatewayEntry {
                    pod_uid: POD.into(),
                    leaving: true,
                }],
                ..ledger()
            },
            Unrenewed::Unlisted,
        ),
        // The term is over, so that nothing is held any more.
        (Ledger { term: 8, ..ledger() }, Unrenewed::Nothing),
        (
            Ledger {
                term: 8,
                route: Route::Closed,
                ..ledger()
            },
            Unrenewed::Nothing,
        ),
        // A reply from before the term that is held.
        (Ledger { term: 6, ..ledger() }, Unrenewed::Changed),
    ];
    for (ledger, expected) in cases {
        let mut holder = holding(secs(100));
        assert_eq!(
            holder.confirm(CLUSTER, &ledger, secs(101), secs(101)),
            Err(expected),
            "{ledger:?}"
        );
    }
    let mut holder = holding(secs(100));
    assert_eq!(
        holder.confirm("another-cluster", &ledger(), secs(101), secs(101)),
        Err(Unrenewed::Changed)
    );
}

#[test]
fn a_tainted_grant_is_renewed_only_by_a_leader_that_knows_and_has_looked() {
    let mut holder = holding(secs(100));
    let unknowing = granted(&mut holder, &ledger(), secs(101));
    holder.taint(6, secs(102));
    assert!(!holder.held(secs(102)).unwrap().tainted, "another term's MAIN");
    holder.taint(7, secs(102));
    assert!(holder.permit(secs(102)).is_some(), "it lasts until it runs out");
    assert_eq!(
        holder.confirm(CLUSTER, &ledger(), secs(103), secs(103)),
        Err(Unrenewed::Tainted)
    );
    assert_eq!(holder.due(secs(103)), None);
    // Its nonce is from before.
    holder.accept(&unknowing, secs(103)).unwrap();
    assert_eq!(
        holder.confirm(CLUSTER, &ledger(), secs(103), secs(103)),
        Err(Unrenewed::Tainted)
    );

    let told = response(&mut holder, secs(104));
    let ledger = ledger();
    assert_eq!(issue(issuing(&ledger), &told), Err(Withheld::Tainted));
    let looked = Issuing {
        main_serves: true,
        ..issuing(&ledger)
    };
    holder.accept(&issue(looked, &told).unwrap(), secs(104)).unwrap();
    holder.confirm(CLUSTER, &ledger, secs(105), secs(105)).unwrap();
}

#[test]
fn the_ledger_is_asked_before_a_third_of_the_time_is_left_and_not_by_all_at_once() {
    let mut moments = BTreeSet::new();
    for seed in 0..100 {
        let mut holder = Holder::new(POD.into(), seed);
        let grant = granted(&mut holder, &ledger(), secs(100));
        holder.accept(&grant, secs(100)).unwrap();
        let due = holder.due(secs(101)).unwrap();
        assert!(
            due >= Duration::from_millis(102_000) && due <= Duration::from_millis(102_667),
            "{due:?}"
        );
        moments.insert(due);
        assert_eq!(holder.due(secs(105)), None);
    }
    assert!(moments.len() > 90);
}

#[test]
fn no_grant_without_leadership_an_open_route_a_place_in_the_ledger_and_a_length() {
    let told = response(&mut holder(), secs(100));
    let refused = |ledger: Ledger, expected| assert_eq!(issue(issuing(&ledger), &told), Err(expected));
    refused(
        Ledger {
            route: Route::Closed,
            ..ledger()
        },
        Withheld::Closed,
    );
    refused(
        Ledger {
            gateways: listed(&["other"]),
            ..ledger()
        },
        Withheld::Unlisted,
    );
    refused(
        Ledger {
            grant_ttl: None,
            ..ledger()
        },
        Withheld::NoTtl,
    );
    let ledger = ledger();
    let deposed = Issuing {
        leads: false,
        ..issuing(&ledger)
    };
    assert_eq!(issue(deposed, &told), Err(Withheld::NotLeading));
    let other = Issuing {
        pod_uid: "other",
        ..issuing(&ledger)
    };
    assert_eq!(issue(other, &told), Err(Withheld::OtherGateway));
    let newer = Response { version: 2, ..told };
    assert_eq!(issue(issuing(&ledger), &newer), Err(Withheld::Version));
}

#[test]
fn a_fence_stands_when_all_have_confirmed_or_the_silent_ones_have_nothing_left() {
    let holders = listed(&["a", "b"]);
    let confirmed = |uids: &[&str]| uids.iter().map(|uid| (*uid).to_owned()).collect::<BTreeSet<_>>();
    let ttl = Some(secs(5));
    assert_eq!(
        stands(&holders, &confirmed(&["a", "b"]), ttl, secs(0)),
        Fenced::Yes
    );
    let waiting = Fenced::Waiting {
        silent: vec!["b".into()],
        remaining: Duration::from_millis(50),
    };
    assert_eq!(stands(&holders, &confirmed(&["a"]), ttl, secs(5)), waiting);
    assert_eq!(
        stands(&holders, &confirmed(&["a"]), ttl, Duration::from_millis(5_050)),
        Fenced::Yes
    );
    assert_eq!(
        stands(&holders, &confirmed(&[]), None, secs(0)),
        Fenced::Yes,
        "nobody ever held a grant"
    );
    assert_eq!(stands(&[], &confirmed(&[]), ttl, secs(0)), Fenced::Yes);
}

#[test]
fn a_gateway_is_named_once_it_answers_and_forgotten_when_it_can_hold_nothing_any_more() {
    let ttl = Some(secs(5));
    let set = |uids: &[&str]| uids.iter().map(|uid| (*uid).to_owned()).collect::<BTreeSet<_>>();
    let mut pods = Pods {
        present: set(&["a", "b"]),
        met: set(&["a"]),
        leaving_for: BTreeMap::new(),
    };
    let named = roster(&[], &pods, ttl).unwrap();
    assert_eq!(named, listed(&["a"]));
    assert_eq!(roster(&named, &pods, ttl), None);

    pods = Pods {
        present: set(&["b"]),
        met: set(&["b"]),
        leaving_for: BTreeMap::new(),
    };
    let leaving = roster(&named, &pods, ttl).unwrap();
    let gone = GatewayEntry {
        pod_uid: "a".into(),
        leaving: true,
    };
    assert_eq!(leaving, [vec![gone], listed(&["b"])].concat());
    // A new leader does not know since when.
    assert_eq!(roster(&leaving, &pods, ttl), None);
    pods.leaving_for.insert("a".into(), secs(5));
    assert_eq!(roster(&leaving, &pods, ttl), None);
    pods.leaving_for.insert("a".into(), Duration::from_millis(5_050));
    assert_eq!(roster(&leaving, &pods, ttl), Some(listed(&["b"])));
}

#[test]
fn a_pod_that_is_back_in_the_cache_stays_leaving() {
    let set: BTreeSet<_> = ["a".to_owned()].into();
    let pods = Pods {
        present: set.clone(),
        met: set,
        leaving_for: BTreeMap::new(),
    };
    let leaving = [GatewayEntry {
        pod_uid: "a".into(),
        leaving: true,
    }];
    assert_eq!(roster(&leaving, &pods, Some(secs(5))), None);
}

#[test]
fn messages_are_small_and_survive_the_wire() {
    let mut holder = holding(secs(100));
    let response = response(&mut holder, secs(101));
    let text = serde_json::to_string(&response).unwrap();
    assert!(text.len() < 1_000, "{text}");
    assert_eq!(serde_json::from_str::<Response>(&text).unwrap(), response);
    let request = Request {
        version: VERSION,
        cluster: CLUSTER.into(),
        position: Some(Position::of(&ledger())),
        grant: Some(granted(&mut holder, &ledger(), secs(101))),
        voucher: None,
    };
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
}

/// What may happen next in the small world.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Time passes, in tenths of a second.
    Pass(u8),
    /// The gateway answers an exchange; the response is under way to this leader.
    Answer { leader: usize },
    /// A leader looks at what it has received, checks that it leads, and sends a grant.
    Grant { leader: usize },
    /// The oldest grant under way arrives, and may stay under way for another time.
    Deliver { again: bool },
    /// The grants under way are lost.
    Lose,
    /// The gateway asks the API server for the ledger.
    Ask,
    /// The answer to the oldest question arrives.
    Read,
    /// The leader closes the route, if it leads and can; for another MAIN, or for a pause.
    Close { tell: bool, pause: bool },
    /// The leader goes on, if the fence stands.
    Open,
    /// Leadership changes. The other one knows nothing but the ledger, and the old one starts over.
    Depose,
    /// MAIN resets a connection.
    Taint,
    /// A process that does not lead looks at what it has received, and vouches for it.
    Vouch { process: usize },
    /// The oldest word under way arrives.
    Hear,
    /// The replicas take connections, and MAIN completes a handshake.
    Attest,
}

fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    prop_oneof![
        4 => (0_u8..30).prop_map(Pass),
        4 => (0_usize..2).prop_map(|leader| Answer { leader }),
        4 => (0_usize..2).prop_map(|leader| Grant { leader }),
        4 => any::<bool>().prop_map(|again| Deliver { again }),
        1 => Just(Lose),
        2 => Just(Ask),
        2 => Just(Read),
        2 => any::<(bool, bool)>().prop_map(|(tell, pause)| Close { tell, pause }),
        3 => Just(Open),
        1 => Just(Depose),
        1 => Just(Taint),
        4 => (0_usize..2).prop_map(|process| Vouch { process }),
        4 => Just(Hear),
        4 => Just(Attest),
    ]
}

/// One gateway, two leaders of which one leads, and the ledger.
struct World {
    now: Duration,
    gateway: Holder,
    ledger: Ledger,
    leading: usize,
    /// By leader: the ledger as it knows it, and the responses that it has received.
    leaders: [(Ledger, Vec<Response>); 2],
    under_way: Vec<Grant>,
    reads: Vec<(Duration, Ledger)>,
    vouchers: Vec<Voucher>,
    /// Since when the leader knows the route to be closed, and whether the gateway has confirmed to it.
    closed: Option<(Duration, bool)>,
    /// The terms whose MAIN may not have a client any more, because a later one was opened.
    oldest_open: i64,
    /// The first term of the present MAIN.
    main_since: i64,
}

impl World {
    fn new() -> Self {
        let ledger = ledger();
        Self {
            now: secs(100),
            gateway: holder(),
            leaders: [(ledger.clone(), Vec::new()), (ledger.clone(), Vec::new())],
            oldest_open: ledger.term,
            main_since: ledger.term,
            ledger,
            leading: 0,
            under_way: Vec::new(),
            reads: Vec::new(),
            vouchers: Vec::new(),
            closed: None,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Pass(tenths) => self.now += Duration::from_millis(100 * u64::from(tenths)),
            Event::Answer { leader } => {
                let response = response(&mut self.gateway, self.now);
                self.leaders[leader].1.push(response);
            }
            Event::Grant { leader } => {
                let (known, responses) = &mut self.leaders[leader];
                if let Some(response) = responses.pop() {
                    let issuing = Issuing {
                        leads: leader == self.leading,
                        main_serves: true,
                        failsafe: Some(failsafe::named_by(leader)),
                        ..issuing(known)
                    };
                    self.under_way.extend(issue(issuing, &response));
                }
            }
            Event::Deliver { again } => {
                if let Some(grant) = self.under_way.first().cloned() {
                    let _ = self.gateway.accept(&grant, self.now);
                    if !again {
                        self.under_way.remove(0);
                    }
                }
            }
            Event::Lose => self.under_way.clear(),
            Event::Ask => self.reads.push((self.now, self.ledger.clone())),
            Event::Read => {
                if !self.reads.is_empty() {
                    let (sent, ledger) = self.reads.remove(0);
                    let _ = self.gateway.confirm(CLUSTER, &ledger, sent, self.now);
                }
            }
            Event::Close { tell, pause } => {
                if self.ledger.route == Route::Open {
                    self.ledger.term += 1;
                    self.ledger.route = Route::Closed;
                    self.ledger.operation = pause.then(pausing::repair);
                    self.leaders[self.leading].0 = self.ledger.clone();
                    self.closed = Some((self.now, false));
                }
                if tell && let Some((_, confirmed)) = &mut self.closed {
                    self.gateway.learn(CLUSTER, &Position::of(&self.ledger), self.now);
                    *confirmed = true;
                }
            }
            Event::Open => {
                if let Some((since, confirmed)) = self.closed {
                    let confirmed = if confirmed {
                        BTreeSet::from([POD.to_owned()])
                    } else {
                        BTreeSet::new()
                    };
                    let ttl = self.ledger.grant_ttl.map(|ttl| ttl.0);
                    if stands(&self.ledger.gateways, &confirmed, ttl, self.now - since) == Fenced::Yes {
                        // From here on another MAIN may write.
                        self.oldest_open = self.ledger.term;
                        self.ledger.route = Route::Open;
                        if self.ledger.operation.take().is_none() {
                            self.ledger.main.instance = format!("demo-{}", self.ledger.term);
                            self.main_since = self.ledger.term;
                        }
                        self.leaders[self.leading].0 = self.ledger.clone();
                        self.closed = None;
                    }
                }
            }
            Event::Depose => {
                self.leading = 1 - self.leading;
                // It reads the ledger before it does anything, and knows nothing of confirmations.
                self.leaders[self.leading].0 = self.ledger.clone();
                self.closed = self.closed.map(|_| (self.now, false));
            }
            Event::Taint => self.gateway.taint(self.ledger.term, self.now),
            Event::Vouch { process } => {
                if process != self.leading
                    && let Some(response) = self.leaders[process].1.pop()
                {
                    self.vouchers.push(failsafe::voucher(process, response.nonce));
                }
            }
            Event::Hear => {
                if !self.vouchers.is_empty() {
                    let voucher = self.vouchers.remove(0);
                    self.gateway.vouched(CLUSTER, &voucher, self.now);
                }
            }
            Event::Attest => {
                let term = self.gateway.position().map_or(0, |position| position.term);
                self.gateway.attested(term, self.now, self.now);
                self.gateway.heard(term, self.now);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is lost, late or repeated: once another MAIN may write, no gateway passes anything to an older one.
    #[test]
    fn nobody_leads_to_an_older_main_once_another_may_write(events in proptest::collection::vec(event(), 1..120)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
            if let Some(permit) = world.gateway.permit(world.now) {
                prop_assert!(permit.term >= world.oldest_open, "{permit:?} at {:?}", world.now);
                prop_assert!(permit.since >= world.main_since, "{permit:?} at {:?}", world.now);
                prop_assert_eq!(world.gateway.pause(world.now), None);
            }
        }
    }
}
