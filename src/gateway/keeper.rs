//! Keeps the gateway's grant: takes it from the operator, renews it by itself while no operator answers, and lets it end.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{Api, ResourceExt};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    attestation::Attestation,
    clearance::Now,
    gate::Gate,
    leading,
    reach::{Incident, Reach},
    routes::{Routes, Standing},
};
use crate::{
    api::{MemgraphCluster, ledger::Route},
    grants::{Holder, MainReach, Report, Request, Response, Unrenewed, VERSION},
    leader::Clock,
};

/// For how long an operator's question waits until what it has changed is in force.
const ENFORCE_DEADLINE: Duration = Duration::from_secs(2);
/// How soon the API server is asked again that did not renew the grant.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// For how long one answer of it is waited for.
const ASK_DEADLINE: Duration = Duration::from_secs(1);

const UNREADABLE: &str = "the API server cannot be read";

/// Keeps the grant of one gateway.
#[derive(Debug)]
pub struct Keeper {
    now: Now,
    state: Mutex<State>,
    /// What is to be enforced.
    wanted: watch::Sender<Routes>,
    /// MAIN of the last grant, which is to be tried; none before it is known whether it takes TLS.
    mains: watch::Sender<Option<Main>>,
    /// Marked changed when a moment to wait for may have moved.
    moments: watch::Sender<()>,
    attestation: Arc<Attestation>,
}

#[derive(Debug)]
struct State {
    holder: Holder,
    /// What the API server has shown.
    view: Routes,
    /// When an operator asked last.
    asked: Option<Duration>,
    /// Why reading the ledger did not renew the grant the last time.
    unrenewed: Option<String>,
    reach: Reach,
}

/// Term and address of a MAIN.
pub(super) type Main = (i64, String);

