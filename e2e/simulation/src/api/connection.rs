//! The way from one process to the API server.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    request::{self, Resource, Target},
    selector::Selector,
    server::ApiServer,
    watching::{LONGEST, Watching},
};
use crate::{
    life::Life,
    protocol::Protocol,
    signal::{Follower, Signal},
    trace::Trace,
};

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// How the way to the API server is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// The longest time a message takes, one way.
    pub delay: Duration,
    /// How much later than they happen changes are shown by watches.
    pub lag: Duration,
    /// Connections are refused and reset.
    pub refuses: bool,
    /// Nothing gets through, and nobody is told so.
    pub silent: bool,
    /// The server itself is away, whatever else is wrong with this way.
    pub outage: Option<Outage>,
    /// So many requests are taken, and never answered, as on connections to a machine that has vanished. Those for
    /// Leases and watches go over others.
    pub swallows: u32,
    /// How likely an answer is lost although the request was carried out.
    pub lost_answers: f64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(3),
            lag: Duration::from_millis(10),
            refuses: false,
            silent: false,
            outage: None,
            swallows: 0,
            lost_answers: 0.0,
        }
    }
}

/// How somebody notices that the server is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Connections are refused and reset.
    Refuses,
    /// Nothing gets through.
    Silent,
}

/// A way that can be made better or worse.
#[derive(Clone, Debug, Default)]
pub struct Way {
    conditions: Signal<Conditions>,
}

impl Way {
    /// How it is now, and whenever it changes.
    #[must_use]
    pub fn conditions(&self) -> Follower<Conditions> {
        self.conditions.subscribe()
    }

    /// Changes it.
    pub fn set(&self, change: impl FnOnce(&mut Conditions)) {
        self.conditions.send_modify(change);
    }
}

/// The ways of all nodes and operators, by their names.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    ways: Arc<Mutex<BTreeMap<String, Way>>>,
}

impl Ways {
    /// The way of this one.
    #[must_use]
    pub fn of(&self, name: &str) -> Way {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.entry(name.to_owned()).or_default().clone()
    }
}

/// After what time a kernel gives up what is not confirmed: `tcp_retries2`, a quarter of an hour.
const GIVEN_UP: Duration = Duration::from_secs(924);

/// A process's connection to the API server.
#[derive(Clone)]
pub struct Connection {
    server: ApiServer,
    way: Way,
    life: Life,
    chance: Arc<Mutex<Rng>>,
    trace: Trace,
    name: String,
    /// Who is to know which clusters this process was told of.
    protocol: Option<Protocol>,
}

impl Connection {
    /// The connection of the process of this name.
    #[must_use]
    pub fn new(server: ApiServer, way: Way, life: Life, name: &str, chance: Rng, trace: Trace) -> Self {
        Self {
            server,
            way,
            life,
            chance: Arc::new(Mutex::new(chance)),
            trace,
            name: name.to_owned(),
            protocol: None,
        }
    }

    /// The same, of an operator whose protocol is followed.
    #[must_use]
    pub fn followed_by(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// A client that uses it.
    #[must_use]
    pub fn client(&self) -> Client {
        let connection = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let connection = connection.clone();
            async move { connection.send(request).await }
        });
        Client::new(service, "default")
    }

    fn chance<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One way, for one message.
    async fn travel(&self) -> io::Result<()> {
        self.awake().await?;
        let mut conditions = self.way.conditions();
        let now = conditions.get_and_see();
        if now.is_silent() {
            // A connection whose peer was silent is over; it is known when the way is there again.
            conditions.wait_for(|now| !now.is_silent()).await;
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the API server did not answer",
            ));
        }
        let most = u64::try_from(now.delay.as_millis()).unwrap_or(u64::MAX);
        sleep(Duration::from_millis(self.chance(|chance| chance.u64(0..=most)))).await;
        if conditions.get().blocked() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "the API server is away",
            ));
        }
        Ok(())
    }

    async fn awake(&self) -> io::Result<()> {
        self.life.awake().await.map_err(io::Error::other)
    }

    async fn send(&self, request: Request<Body>) -> io::Result<Answer> {
        self.travel().await?;
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let target = Target::of(parts.uri.path())
            .ok_or_else(|| io::Error::other(format!("no object's path: {}", parts.uri.path())))?;
        let query = request::query(&parts.uri);
        if query
            .get("watch")
            .is_some_and(|value| value == "true" || value == "1")
        {
            return Ok(self.watch(target, &query));
        }
        if target.resource.plural != "leases" && self.way.conditions().get().swallows > 0 {
            self.way.set(|way| way.swallows -= 1);
            sleep(GIVEN_UP).await;
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body)?
        };
        let lag = self.way.conditions().get().lag;
        let served = self.server.serve(&parts, &target, &query, body, lag);
        let code = match &served {
            Ok(_) if parts.method == Method::POST => 201,
            Ok(_) => 200,
            Err(refusal) => refusal.code,
        };
        if parts.method != Method::GET {
            self.trace.note(|| {
                format!(
                    "api {} {} {} -> {code}",
                    self.name,
                    parts.method,
                    parts.uri.path()
                )
            });
        }
        let lost = self.way.conditions().get().lost_answers;
        if lost > 0.0 && self.chance(Rng::f64) < lost {
            self.travel().await?;
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the answer was lost",
            ));
        }
        self.travel().await?;
        self.awake().await?;
        let answer = served.unwrap_or_else(|refusal| Arc::new(refusal.status()));
        if let Some(protocol) = &self.protocol
            && parts.method == Method::GET
            && target.resource == Resource::clusters()
        {
            protocol.told(&self.name, &answer);
        }
        let body = Full::from(serde_json::to_vec(&*answer)?)
            .map_err(|never| match never {})
            .boxed_unsync();
        Response::builder()
            .status(code)
            .body(body)
            .map_err(io::Error::other)
    }

    fn watch(&self, target: Target, query: &BTreeMap<String, String>) -> Answer {
        let mut store = self.server.store();
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok());
        let lines = Watching {
            server: self.server.clone(),
            selector: Selector::of(&target, query),
            version: number("resourceVersion").unwrap_or_else(|| store.version()),
            ends: Instant::now() + number("timeoutSeconds").map_or(LONGEST, Duration::from_secs),
            way: self.way.clone(),
            life: self.life.clone(),
            changed: store.changes(&target.resource),
            resource: target.resource,
        };
        Response::new(StreamBody::new(lines.lines()).boxed_unsync())
    }
}
