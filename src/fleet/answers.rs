//! What an operator process answers over HTTP. All of it is read; nothing can be changed.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::timeout,
};
use warp::{
    Filter, Rejection, Reply,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY},
    },
    reply::{Response, json as as_json, with_header, with_status},
    sse::Event,
};

use super::{ClusterStatus, Fleet, OperatorStatus, metrics, openapi};
use crate::http;

/// The page for people: it shows what `/api/v1/events` tells, and loads nothing else.
const PAGE: &str = include_str!("page.html");
/// What the page may do, so that it does nothing else whatever it is told.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                           connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// So many may follow changes at the same time: each costs a look at all clusters now and then.
const FOLLOWERS: usize = 32;
/// How often those who follow are told what no watch tells, such as lag.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Fleet {
    /// All that is answered; the description is in `docs/openapi.json`.
    pub fn filter(self: Arc<Self>) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
        let vitals = Arc::clone(&self.vitals);
        let ready = http::readyz(move || {
            vitals
                .is_ready()
                .then_some(())
                .ok_or("the caches are not filled yet: the API server has not answered every first list")
        });
        let fleet = Arc::clone(&self);
        let scraped = crate::metrics::filter(move || metrics::registry(Arc::clone(&fleet)));
        let short = warp::path!("status").boxed();
        let fleet = Arc::clone(&self);
        let status = warp::path!("api" / "v1" / "status")
            .or(short)
            .unify()
            .and(warp::get())
            .then(move || {
                let fleet = Arc::clone(&fleet);
                async move { as_json(&fleet.status().await) }
            });
        let fleet = Arc::clone(&self);
        let cluster = warp::path!("api" / "v1" / "clusters" / String / String)
            .and(warp::get())
            .then(move |namespace: String, name: String| {
                let fleet = Arc::clone(&fleet);
                async move { found(fleet.cluster(&namespace, &name).await) }
            });
        let description = warp::path!("api" / "v1" / "openapi.json")
            .and(warp::get())
            .map(|| as_json(&openapi::document()));
        let page = warp::path::end().and(warp::get()).map(|| {
            let page = with_header(warp::reply::html(PAGE), CONTENT_SECURITY_POLICY, PAGE_POLICY);
            with_header(page, CACHE_CONTROL, "no-cache")
        });
        let places = Arc::new(Semaphore::new(FOLLOWERS));
        let events = warp::path!("api" / "v1" / "events")
            .and(warp::get())
            .map(move || followed(&self, &places));
        http::livez()
            .or(ready)
            .or(scraped)
            .or(status)
            .or(cluster)
            .or(description)
            .or(events)
            .or(page)
    }
}

fn found(cluster: Option<ClusterStatus>) -> Response {
    match cluster {
        Some(cluster) => as_json(&cluster).into_response(),
        None => with_status("there is no such cluster\n", StatusCode::NOT_FOUND).into_response(),
    }
}

fn followed(fleet: &Arc<Fleet>, places: &Arc<Semaphore>) -> Response {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        let text = format!("{FOLLOWERS} follow already; ask for /api/v1/status instead\n");
        return with_status(text, StatusCode::SERVICE_UNAVAILABLE).into_response();
    };
    let (told, mut news) = mpsc::channel(1);
    tokio::spawn(Follower::new(Arc::clone(fleet), place).follow(told));
    let events = stream::poll_fn(move |context| news.poll_recv(context)).map(Ok::<_, Infallible>);
    warp::sse::reply(warp::sse::keep_alive().stream(events)).into_response()
}

/// Someone who follows changes.
struct Follower {
    fleet: Arc<Fleet>,
    changes: watch::Receiver<()>,
    operator: Option<OperatorStatus>,
    /// What was told last, by namespace and name, without ages.
    told: BTreeMap<(String, String), ClusterStatus>,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    fn new(fleet: Arc<Fleet>, place: OwnedSemaphorePermit) -> Self {
        let mut changes = fleet.changes.subscribe();
        // What is there is told at once.
        changes.mark_changed();
        Self {
            fleet,
            changes,
            operator: None,
            told: BTreeMap::new(),
            _place: place,
        }
    }

    /// Tells of changes until nobody listens any more.
    async fn follow(mut self, told: mpsc::Sender<Event>) {
        loop {
            tokio::select! {
                biased;
                () = told.closed() => return,
                // A look is worth while after each change, and now and then.
                _ = timeout(LOOK_EVERY, self.changes.changed()) => {}
            }
            for event in self.look().await {
                if told.send(event).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn look(&mut self) -> Vec<Event> {
        let status = self.fleet.status().await;
        let mut events = Vec::new();
        if self.operator.as_ref() != Some(&status.operator) {
            events.extend(event("operator", &status.operator));
            self.operator = Some(status.operator);
        }
        let mut present = BTreeMap::new();
        for cluster in status.clusters {
            let place = (cluster.namespace.clone(), cluster.name.clone());
            let essence = cluster.clone().without_ages();
            if self.told.remove(&place).as_ref() != Some(&essence) {
                events.extend(event("cluster", &cluster));
            }
            present.insert(place, essence);
        }
        for (namespace, name) in self.told.keys() {
            events.extend(event("gone", &json!({"namespace": namespace, "name": name})));
        }
        self.told = present;
        events
    }
}

fn event(kind: &str, content: &impl Serialize) -> Option<Event> {
    let event = Event::default().event(kind).json_data(content);
    event
        .inspect_err(|error| tracing::error!(%error, kind, "a change cannot be told as JSON"))
        .ok()
}
