//! In what order requests go to the API server, and how many of them: those of a cluster whose clients wait for this process do not
//! queue behind those of all others, however much these want to change.
//!
//! ```text
//! Lease, watches ---------------------------------------> API server      few, and as many as ever
//! a cluster that can wait ----> [ ordinary ] ----------->
//!        | MAIN is lost, or the route closed, or the ledger is written
//!        v
//! a cluster in a hurry -------> [ urgent ] ------------->                 a limit of the same size, which nobody else uses up
//! ```
//!
//! A cluster has one client for all that is asked for its sake. Which queue a request of this client stands in follows from how the
//! cluster is now: also what waits already goes first from the moment on at which its cluster gets into a hurry.

use std::{future::pending, num::NonZeroU32, sync::Arc, time::Duration};

use http::Request;
use kube::{Client, client::Body};
use leaky_bucket::RateLimiter;
use tokio::{sync::watch, time::Instant};
use tower::service_fn;

use crate::fleet::Vitals;

/// How many requests an operator process sends to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    /// In the long run, in a second. From 10 on, what is no multiple of 10 counts as the next smaller one.
    pub per_second: NonZeroU32,
    /// At once, after a rest. Less than a tenth of the former counts as that.
    pub burst: NonZeroU32,
}

impl RequestRate {
    fn limiter(self) -> RateLimiter {
        let (per_second, burst) = (size(self.per_second), size(self.burst));
        let (refill, interval) = match per_second / 10 {
            0 => (1, Duration::from_secs(1) / self.per_second.get()),
            tenth => (tenth, Duration::from_millis(100)),
        };
        RateLimiter::builder()
            .initial(burst)
            // No more than this is given out at a time.
            .max(burst.max(refill))
            .refill(refill)
            .interval(interval)
            .build()
    }
}

fn size(number: NonZeroU32) -> usize {
    usize::try_from(number.get()).unwrap_or(usize::MAX)
}

/// Why requests for a cluster cannot wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hurry {
    /// Clients that were led to the cluster may be waiting.
    pub(super) awaited: bool,
    /// A decision about a cluster that is set up is being written down.
    pub(super) decides: bool,
}

impl Hurry {
    fn there_is(self) -> bool {
        self.awaited || self.decides
    }
}

/// Gives each asker its way to the API server.
pub(super) struct Lanes {
    client: Client,
    ordinary: Client,
    limits: Option<Arc<Limits>>,
}

struct Limits {
    ordinary: RateLimiter,
    urgent: RateLimiter,
    vitals: Arc<Vitals>,
}

impl Lanes {
    /// Ways that end in this client. Without a rate nobody waits. `vitals` are told for how long requests have waited.
    pub(super) fn new(client: Client, rate: Option<RequestRate>, vitals: &Arc<Vitals>) -> Self {
        let limits = rate.map(|rate| {
            Arc::new(Limits {
                ordinary: rate.limiter(),
                urgent: rate.limiter(),
                vitals: Arc::clone(vitals),
            })
        });
        Self {
            ordinary: limited(&client, limits.as_ref(), None),
            client,
            limits,
        }
    }

    /// For what is never in a hurry.
    pub(super) fn ordinary(&self) -> &Client {
        &self.ordinary
    }

    /// For all that is asked for the sake of one cluster; `hurries` tells whether it is in a hurry.
    pub(super) fn of_cluster(&self, hurries: watch::Receiver<Hurry>) -> Client {
        limited(&self.client, self.limits.as_ref(), Some(hurries))
    }
}

