//! The gateway's side: what it holds, and for how long.

use std::{cmp::Ordering, collections::VecDeque, time::Duration};

use fastrand::Rng;

use super::{
    LONGEST_PAUSE, LONGEST_TTL,
    evidence::Evidence,
    message::{Grant, Held, MemberPort, Position, Voucher},
};
use crate::api::ledger::{DataCopy, Ledger, Member, Route};

/// By which part of its time a grant must be renewed at the latest, so that two more tries are possible.
const LATEST: f64 = 2.0 / 3.0;
/// By up to which part it is renewed earlier.
const EARLY: f64 = 1.0 / 6.0;

/// After which part of its time without a renewal it is looked whether it can be extended.
const LATE: f64 = 0.5;

/// So many nonces are remembered: more than an operator that answers has under way.
const NONCES: usize = 16;

/// What a gateway holds. All times are of one clock of the gateway's, which does not stop while the machine sleeps.
#[derive(Debug)]
pub struct Holder {
    pod_uid: String,
    dice: Rng,
    cluster: Option<String>,
    position: Option<Position>,
    grant: Option<HeldGrant>,
    pause: Option<Pause>,
    /// The last grant that is over because the ledger has gone on.
    over: Option<HeldGrant>,
    /// It takes no grant any more.
    retired: bool,
    nonces: VecDeque<(u64, Duration)>,
}

#[derive(Clone, Debug, PartialEq)]
struct HeldGrant {
    term: i64,
    /// The first term of this MAIN whose sessions go on under it: there were only pauses since.
    since: i64,
    main: DataCopy,
    address: String,
    ttl: Duration,
    /// The moment from which the time counts.
    from: Duration,
    /// Until when it was extended without a leader or the API server.
    extended: Duration,
    /// What would extend it further; none: nothing does.
    evidence: Option<Evidence>,
    /// When MAIN has refused or reset a connection since.
    tainted: Option<Duration>,
    /// By which part of its time it is renewed earlier than it must be.
    early: f64,
}

impl HeldGrant {
    /// Until when it holds by a leader's or the API server's word.
    fn renewed_until(&self) -> Duration {
        self.from.saturating_add(self.ttl)
    }

    fn until(&self) -> Duration {
        self.renewed_until().max(self.extended)
    }

    /// Extends it by what is known. One that has ended stays so: what has come too late may tell of a time after which
    /// nobody waits any more.
    fn extend(&mut self, now: Duration) {
        if now >= self.until() || self.tainted.is_some() {
            return;
        }
        let weakest = self.evidence.as_ref().and_then(Evidence::weakest);
        if let Some(from) = weakest {
            self.extended = self.extended.max(from.saturating_add(self.ttl));
        }
    }
}

/// Leave to pass bytes between clients and MAIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The term.
    pub term: i64,
    /// The first term of this MAIN whose sessions may go on: there were only pauses since.
    pub since: i64,
    /// MAIN.
    pub main: DataCopy,
    /// Where MAIN is, as the ledger has it.
    pub address: String,
    /// When it ends. Nothing may be passed at this moment any more.
    pub until: Duration,
    /// From then on, what MAIN has said may be passed only once all in-sync replicas have taken a connection for
    /// replication that was begun later than it came.
    pub free_until: Duration,
}

/// The right to let sessions with MAIN be, as long as none of their bytes moves: the route is closed, but MAIN stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The term in which the route is closed.
    pub term: i64,
    /// The first term of this MAIN whose sessions it is about.
    pub since: i64,
    /// MAIN of these terms.
    pub main: DataCopy,
    /// Where it is, as the ledger had it.
    pub address: String,
    /// When it ends. The sessions must be cut then.
    pub until: Duration,
}

impl Pause {
    /// What follows for sessions under a grant that is over, from how far the ledger has come by now.
    ///
    /// The grant still held: so up to now nobody else may have become MAIN, and the closing is the first one since.
    fn of(over: HeldGrant, position: &Position, now: Duration) -> Option<Self> {
        let stays = position.pause
            && position.route == Route::Closed
            && position.term == over.term + 1
            && position.main == over.main.instance;
        (stays && over.tainted.is_none() && now < over.until()).then(|| Self {
            term: position.term,
            since: over.since,
            until: over.until().min(now.saturating_add(LONGEST_PAUSE)),
            main: over.main,
            address: over.address,
        })
    }

    /// Whether this grant lets the sessions go on.
    fn is_ended_by(&self, grant: &Grant, now: Duration) -> bool {
        let same = self.main == grant.main && self.address == grant.address;
        self.term == grant.term && same && now < self.until
    }
}

