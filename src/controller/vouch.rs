//! The word of a process that does not lead: that it knows of no closing, so that it would wait for whoever it tells so.
//!
//! A gateway that hears neither a leader nor the API server goes on while every operator process says this, again and again
//! (see [`grants`](crate::grants)). A process that does not lead has never led, since one that loses leadership starts over.
//! So it has nothing to look up: it knows of no closing. It begins to as soon as it leads, and then it does not come here any
//! more; as the leader it vouches by its grants.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use kube::Client;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{
    link::{Acquaintance, GatewayLink},
    stores::Stores,
};
use crate::grants::{Request, Response, VERSION, Voucher};

/// How often it is looked which gateways there are.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long it is until a gateway is told again: several times within what is left of its grant, but no less or more.
const TELL_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// For how long one answer is waited for.
const DEADLINE: Duration = Duration::from_millis(500);

/// A gateway: UID of the cluster, UID of the pod, address.
type Whom = (String, String, IpAddr);

/// Tells all gateways, for as long as this process does not lead.
///
/// `operator` is what the gateways know this process by. Before the caches are `filled`, the gateways are those that an
/// earlier process in this place knew.
pub(super) async fn vouch<G: GatewayLink>(
    link: &G,
    client: &Client,
    stores: &Stores,
    filled: &AtomicBool,
    operator: &str,
) {
    let mut known = link.recall();
    let mut rounds = FuturesUnordered::new();
    let mut under_way: BTreeSet<Whom> = BTreeSet::new();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            Some(whom) = rounds.next() => {
                under_way.remove(&whom);
                continue;
            }
            _ = ticks.tick() => {}
        }
        if filled.load(Ordering::Relaxed) {
            let found = stores.acquaintances();
            let is_gone = |cluster: &&Acquaintance| !found.iter().any(|other| other.uid == cluster.uid);
            known
                .iter()
                .filter(is_gone)
                .for_each(|gone| link.forget(&gone.uid));
            found.iter().for_each(|cluster| link.remember(cluster));
            known = found;
        }
        for cluster in &known {
            for (pod_uid, address) in &cluster.gateways {
                let whom = (cluster.uid.clone(), pod_uid.clone(), *address);
                if under_way.insert(whom.clone()) {
                    rounds.push(tell(link, client, cluster.clone(), whom, operator));
                }
            }
        }
    }
}

/// Tells one gateway once, and waits until it is time for the next time.
async fn tell<G: GatewayLink>(
    link: &G,
    client: &Client,
    cluster: Acquaintance,
    whom: Whom,
    operator: &str,
) -> Whom {
    let (uid, pod_uid, address) = &whom;
    // What is known already may be good, although it cannot be looked up now.
    match timeout(DEADLINE, link.acquaint(client, &cluster)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(cluster = cluster.name, error, "no new certificate"),
        Err(_) => tracing::debug!(cluster = cluster.name, "no new certificate in {DEADLINE:?}"),
    }
    let say = async |voucher| {
        let request = Request {
            version: VERSION,
            cluster: uid.clone(),
            position: None,
            grant: None,
            voucher,
        };
        link.exchange(uid, *address, &request, DEADLINE).await
    };
    let told = match say(None).await {
        Ok(response) if response.pod_uid == *pod_uid && response.version == VERSION => {
            let nonce = response.nonce;
            let operator = operator.to_owned();
            say(Some(Voucher { nonce, operator })).await
        }
        answer => answer,
    };
    let pause = match told {
        Ok(response) => pause(&response),
        Err(error) => {
            tracing::debug!(cluster = cluster.name, %address, %error, "a gateway gives no answer");
            TELL_EVERY.1
        }
    };
    sleep(pause.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    whom
}

/// How long it is until the gateway that answers this is told again.
fn pause(answer: &Response) -> Duration {
    let (least, most) = TELL_EVERY;
    let left = answer.report.held.as_ref().map(|held| held.remaining_millis);
    left.map_or(most, |left| (Duration::from_millis(left) / 3).clamp(least, most))
}