fn limited(client: &Client, limits: Option<&Arc<Limits>>, hurries: Option<watch::Receiver<Hurry>>) -> Client {
    let Some(limits) = limits.map(Arc::clone) else {
        return client.clone();
    };
    let namespace = client.default_namespace().to_owned();
    let client = Arc::new(client.clone());
    let service = service_fn(move |request: Request<Body>| {
        let (client, limits, hurries) = (Arc::clone(&client), Arc::clone(&limits), hurries.clone());
        async move {
            limits.admit(hurries).await;
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}

impl Limits {
    /// Waits until one more request may be sent.
    async fn admit(&self, hurries: Option<watch::Receiver<Hurry>>) {
        let asked = Instant::now();
        let lane = tokio::select! {
            biased;
            () = in_a_hurry(hurries) => {
                self.urgent.acquire_one().await;
                "urgent"
            }
            () = self.ordinary.acquire_one() => "ordinary",
        };
        self.vitals.waited(lane, asked.elapsed());
    }
}

async fn in_a_hurry(hurries: Option<watch::Receiver<Hurry>>) {
    let Some(mut hurries) = hurries else {
        return pending().await;
    };
    // Of a cluster that is forgotten nobody will tell any more.
    if hurries.wait_for(|hurry| hurry.there_is()).await.is_err() {
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{FutureExt, future::join_all};
    use http::Response;
    use tokio::{
        sync::mpsc::{UnboundedReceiver, unbounded_channel},
        task::JoinHandle,
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(per_second: u32, burst: u32) -> RequestRate {
        RequestRate {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        }
    }

    /// An API server that tells which path it was asked for.
    struct Server {
        asked: UnboundedReceiver<String>,
        vitals: Arc<Vitals>,
        lanes: Lanes,
    }

    impl Server {
        fn limited_to(rate: RequestRate) -> Self {
            let (tell, asked) = unbounded_channel();
            let service = service_fn(move |request: Request<Body>| {
                tell.send(request.uri().path().to_owned()).unwrap();
                async { Ok::<_, Infallible>(Response::new(Body::empty())) }
            });
            let vitals = Arc::default();
            Self {
                lanes: Lanes::new(Client::new(service, "default"), Some(rate), &vitals),
                asked,
                vitals,
            }
        }

        fn asked(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
        }

        /// How many requests of this lane have been sent.
        fn sent(&self, lane: &str) -> u64 {
            let mut registry = crate::metrics::Registry::default();
            self.vitals.register(&mut registry);
            let text = crate::metrics::text(&registry).unwrap();
            let name = format!("memgraph_operator_api_request_wait_seconds_count{{lane=\"{lane}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.map_or(0, |count| count.parse().unwrap())
        }
    }

    fn ask(client: &Client, path: &str, count: usize) -> Vec<JoinHandle<()>> {
        let asking = |_| {
            let (client, uri) = (client.clone(), format!("http://server{path}"));
            tokio::spawn(async move {
                let request = Request::get(uri).body(Body::empty()).unwrap();
                client.send(request).await.unwrap();
            })
        };
        (0..count).map(asking).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_from_then_on_the_limit_holds() {
        let mut server = Server::limited_to(rate(20, 50));
        let began = Instant::now();
        let waiting = ask(server.lanes.ordinary(), "/many", 150);
        let mut sent = Vec::new();
        for second in 0..5 {
            tokio::time::sleep_until(began + SECOND * second + SECOND / 20).await;
            sent.push(server.asked().len());
        }
        assert_eq!(sent, [50, 20, 20, 20, 20]);
        join_all(waiting).await;
        assert_eq!(
            began.elapsed(),
            SECOND * 5,
            "100 beyond the burst, 20 in a second"
        );
        assert_eq!(server.asked().len(), 20);
        tokio::time::sleep(SECOND * 60).await;
        ask(server.lanes.ordinary(), "/more", 60);
        tokio::time::sleep(SECOND / 20).await;
        assert_eq!(server.asked().len(), 50, "no more is saved up than a burst");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_that_is_no_multiple_of_ten_is_not_exceeded() {
        for (per_second, sent) in [(1, 1), (3, 3), (9, 9), (10, 10), (19, 10), (333, 330)] {
            let mut server = Server::limited_to(rate(per_second, 1));
            let waiting = ask(server.lanes.ordinary(), "/many", 1_000);
            tokio::time::sleep(SECOND + SECOND / 50).await;
            assert_eq!(server.asked().len(), 1 + sent, "{per_second}");
            waiting.iter().for_each(JoinHandle::abort);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_in_a_hurry_waits_for_no_other_one() {
        let mut server = Server::limited_to(rate(10, 20));
        let (hurry, hurries) = watch::channel(Hurry::default());
        let (lost, calm) = (
            server.lanes.of_cluster(hurries),
            server.lanes.of_cluster(watch::channel(Hurry::default()).1),
        );
        ask(&calm, "/rollout", 1_000);
        ask(&lost, "/before", 2);
        tokio::time::sleep(SECOND + SECOND / 20).await;
        let asked = server.asked();
        assert_eq!(asked.len(), 30);
        assert!(asked.iter().all(|path| path == "/rollout"));

        let began = Instant::now();
        hurry.send_replace(Hurry {
            awaited: true,
            ..Hurry::default()
        });
        join_all(ask(&lost, "/failover", 18)).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        let asked = server.asked();
        let of = |path: &str| asked.iter().filter(|asked| *asked == path).count();
        assert_eq!(
            (of("/before"), of("/failover"), of("/rollout")),
            (2, 18, 0),
            "what waited already goes, too"
        );
        assert_eq!((server.sent("urgent"), server.sent("ordinary")), (20, 30));

        join_all(ask(&lost, "/failover", 10)).await;
        let took = began.elapsed().as_millis();
        assert!(
            (900..=1_100).contains(&took),
            "there is a limit here, too: {took}"
        );
        let asked = server.asked();
        let others = asked.iter().filter(|path| *path == "/rollout").count();
        assert_eq!(asked.len() - others, 10);
        assert!((9..=11).contains(&others), "others go on meanwhile: {others}");

        hurry.send_replace(Hurry::default());
        let late = ask(&lost, "/after", 1).remove(0);
        tokio::time::sleep(SECOND * 10).await;
        assert!(!late.is_finished(), "it can wait again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_takes_nothing_away_from_others() {
        let mut server = Server::limited_to(rate(10, 1));
        let client = server.lanes.ordinary().clone();
        join_all(ask(&client, "/first", 1)).await;
        let given_up = ask(&client, "/given-up", 500);
        let next = ask(&client, "/next", 1).remove(0);
        tokio::time::sleep(SECOND / 20).await;
        given_up.iter().for_each(JoinHandle::abort);
        tokio::time::sleep(SECOND).await;
        assert!(next.now_or_never().is_some());
        assert_eq!(server.asked(), ["/first", "/next"]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits_and_nothing_is_put_in_between() {
        let (tell, mut asked) = unbounded_channel();
        let service = service_fn(move |_: Request<Body>| {
            tell.send(()).unwrap();
            async { Ok::<_, Infallible>(Response::new(Body::empty())) }
        });
        let lanes = Lanes::new(Client::new(service, "default"), None, &Arc::default());
        let began = Instant::now();
        join_all(ask(
            &lanes.of_cluster(watch::channel(Hurry::default()).1),
            "/many",
            5_000,
        ))
        .await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(std::iter::from_fn(|| asked.try_recv().ok()).count(), 5_000);
    }
}