/// Why a grant was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is about another cluster.
    #[error("it is for another cluster")]
    OtherCluster,
    /// It is for another pod.
    #[error("it is for another gateway")]
    OtherGateway,
    /// It answers nothing that this gateway has sent lately.
    #[error("it answers no nonce of this process")]
    UnknownNonce,
    /// It has run out already.
    #[error("it came too late")]
    Late,
    /// A later state of the ledger is known.
    #[error("its term is over")]
    OldTerm,
    /// It contradicts one of the same term.
    #[error("it names another MAIN than an earlier one of the same term")]
    OtherMain,
    /// It ends.
    #[error("this gateway ends, and takes no grant any more")]
    Retired,
}

/// Why reading the ledger did not renew a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrenewed {
    /// There is none, or it had run out when the ledger was asked for.
    #[error("no grant is held")]
    Nothing,
    /// MAIN may not be the one that it was.
    #[error("MAIN has refused or reset a connection, so that only an operator can renew it")]
    Tainted,
    /// The ledger says something else.
    #[error("the ledger does not name this MAIN with an open route any more")]
    Changed,
    /// Nobody would wait for this gateway.
    #[error("the ledger does not name this gateway")]
    Unlisted,
}

impl Holder {
    /// One that holds nothing. `seed` must differ from process to process.
    #[must_use]
    pub fn new(pod_uid: String, seed: u64) -> Self {
        Self {
            pod_uid,
            dice: Rng::with_seed(seed),
            cluster: None,
            position: None,
            grant: None,
            pause: None,
            over: None,
            retired: false,
            nonces: VecDeque::with_capacity(NONCES),
        }
    }

    /// UID of this gateway's pod.
    #[must_use]
    pub fn pod_uid(&self) -> &str {
        &self.pod_uid
    }

    /// UID of the cluster, once it was seen.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// How far the ledger has come, as far as is known.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// A number to be answered, which is sent right now.
    pub fn nonce(&mut self, now: Duration) -> u64 {
        if self.nonces.len() == NONCES {
            self.nonces.pop_front();
        }
        let nonce = self.dice.u64(..);
        self.nonces.push_back((nonce, now));
        nonce
    }

    /// The API server has shown a cluster of this UID under the gateway's name: what belonged to another one is over.
    pub fn follow(&mut self, cluster: &str) {
        if self.cluster.as_deref() != Some(cluster) {
            self.cluster = Some(cluster.to_owned());
            self.position = None;
            self.grant = None;
            self.pause = None;
            self.over = None;
        }
    }

    /// The ledger of this cluster has come at least so far. Says whether that was new. Of another cluster than the one that
    /// is followed nothing is learnt.
    pub fn learn(&mut self, cluster: &str, position: &Position, now: Duration) -> bool {
        if self.cluster.is_none() {
            self.follow(cluster);
        }
        if self.cluster.as_deref() != Some(cluster) {
            return false;
        }
        let known = self.position.as_ref();
        if known.is_some_and(|known| position.compare(known) != Ordering::Greater) {
            return false;
        }
        self.position = Some(position.clone());
        let over = |grant: &mut HeldGrant| grant.term != position.term || position.route == Route::Closed;
        let over = self.grant.take_if(over);
        if over.is_some() {
            self.over.clone_from(&over);
        }
        // The route is open again, and the grant that ends the pause still on its way.
        let awaited = |pause: &Pause| pause.term == position.term && pause.main.instance == position.main;
        self.pause = over
            .and_then(|over| Pause::of(over, position, now))
            .or_else(|| self.pause.take().filter(awaited));
        true
    }

    /// The cluster is gone.
    pub fn let_go(&mut self) {
        self.grant = None;
        self.pause = None;
        self.over = None;
    }

    /// Gives back what is held, and takes no grant any more. Returns until when this gateway should be there to be asked: for
    /// the time of one more grant, if one could still hold by now, of the present term or of the one that was closed last.
    pub fn retire(&mut self, now: Duration) -> Duration {
        self.retired = true;
        self.pause = None;
        let last = self.grant.take().or_else(|| self.over.take());
        let last = last.filter(|grant| now < grant.until());
        last.map_or(now, |grant| now.saturating_add(grant.ttl))
    }

