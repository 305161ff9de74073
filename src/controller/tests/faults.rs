//! Whatever goes wrong between the operator and the API server, and at whichever write: the objects are the same in the end.
//!
//! Each course is run without a fault first, and then once with each fault at each of its writes. After a death another
//! process takes over, which knows nothing of the first one. `make test-faults` runs this alone.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::{
    super::{Operator, reconcile::reconcile},
    fake_api::{Answer, FakeApi, Place},
    fake_gateways::FakeGateways,
    fake_memgraph::FakeMemgraph,
    growth::ask,
    reconciling::{NAMESPACE, api, claim, cluster, gateways, pod, process},
};
use crate::{
    api::{Phase, names},
    traces::Traces,
};

/// What goes wrong at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The process ends after it.
    Death,
    /// It is carried out, and nobody hears of it.
    LostReply,
    /// It never arrives.
    LostRequest,
    /// The API server refuses it: somebody else has written.
    Conflict,
    /// All watches break off before it, so that nobody is told of it, and where they were is forgotten (410): until they have
    /// listed everything again, caches show how things were. (A list itself is never old: the operator asks for the newest.)
    LostEvents,
}

const FAULTS: [Fault; 5] = [
    Fault::Death,
    Fault::LostReply,
    Fault::LostRequest,
    Fault::Conflict,
    Fault::LostEvents,
];

/// A way to the API server on which something goes wrong.
struct Line {
    api: FakeApi,
    /// What, and at the how manieth write.
    fault: Option<(Fault, usize)>,
    writes: AtomicUsize,
}

impl Line {
    fn new(api: &FakeApi, fault: Option<(Fault, usize)>) -> Arc<Self> {
        Arc::new(Self {
            api: api.clone(),
            fault,
            writes: AtomicUsize::new(0),
        })
    }

    fn client(self: &Arc<Self>) -> Client {
        let line = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let line = Arc::clone(&line);
            async move { line.pass(request).await }
        });
        Client::new(service, "default")
    }

    fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }

    fn is_dead(&self) -> bool {
        self.fault
            .is_some_and(|(fault, at)| fault == Fault::Death && self.writes() > at)
    }

    async fn pass(&self, request: Request<Body>) -> io::Result<Answer> {
        // Events are for people; they are sent beside, in no order.
        let is_write = request.method() != Method::GET && !request.uri().path().contains("events.k8s.io");
        let number = match is_write {
            true => self.writes.fetch_add(1, Ordering::Relaxed) + 1,
            false => self.writes(),
        };
        let broken = || Err(io::Error::from(io::ErrorKind::ConnectionReset));
        match self.fault {
            Some((Fault::Death, at)) if number > at => broken(),
            Some((Fault::LostReply, at)) if is_write && number == at => {
                self.api.answer(request).await;
                broken()
            }
            Some((Fault::LostRequest, at)) if is_write && number == at => broken(),
            Some((Fault::Conflict, at)) if is_write && number == at => {
                let refusal = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409, "reason": "Conflict",
                    "message": "somebody else has written",
                });
                let body = Full::from(refusal.to_string().into_bytes()).boxed_unsync();
                let mut answer = Response::new(body);
                *answer.status_mut() = hyper::StatusCode::CONFLICT;
                Ok(answer)
            }
            fault => {
                if is_write && fault == Some((Fault::LostEvents, number)) {
                    self.api.break_watches();
                }
                Ok(self.api.answer(request).await)
            }
        }
    }
}

/// What happens to a cluster.
struct Course {
    name: &'static str,
    before: Value,
    /// None: it is made.
    after: Option<Value>,
}

fn courses() -> [Course; 7] {
    let change = |name, before, after| Course {
        name,
        before,
        after: Some(after),
    };
    [
        Course {
            name: "create",
            before: json!({}),
            after: None,
        },
        change("scale up", json!({"replicas": 2}), json!({"replicas": 3})),
        change("scale down", json!({"replicas": 3}), json!({"replicas": 2})),
        change("resize", json!({}), json!({"storage": {"size": "20Gi"}})),
        change(
            "resize what is deleted with the cluster",
            json!({"storage": {"retentionPolicy": {"whenDeleted": "Delete"}}}),
            json!({"storage": {"retentionPolicy": {"whenDeleted": "Delete"}, "size": "20Gi"}}),
        ),
        change("gateway off", json!({}), json!({"gateway": {"enabled": false}})),
        change("other flags", json!({}), json!({"config": {"log-level": "INFO"}})),
    ]
}

/// What Kubernetes' own controllers do meanwhile.
fn kubernetes(api: &FakeApi) {
    api.collect_garbage();
    api.observe_sets();
    for (place, mut object) in api.objects() {
        let request = object["spec"]["resources"]["requests"]["storage"].clone();
        if place.1 == "persistentvolumeclaims" && object["status"]["capacity"]["storage"] != request {
            object["status"]["capacity"]["storage"] = request;
            api.put("persistentvolumeclaims", object);
        }
    }
    let Some(set) = api.get("apps/v1", "statefulsets", NAMESPACE, "demo") else {
        return;
    };
    let wanted = set["spec"]["replicas"].as_i64().unwrap();
    for ordinal in 0..3 {
        let name = names::instance("demo", ordinal);
        let there = api.get("v1", "pods", NAMESPACE, &name).is_some();
        if i64::from(ordinal) < wanted && !there {
            let address = format!("10.0.0.{ordinal}");
            api.put(
                "pods",
                pod(&name, names::INSTANCE, names::INSTANCE_CONTAINER, &address),
            );
            api.put("persistentvolumeclaims", claim(&name));
        } else if i64::from(ordinal) >= wanted && there {
            api.remove("v1", "pods", NAMESPACE, &name);
        }
    }
}