impl Keeper {
    /// One that holds nothing. `pod_uid` is the gateway's own; `seed` differs from process to process.
    #[must_use]
    pub fn new(clock: impl Clock, pod_uid: String, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            now: Now::of(clock),
            state: Mutex::new(State {
                holder: Holder::new(pod_uid, seed),
                view: Routes::default(),
                asked: None,
                unrenewed: None,
                reach: Reach::default(),
            }),
            wanted: watch::Sender::default(),
            mains: watch::Sender::default(),
            moments: watch::Sender::default(),
            attestation: Arc::default(),
        })
    }

    /// The clock by which grants end.
    #[must_use]
    pub fn clock(&self) -> Now {
        self.now.clone()
    }

    /// What is to be enforced.
    #[must_use]
    pub fn wanted(&self) -> watch::Receiver<Routes> {
        self.wanted.subscribe()
    }

    /// MAIN of the last grant, whether that still holds or not; none while nothing is known of the cluster but the grant.
    pub(super) fn mains(&self) -> watch::Receiver<Option<Main>> {
        self.mains.subscribe()
    }

    /// Whether the instance at this address takes TLS only, as far as the status has told.
    pub(super) fn is_encrypted(&self, address: SocketAddr) -> bool {
        self.lock().view.encrypted.contains(&address)
    }

    /// What is known of the in-sync replicas' ports.
    #[must_use]
    pub fn attestation(&self) -> Arc<Attestation> {
        Arc::clone(&self.attestation)
    }

    /// The ports that tell whether the in-sync replicas are replicas, with the term; None: nobody needs to know.
    pub(super) fn to_attest(&self) -> Option<(i64, Vec<SocketAddr>)> {
        let state = self.lock();
        let now = self.now.get();
        let (term, members) = state.holder.to_attest(now)?;
        Some((term, members.iter().map(|member| member.address).collect()))
    }

    /// All of these ports took connections, which were begun at `begun`.
    pub(super) fn attested(&self, term: i64, begun: Duration) {
        let mut state = self.lock();
        let now = self.now.get();
        state.holder.attested(term, begun, now);
        self.publish(state);
    }

    /// Answers an operator. What the question changes is in force by then: a closed route is acknowledged only once no
    /// byte can pass any more.
    pub async fn answer(
        &self,
        request: &Request,
        gate: &Gate,
        enforced: &watch::Receiver<Routes>,
    ) -> Response {
        let refusal = if request.version == VERSION {
            self.hear(request)
        } else {
            Some(format!("this gateway speaks version {VERSION} of the protocol"))
        };
        let wanted = self.wanted.borrow().clone();
        let in_force = |routes: &Routes| {
            routes.cluster == wanted.cluster
                && routes.term >= wanted.term
                && routes.read_write == wanted.read_write
        };
        let mut following = enforced.clone();
        // The report tells what is in force, whatever that is.
        let _ = timeout(ENFORCE_DEADLINE, following.wait_for(in_force)).await;
        let (pod_uid, nonce) = self.nonce();
        // After the nonce: a refusal by MAIN that the report does not tell is later than the nonce.
        let report = self.report(&enforced.borrow(), gate);
        Response {
            version: VERSION,
            pod_uid,
            nonce,
            report,
            refusal,
        }
    }

    /// A number to be answered by a grant, with the pod that it is sent from.
    pub(super) fn nonce(&self) -> (String, u64) {
        let mut state = self.lock();
        (
            state.holder.pod_uid().to_owned(),
            state.holder.nonce(self.now.get()),
        )
    }

    /// Takes what an operator says. Returns why its grant was refused, if so.
    pub(super) fn hear(&self, request: &Request) -> Option<String> {
        let mut state = self.lock();
        let now = self.now.get();
        if request.voucher.is_none() {
            state.asked = Some(now);
        }
        if let Some(position) = &request.position {
            state.holder.learn(&request.cluster, position, now);
        }
        let refusal = request.grant.as_ref().and_then(|grant| {
            let Err(refused) = state.holder.accept(grant, now) else {
                state.unrenewed = None;
                return None;
            };
            debug!(term = grant.term, reason = %refused, "grant refused");
            Some(refused.to_string())
        });
        if let Some(voucher) = &request.voucher {
            state.holder.vouched(&request.cluster, voucher, now);
        }
        self.publish(state);
        refusal
    }

    /// What holds, for the operator and for people.
    #[must_use]
    pub fn report(&self, enforced: &Routes, gate: &Gate) -> Report {
        // The sessions are counted first: were the route to open in between, they would be too few, not too many.
        let sessions = gate.sessions();
        let waiting = gate.longest_wait();
        let state = self.lock();
        let now = self.now.get();
        let main = enforced.read_write.as_ref();
        Report {
            cluster: enforced.cluster.clone(),
            term: enforced.term,
            route: if main.is_some() {
                Route::Open
            } else {
                Route::Closed
            },
            main: main.map(|target| target.instance.clone()),
            sessions,
            held: state.holder.held(now),
            reach: MainReach {
                waiting_millis: waiting.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                ..state.reach.at(now)
            },
        }
    }

    /// Gives the grant back, and takes none any more. Returns until when operators should be answered, by the clock of grants.
    pub fn retire(&self) -> Duration {
        let mut state = self.lock();
        let now = self.now.get();
        let until = state.holder.retire(now);
        self.publish(state);
        until
    }

    /// Waits for this moment of the clock of grants.
    pub async fn until(&self, moment: Duration) {
        let mut moments = self.moments.subscribe();
        loop {
            let remaining = moment.saturating_sub(self.now.get());
            if remaining.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                _ = moments.changed() => {}
                () = sleep(remaining) => {}
            }
        }
    }

    /// Takes note of what became of a connection to MAIN of this term; it may be MAIN of a later one by now.
    pub(super) fn note(&self, term: i64, incident: Incident) {
        let mut state = self.lock();
        let now = self.now.get();
        let term = state.holder.present_term(term);
        if state.reach.note(term, incident, now) && incident == Incident::Refused {
            state.holder.taint(term, now);
            self.publish(state);
        }
    }

    /// A handshake with MAIN of this term begins.
    pub(super) fn begin(&self, term: i64) {
        let mut state = self.lock();
        let now = self.now.get();
        state.reach.begin(term, now);
    }

    /// A handshake with MAIN of this term came to nothing, for a reason that is not MAIN's.
    pub(super) fn give_up(&self, term: i64) {
        self.lock().reach.give_up(term);
    }

    /// A handshake with MAIN of this term was completed.
    pub(super) fn completed(&self, term: i64) {
        let mut state = self.lock();
        let now = self.now.get();
        state.reach.complete(term, now);
        state.holder.heard(term, now);
        self.publish(state);
    }

    /// Why clients cannot be led to MAIN although the ledger, as far as it is known, lets them in. `trouble`: why the API
    /// server cannot be read.
    #[must_use]
    pub fn lack(&self, enforced: &Routes, trouble: Option<&str>) -> Option<String> {
        if !leading::lacks_grant(enforced) {
            return None;
        }
        let (asked, unrenewed) = {
            let (state, now) = (self.lock(), self.now.get());
            // Such a grant the ledger is not asked to renew.
            let tainted = state.holder.held(now).is_some_and(|held| held.tainted);
            let unrenewed = tainted.then(|| Unrenewed::Tainted.to_string());
            (state.asked, unrenewed.or_else(|| state.unrenewed.clone()))
        };
        let operator = match asked {
            None => "no operator has asked yet".to_owned(),
            Some(at) => {
                let ago = self.now.get().saturating_sub(at).as_secs_f64();
                format!("the operator asked {ago:.1} s ago")
            }
        };
        let server = match (trouble, unrenewed) {
            (Some(trouble), _) => format!("{UNREADABLE}: {trouble}"),
            (None, Some(reason)) => reason,
            (None, None) => "the ledger alone gives no right, it only renews one".to_owned(),
        };
        Some(format!(
            "writers are not let in, because no right to lead them to MAIN is held: {operator}; {server}"
        ))
    }

    /// Follows what the API server shows and lets the grant end, and renews it by asking for the cluster of this name.
    /// Ends when nobody shows anything any more.
    pub async fn keep(&self, view: watch::Receiver<Routes>, clusters: Api<MemgraphCluster>, name: &str) {
        tokio::select! {
            biased;
            () = self.follow(view) => {}
            () = self.renew(clusters, name) => {}
        }
    }

    /// Has looked whether the grant has run out, where the clock is moved by hand.
    #[cfg(test)]
    pub(super) fn wake(&self) {
        self.publish(self.lock());
    }

    /// Follows what the API server shows, and lets the grant end.
    pub(super) async fn follow(&self, mut view: watch::Receiver<Routes>) {
        let mut moments = self.moments.subscribe();
        loop {
            self.see(view.borrow_and_update().clone());
            loop {
                moments.borrow_and_update();
                let ends_in = {
                    let (state, now) = (self.lock(), self.now.get());
                    let granted = state.holder.permit(now).map(|permit| permit.until);
                    let paused = state.holder.pause(now).map(|pause| pause.until);
                    let until = granted.or(paused).map(|until| until.saturating_sub(now));
                    // What has ended since it was published is to be enforced as well.
                    let wanted = self.wanted.borrow();
                    let ended = wanted.read_write.is_some() || wanted.paused.is_some();
                    until.or_else(|| ended.then_some(Duration::ZERO))
                };
                tokio::select! {
                    biased;
                    changed = view.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    _ = moments.changed() => {}
                    () = after(ends_in) => {
                        let paused = self.wanted.borrow().paused.is_some();
                        self.publish(self.lock());
                        if paused {
                            info!("the pause lasts too long: sessions with MAIN are cut");
                        } else if self.wanted.borrow().read_write.is_none() {
                            warn!("the right to lead clients to MAIN has run out, and nobody has renewed it");
                        }
                    }
                }
            }
        }
    }

    /// Takes what the API server shows.
    pub(super) fn see(&self, view: Routes) {
        let mut state = self.lock();
        let now = self.now.get();
        if let Some(cluster) = &view.cluster {
            if view.standing == Standing::Absent {
                state.holder.let_go();
            } else {
                state.holder.follow(cluster);
            }
            if let Some(position) = &view.position {
                state.holder.learn(cluster, position, now);
            }
        }
        state.view = view;
        self.publish(state);
    }

    async fn renew(&self, clusters: Api<MemgraphCluster>, name: &str) {
        let mut moments = self.moments.subscribe();
        // While nothing changes, one line tells of it.
        let mut told = None;
        loop {
            moments.borrow_and_update();
            let due_in = {
                let (state, now) = (self.lock(), self.now.get());
                state.holder.due(now).map(|due| due.saturating_sub(now))
            };
            if due_in != Some(Duration::ZERO) {
                told = None;
            }
            tokio::select! {
                biased;
                _ = moments.changed() => continue,
                () = after(due_in) => {}
            }
            let sent = self.now.get();
            // Without a resourceVersion the answer is a quorum's: it is no older than the question.
            let renewed = match timeout(ASK_DEADLINE, clusters.get(name)).await {
                Ok(Ok(cluster)) => self.confirm(&cluster, sent),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer in {ASK_DEADLINE:?}")),
            };
            self.lock().unrenewed = renewed.as_ref().err().cloned();
            match renewed {
                Ok(()) => {
                    told = None;
                    debug!("no operator answers; the ledger has renewed the grant");
                }
                Err(reason) => {
                    let line = "no operator answers, and the ledger did not renew the grant";
                    if told.as_ref() == Some(&reason) {
                        debug!(reason, "{line}");
                    } else {
                        info!(reason, "{line}");
                    }
                    told = Some(reason);
                    sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    fn confirm(&self, cluster: &MemgraphCluster, sent: Duration) -> Result<(), String> {
        let ledger = cluster.status.as_ref().and_then(|status| status.ledger.as_ref());
        let (Some(ledger), Some(uid)) = (ledger, cluster.uid()) else {
            return Err("the ledger did not renew it: there is none".to_owned());
        };
        let mut state = self.lock();
        let now = self.now.get();
        let confirmed = state.holder.confirm(&uid, ledger, sent, now);
        self.publish(state);
        confirmed.map_err(|reason| format!("the ledger did not renew it: {reason}"))
    }

    /// Has enforced what follows from the state.
    fn publish(&self, state: MutexGuard<'_, State>) {
        let routes = leading::routes(&state.view, &state.holder, self.now.get());
        // Under the lock: what is published later follows from a later state.
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != routes;
            if changed {
                *wanted = routes;
            }
            changed
        });
        self.mains.send_if_modified(|main| {
            // One that takes TLS only would end what does not begin with it.
            let last = state.holder.last_main();
            let last = last.filter(|_| state.view.standing != Standing::Unseen);
            let changed = main.as_ref().map(|(term, address)| (*term, address.as_str())) != last;
            if changed {
                *main = last.map(|(term, address)| (term, address.to_owned()));
            }
            changed
        });
        drop(state);
        self.moments.send_replace(());
    }

    /// The clock is read under it, not before: what held when the clock was read may have ended when the lock is had.
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of the state is one step, so a panic elsewhere under the lock spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends after so long, or never.
async fn after(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}