    /// Takes a grant.
    ///
    /// # Errors
    /// When it is not for this gateway, answers none of its nonces, or has no meaning any more. What was held stays.
    pub fn accept(&mut self, grant: &Grant, now: Duration) -> Result<(), Refusal> {
        if grant.pod_uid != self.pod_uid {
            return Err(Refusal::OtherGateway);
        }
        if self.retired {
            return Err(Refusal::Retired);
        }
        if self
            .cluster
            .as_ref()
            .is_some_and(|cluster| *cluster != grant.cluster)
        {
            return Err(Refusal::OtherCluster);
        }
        let sent = self.nonces.iter().find(|(nonce, _)| *nonce == grant.nonce);
        let (_, from) = *sent.ok_or(Refusal::UnknownNonce)?;
        if from.saturating_add(grant.ttl()) <= now {
            return Err(Refusal::Late);
        }
        let position = Position {
            term: grant.term,
            route: Route::Open,
            main: grant.main.instance.clone(),
            pause: false,
        };
        let known = self.position.as_ref();
        if known.is_some_and(|known| position.compare(known) == Ordering::Less) {
            return Err(Refusal::OldTerm);
        }
        let before = self.grant.as_ref().filter(|held| held.term == grant.term);
        if before.is_some_and(|held| held.main != grant.main || held.address != grant.address) {
            return Err(Refusal::OtherMain);
        }
        let paused = self.pause.as_ref().filter(|pause| pause.is_ended_by(grant, now));
        let mut taken = HeldGrant {
            term: grant.term,
            since: match (before, paused) {
                (Some(held), _) => held.since,
                (None, Some(pause)) => pause.since,
                (None, None) => grant.term,
            },
            main: grant.main.clone(),
            address: grant.address.clone(),
            ttl: grant.ttl(),
            from,
            extended: Duration::ZERO,
            evidence: grant.failsafe.as_ref().map(Evidence::of),
            tainted: None,
            early: self.dice.f64() * EARLY,
        };
        if let Some(held) = before {
            taken.extended = held.extended;
            if held.from > from {
                // It comes late: whom a newer one names counts.
                taken.evidence.clone_from(&held.evidence);
            } else if let (Some(evidence), Some(known)) = (&mut taken.evidence, &held.evidence) {
                evidence.keep(known);
            }
            // The nonce was sent before MAIN refused: whoever answers it did not know.
            taken.tainted = held.tainted.filter(|at| *at >= from);
            if held.renewed_until() > taken.renewed_until() {
                (taken.from, taken.ttl) = (held.from, held.ttl);
            }
        }
        if let (Some(evidence), Some(failsafe)) = (&mut taken.evidence, &grant.failsafe) {
            // Whoever grants knows of nothing later than what it grants.
            evidence.vouched(&failsafe.by, from);
        }
        taken.extend(now);
        self.learn(&grant.cluster, &position, now);
        self.pause = None;
        self.grant = Some(taken);
        Ok(())
    }

    /// Takes the word of an operator process.
    pub fn vouched(&mut self, cluster: &str, voucher: &Voucher, now: Duration) {
        let sent = self.nonces.iter().find(|(nonce, _)| *nonce == voucher.nonce);
        let Some((_, from)) = sent.copied().filter(|_| self.cluster.as_deref() == Some(cluster)) else {
            return;
        };
        self.learnt(now, |evidence| evidence.vouched(&voucher.operator, from));
    }

    /// All in-sync replicas of this term have taken connections for replication, which were begun at `begun`.
    pub fn attested(&mut self, term: i64, begun: Duration, now: Duration) {
        if self.grant.as_ref().is_some_and(|grant| grant.term == term) {
            self.learnt(now, |evidence| evidence.attested(begun));
        }
    }

    /// MAIN of this term has completed a handshake.
    pub fn heard(&mut self, term: i64, now: Duration) {
        if self.grant.as_ref().is_some_and(|grant| grant.term == term) {
            self.learnt(now, |evidence| evidence.heard(now));
        }
    }

    fn learnt(&mut self, now: Duration, learn: impl FnOnce(&mut Evidence)) {
        let Some(grant) = &mut self.grant else { return };
        let Some(evidence) = &mut grant.evidence else {
            return;
        };
        learn(evidence);
        grant.extend(now);
    }

    /// The in-sync replicas whose ports tell whether the grant may be extended, with its term, unless it was renewed so
    /// lately that this is of no interest.
    #[must_use]
    pub fn to_attest(&self, now: Duration) -> Option<(i64, &[MemberPort])> {
        let grant = self.grant.as_ref().filter(|grant| now < grant.until())?;
        let evidence = grant.evidence.as_ref()?;
        let late = grant.from.saturating_add(grant.ttl.mul_f64(LATE)) <= now;
        late.then(|| (grant.term, evidence.members()))
    }