/// What two runs are compared by: what was applied, what claims ask for, and which instance is what.
type Outcome = (BTreeMap<Place, Value>, Vec<(bool, usize)>);

fn outcome(api: &FakeApi, memgraph: &FakeMemgraph) -> Outcome {
    let objects = api.objects().into_iter().filter_map(|(place, mut object)| {
        match place.1.as_str() {
            "memgraphclusters" => return None,
            // Keys and passwords are made up each time.
            "secrets" => object = Value::Null,
            // Notes have terms and numbers.
            "persistentvolumeclaims" => object = object["spec"].take(),
            _ => {
                let metadata = object["metadata"].as_object_mut().unwrap();
                metadata.retain(|field, _| !matches!(field.as_str(), "uid" | "resourceVersion"));
            }
        }
        Some((place, object))
    });
    (objects.collect(), memgraph.roles())
}

struct Run {
    api: FakeApi,
    memgraph: FakeMemgraph,
    gateways: FakeGateways,
    line: Arc<Line>,
    operator: Arc<Operator<FakeMemgraph, FakeGateways>>,
}

impl Run {
    async fn begin(spec: Value, fault: Option<(Fault, usize)>) -> Self {
        let (api, memgraph, gateways) = (api(), FakeMemgraph::fresh(3), gateways());
        for ordinal in spec["replicas"].as_i64().unwrap_or(3)..3 {
            let instance = format!("demo-{ordinal}");
            api.remove("v1", "pods", NAMESPACE, &instance);
            api.remove(
                "v1",
                "persistentvolumeclaims",
                NAMESPACE,
                &names::data_claim(&instance),
            );
        }
        ask(&api, spec);
        let line = Line::new(&api, fault);
        let operator = process(line.client(), &memgraph, gateways.clone(), Traces::default()).await;
        Self {
            api,
            memgraph,
            gateways,
            line,
            operator,
        }
    }

    /// Another process takes the place of this one.
    async fn replace(&mut self, fault: Option<(Fault, usize)>) {
        self.line = Line::new(&self.api, fault);
        self.operator = process(
            self.line.client(),
            &self.memgraph,
            self.gateways.clone(),
            Traces::default(),
        )
        .await;
    }

    fn is_done(&self) -> bool {
        let cluster = cluster(&self.api);
        cluster.status.is_some_and(|status| {
            status.observed_generation == cluster.metadata.generation
                && status.phase == Some(Phase::Operational)
                && status.ready_replicas == cluster.spec.replicas
                && status.replicas == cluster.spec.replicas
        })
    }

    /// Goes on until nothing is left to do, and nothing is written for so many seconds: longer than it takes to watch again.
    async fn end(&mut self, what: &str, seconds: u32) {
        let ending = async {
            let mut quiet = 0;
            while quiet < seconds {
                let before = (self.line.writes(), self.api.objects());
                // What fails is tried again.
                let _ = reconcile(Arc::new(cluster(&self.api)), Arc::clone(&self.operator)).await;
                if self.line.is_dead() {
                    self.replace(None).await;
                }
                kubernetes(&self.api);
                tokio::time::sleep(Duration::from_secs(1)).await;
                let rests = before == (self.line.writes(), self.api.objects());
                quiet = if rests && self.is_done() { quiet + 1 } else { 0 };
            }
        };
        if tokio::time::timeout(Duration::from_secs(300), ending)
            .await
            .is_err()
        {
            panic!("{what}: no end; the status is {:#?}", cluster(&self.api).status);
        }
    }
}

/// Runs a course. Returns what came of it, and how many writes it took.
async fn run(course: &Course, fault: Option<(Fault, usize)>) -> (Outcome, usize) {
    let what = format!("{} with {fault:?}", course.name);
    let made = course.after.is_none();
    let mut run = Run::begin(course.before.clone(), fault.filter(|_| made)).await;
    if let Some(after) = &course.after {
        run.end(&what, 1).await;
        run.replace(fault).await;
        ask(&run.api, after.clone());
    }
    run.end(&what, 3).await;
    (outcome(&run.api, &run.memgraph), run.line.writes())
}

#[tokio::test(start_paused = true)]
async fn each_course_ends_the_same_with_each_fault_at_each_write() {
    for course in courses() {
        let (expected, writes) = run(&course, None).await;
        assert!(writes >= 2, "{} takes {writes} writes", course.name);
        for fault in FAULTS {
            for at in 1..=writes {
                let (outcome, _) = run(&course, Some((fault, at))).await;
                let place = expected
                    .0
                    .keys()
                    .find(|key| expected.0.get(key) != outcome.0.get(key));
                assert_eq!(
                    (place.map(|place| expected.0.get(place)), &expected.1),
                    (place.map(|place| outcome.0.get(place)), &outcome.1),
                    "{}: {fault:?} at write {at}: {place:?}",
                    course.name
                );
                assert_eq!(
                    expected.0.len(),
                    outcome.0.len(),
                    "{}: {fault:?} at write {at}",
                    course.name
                );
            }
        }
    }
}