    /// MAIN of this term has refused or reset a connection.
    pub fn taint(&mut self, term: i64, now: Duration) {
        drop(self.pause.take_if(|pause| pause.term == term));
        if let Some(grant) = self.grant.as_mut().filter(|grant| grant.term == term) {
            grant.tainted = Some(now);
        }
    }

    /// In which term the MAIN is MAIN now, or is paused, that was it in this term: there were only pauses since. Of any other
    /// one, the term in which it was.
    #[must_use]
    pub fn present_term(&self, term: i64) -> i64 {
        let granted = self.grant.iter().map(|grant| (grant.since, grant.term));
        let paused = self.pause.iter().map(|pause| (pause.since, pause.term));
        let mut reigns = granted.chain(paused);
        let reign = reigns.find(|(since, present)| (*since..=*present).contains(&term));
        reign.map_or(term, |(_, present)| present)
    }

    /// Renews the grant by the ledger, which was asked for at `sent` and told by `now`, from the API server itself and not
    /// from a cache.
    ///
    /// # Errors
    /// When the ledger does not say what the grant rests on; if it has gone on, the grant is over.
    pub fn confirm(
        &mut self,
        cluster: &str,
        ledger: &Ledger,
        sent: Duration,
        now: Duration,
    ) -> Result<(), Unrenewed> {
        self.learn(cluster, &Position::of(ledger), now);
        let own = self.cluster.as_deref() == Some(cluster);
        let listed = ledger.grants_to(&self.pod_uid);
        let grant = self.grant.as_mut().ok_or(Unrenewed::Nothing)?;
        if grant.until() <= sent {
            return Err(Unrenewed::Nothing);
        }
        if grant.tainted.is_some() {
            return Err(Unrenewed::Tainted);
        }
        let same = ledger.route == Route::Open
            && ledger.term == grant.term
            && ledger.main == grant.main
            && ledger.main_address == grant.address;
        if !(own && same) {
            return Err(Unrenewed::Changed);
        }
        if !listed {
            return Err(Unrenewed::Unlisted);
        }
        let members = ledger.in_sync.iter().map(Member::copy);
        grant
            .evidence
            .take_if(|evidence| !evidence.is_about(members.clone()));
        // The time that this very ledger names: it stays the same for as long as the route is open.
        let ttl = ledger.grant_ttl.map_or(grant.ttl, |ttl| ttl.0.min(LONGEST_TTL));
        if sent.saturating_add(ttl) > grant.renewed_until() {
            (grant.from, grant.ttl) = (sent, ttl);
            grant.early = self.dice.f64() * EARLY;
        }
        Ok(())
    }

    /// What the gateway may do at this moment.
    #[must_use]
    pub fn permit(&self, now: Duration) -> Option<Permit> {
        let grant = self.grant.as_ref().filter(|grant| now < grant.until())?;
        Some(Permit {
            term: grant.term,
            since: grant.since,
            main: grant.main.clone(),
            address: grant.address.clone(),
            until: grant.until(),
            free_until: grant.renewed_until(),
        })
    }

    /// The sessions that may stay at this moment, although the route is closed, if none of their bytes moves.
    #[must_use]
    pub fn pause(&self, now: Duration) -> Option<&Pause> {
        self.pause.as_ref().filter(|pause| now < pause.until)
    }

    /// Term and address of MAIN by the last grant, whether that still holds or not. None: it is over, because the ledger has
    /// gone on.
    #[must_use]
    pub fn last_main(&self) -> Option<(i64, &str)> {
        let grant = self.grant.as_ref()?;
        Some((grant.term, &grant.address))
    }

    /// When the grant should be renewed by reading the ledger, if no operator has renewed it by then: before a third of its
    /// time is left, and not with all other gateways at the same moment. None: there is nothing to renew.
    #[must_use]
    pub fn due(&self, now: Duration) -> Option<Duration> {
        let grant = self.grant.as_ref()?;
        let renewable = now < grant.until() && grant.tainted.is_none();
        renewable.then(|| grant.from.saturating_add(grant.ttl.mul_f64(LATEST - grant.early)))
    }

    /// The grant that is held, valid or not, for the report.
    #[must_use]
    pub fn held(&self, now: Duration) -> Option<Held> {
        let grant = self.grant.as_ref()?;
        let remaining = grant.until().saturating_sub(now).as_millis();
        Some(Held {
            term: grant.term,
            remaining_millis: u64::try_from(remaining).unwrap_or(u64::MAX),
            tainted: grant.tainted.is_some(),
            failsafe: now >= grant.renewed_until() && now < grant.until(),
        })
    }
}
