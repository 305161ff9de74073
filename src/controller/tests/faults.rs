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
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::{
    super::{Operator, reconcile::reconcile},
    fake_api::{Answer, FakeApi, Place},
    fake_gateways::FakeGateways,
    fake_memgraph::FakeMemgraph,
    growth::ask,
    reconciling::{GATEWAY, NAMESPACE, VERSION, api, claim, cluster, gateways, pod, process},
};
use crate::{
    api::{Phase, names},
    traces::Traces,
};

/// So many instances a course has at most.
const INSTANCES: u8 = 3;

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

/// What a course begins with.
#[derive(Debug)]
enum Event {
    /// It is made.
    Making,
    /// Its spec becomes another one.
    Change(Value),
    /// The pod of MAIN goes, with its process, and comes back.
    LossOfMain,
    /// It is deleted, and stays until all that belongs to it has gone.
    Deletion,
}

/// Kubernetes' own controllers and the kubelet.
struct Kubernetes {
    /// How many pods each instance has had.
    pods: [u32; INSTANCES as usize],
}

impl Kubernetes {
    /// What they do meanwhile.
    fn go_on(&mut self, api: &FakeApi, memgraph: &FakeMemgraph) {
        run_gateway(api);
        api.collect_garbage();
        delete_dependents(api);
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
        for ordinal in 0..INSTANCES {
            let name = names::instance("demo", ordinal.into());
            let there = api.get("v1", "pods", NAMESPACE, &name).is_some();
            if i64::from(ordinal) < wanted && !there {
                self.start(api, memgraph, ordinal, &set["spec"]["template"]);
            } else if i64::from(ordinal) >= wanted && there {
                api.remove("v1", "pods", NAMESPACE, &name);
                if set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Delete" {
                    api.remove(
                        "v1",
                        "persistentvolumeclaims",
                        NAMESPACE,
                        &names::data_claim(&name),
                    );
                }
            }
        }
    }

    /// An instance's next pod, from its set's template, with another process on the same volume.
    fn start(&mut self, api: &FakeApi, memgraph: &FakeMemgraph, ordinal: u8, template: &Value) {
        let name = names::instance("demo", ordinal.into());
        let earlier = &mut self.pods[usize::from(ordinal)];
        if *earlier > 0 {
            memgraph.restart(ordinal);
        }
        *earlier += 1;
        let life = format!("{name}-{earlier}");
        let address = format!("10.0.0.{ordinal}");
        let mut pod = pod(&name, names::INSTANCE, names::INSTANCE_CONTAINER, &address);
        pod["metadata"]["uid"] = json!(life);
        pod["metadata"]["annotations"] = template["metadata"]["annotations"].clone();
        pod["spec"]["containers"] = template["spec"]["containers"].clone();
        pod["status"]["containerStatuses"][0]["containerID"] = json!(format!("containerd://{life}"));
        api.put("pods", pod);
        let data = names::data_claim(&name);
        if api
            .get("v1", "persistentvolumeclaims", NAMESPACE, &data)
            .is_none()
        {
            api.put("persistentvolumeclaims", claim(&name));
        }
    }
}

/// The one gateway is there while its Deployment wants any.
fn run_gateway(api: &FakeApi) {
    let name = "demo-gateway-x";
    let deployment = api.get("apps/v1", "deployments", NAMESPACE, "demo-gateway");
    let Some(wanted) = deployment.and_then(|deployment| deployment["spec"]["replicas"].as_i64()) else {
        return;
    };
    match (wanted, api.get("v1", "pods", NAMESPACE, name)) {
        (0, Some(_)) => api.remove("v1", "pods", NAMESPACE, name),
        (1.., None) => api.put("pods", pod(name, names::GATEWAY, "gateway", GATEWAY)),
        _ => {}
    }
}

/// One more object of a cluster that is being deleted goes, its pods with their set; at last the cluster itself.
fn delete_dependents(api: &FakeApi) {
    let is_leaving = |cluster: &Value| !cluster["metadata"]["deletionTimestamp"].is_null();
    if !api
        .get(VERSION, "memgraphclusters", NAMESPACE, "demo")
        .is_some_and(|c| is_leaving(&c))
    {
        return;
    }
    let objects = api.objects();
    let owned = |object: &Value| {
        object.pointer("/metadata/ownerReferences/0/kind") == Some(&json!("MemgraphCluster"))
    };
    let mut places = objects
        .iter()
        .filter(|(_, object)| owned(object))
        .map(|(place, _)| place);
    let (api_version, plural, namespace, name) = match places.next() {
        Some(place) => place.clone(),
        None => [VERSION, "memgraphclusters", NAMESPACE, "demo"]
            .map(str::to_owned)
            .into(),
    };
    if plural == "statefulsets" || plural == "deployments" {
        for pod in objects.keys().filter(|place| place.1 == "pods") {
            let is_gateway = pod.3.starts_with("demo-gateway");
            if is_gateway == (plural == "deployments") {
                api.remove(&pod.0, &pod.1, &pod.2, &pod.3);
            }
        }
    }
    api.remove(&api_version, &plural, &namespace, &name);
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
    kubernetes: Kubernetes,
    line: Arc<Line>,
    operator: Arc<Operator<FakeMemgraph, FakeGateways>>,
}

impl Run {
    async fn begin(spec: Value, fault: Option<(Fault, usize)>) -> Self {
        let (api, memgraph, gateways) = (api(), FakeMemgraph::fresh(INSTANCES), gateways());
        // The set makes them.
        for ordinal in 0..INSTANCES {
            let instance = names::instance("demo", ordinal.into());
            let data = names::data_claim(&instance);
            api.remove("v1", "pods", NAMESPACE, &instance);
            api.remove("v1", "persistentvolumeclaims", NAMESPACE, &data);
        }
        ask(&api, spec);
        let line = Line::new(&api, fault);
        let operator = process(line.client(), &memgraph, gateways.clone(), Traces::default()).await;
        Self {
            api,
            memgraph,
            gateways,
            kubernetes: Kubernetes {
                pods: [0; INSTANCES as usize],
            },
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

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Making => {}
            Event::Change(spec) => ask(&self.api, spec.clone()),
            Event::LossOfMain => {
                let main = cluster(&self.api).status.unwrap().main.unwrap();
                self.api.remove("v1", "pods", NAMESPACE, &main);
                self.kubernetes.go_on(&self.api, &self.memgraph);
            }
            Event::Deletion => {
                let mut leaving = self.object().unwrap();
                leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                leaving["metadata"]["generation"] =
                    json!(leaving["metadata"]["generation"].as_i64().unwrap() + 1);
                self.api.put("memgraphclusters", leaving);
            }
        }
    }

    fn object(&self) -> Option<Value> {
        self.api.get(VERSION, "memgraphclusters", NAMESPACE, "demo")
    }

    /// Whether the cluster is as its spec says, or gone.
    fn is_done(&self) -> bool {
        if self.object().is_none() {
            return true;
        }
        let cluster = cluster(&self.api);
        cluster.status.is_some_and(|status| {
            let updated = |condition: &Condition| condition.type_ == "UpToDate" && condition.status == "True";
            let holds = |kind: &str| {
                status
                    .conditions
                    .iter()
                    .any(|c| c.type_ == kind && c.status == "True")
            };
            if cluster.spec.hibernated {
                return status.observed_generation == cluster.metadata.generation
                    && holds("Hibernated")
                    && status.replicas == 0;
            }
            status.observed_generation == cluster.metadata.generation
                && status.phase == Some(Phase::Operational)
                && status.ready_replicas == cluster.spec.replicas
                && status.replicas == cluster.spec.replicas
                && status.conditions.iter().any(updated)
        })
    }

    /// Goes on until nothing is left to do, and nothing is written for so many seconds: longer than it takes to watch again.
    async fn end(&mut self, what: &str, seconds: u32) {
        let mut error = None;
        let ending = async {
            let mut quiet = 0;
            while quiet < seconds {
                let before = (self.line.writes(), self.api.objects());
                if self.object().is_some() {
                    // What fails is tried again.
                    let reconciled =
                        reconcile(Arc::new(cluster(&self.api)), Arc::clone(&self.operator)).await;
                    error = reconciled.err();
                }
                if self.line.is_dead() {
                    self.replace(None).await;
                }
                self.kubernetes.go_on(&self.api, &self.memgraph);
                let pause = if self.is_done() { 1_000 } else { 100 };
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let rests = before == (self.line.writes(), self.api.objects());
                quiet = if rests && self.is_done() { quiet + 1 } else { 0 };
            }
        };
        if tokio::time::timeout(Duration::from_secs(300), ending)
            .await
            .is_err()
        {
            let status = cluster(&self.api).status;
            panic!("{what}: no end; the last error is {error:?}, the status {status:#?}");
        }
    }
}

/// Runs a course, after the cluster was like each of `before`. Returns what came of it, and how many writes it took.
async fn run(before: &[Value], event: &Event, fault: Option<(Fault, usize)>) -> (Outcome, usize) {
    let what = format!("{event:?} of {before:?} with {fault:?}");
    let made = matches!(event, Event::Making);
    let [first, later @ ..] = before else {
        panic!("a cluster is like something before {event:?}");
    };
    let mut run = Run::begin(first.clone(), fault.filter(|_| made)).await;
    if !made {
        run.end(&what, 1).await;
        for spec in later {
            run.happens(&Event::Change(spec.clone()));
            run.end(&what, 1).await;
        }
        run.replace(fault).await;
        run.happens(event);
    }
    run.end(&what, 3).await;
    (outcome(&run.api, &run.memgraph), run.line.writes())
}

/// A course ends the same with each fault at each of its writes.
async fn each_fault_changes_nothing(before: Value, event: Event) {
    after_each_fault_it_is_the_same(&[before], event).await;
}

async fn after_each_fault_it_is_the_same(before: &[Value], event: Event) {
    let (expected, writes) = run(before, &event, None).await;
    assert!(writes >= 1, "{event:?} takes no write");
    for fault in FAULTS {
        for at in 1..=writes {
            let (outcome, _) = run(before, &event, Some((fault, at))).await;
            let place = expected
                .0
                .keys()
                .find(|key| expected.0.get(key) != outcome.0.get(key));
            assert_eq!(
                (place.map(|place| expected.0.get(place)), &expected.1),
                (place.map(|place| outcome.0.get(place)), &outcome.1),
                "{event:?}: {fault:?} at write {at}: {place:?}"
            );
            assert_eq!(
                expected.0.len(),
                outcome.0.len(),
                "{event:?}: {fault:?} at write {at}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_cluster_is_made() {
    each_fault_changes_nothing(json!({}), Event::Making).await;
}

#[tokio::test(start_paused = true)]
async fn when_an_instance_is_added() {
    each_fault_changes_nothing(json!({"replicas": 2}), Event::Change(json!({"replicas": 3}))).await;
}

#[tokio::test(start_paused = true)]
async fn when_an_instance_is_taken_away() {
    each_fault_changes_nothing(json!({"replicas": 3}), Event::Change(json!({"replicas": 2}))).await;
}

#[tokio::test(start_paused = true)]
async fn when_volumes_grow() {
    each_fault_changes_nothing(json!({}), Event::Change(json!({"storage": {"size": "20Gi"}}))).await;
}

#[tokio::test(start_paused = true)]
async fn when_volumes_that_come_later_are_to_be_smaller() {
    each_fault_changes_nothing(json!({"storage": {"size": "20Gi"}}), Event::Change(json!({}))).await;
}

#[tokio::test(start_paused = true)]
async fn when_volumes_grow_that_are_deleted_with_the_cluster() {
    let policy = json!({"whenDeleted": "Delete"});
    let after = json!({"storage": {"retentionPolicy": policy, "size": "20Gi"}});
    each_fault_changes_nothing(
        json!({"storage": {"retentionPolicy": policy}}),
        Event::Change(after),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_the_gateway_is_switched_off() {
    each_fault_changes_nothing(json!({}), Event::Change(json!({"gateway": {"enabled": false}}))).await;
}

/// Each instance gets another pod, MAIN after it has moved.
#[tokio::test(start_paused = true)]
async fn when_flags_change() {
    each_fault_changes_nothing(json!({}), Event::Change(json!({"config": {"log-level": "INFO"}}))).await;
}

#[tokio::test(start_paused = true)]
async fn when_memgraph_is_upgraded() {
    let image = |tag| json!({"image": format!("memgraph/memgraph:{tag}")});
    each_fault_changes_nothing(image("3.12.0"), Event::Change(image("3.12.1"))).await;
}

#[tokio::test(start_paused = true)]
async fn when_main_is_lost() {
    each_fault_changes_nothing(json!({}), Event::LossOfMain).await;
}

/// Volumes would be deleted with the instances that are taken away.
fn with_volumes_that_go(spec: Value) -> Value {
    let mut spec = spec;
    spec["storage"] = json!({"retentionPolicy": {"whenScaled": "Delete"}});
    spec
}

#[tokio::test(start_paused = true)]
async fn when_the_cluster_is_put_to_sleep() {
    let asleep = with_volumes_that_go(json!({"hibernated": true}));
    each_fault_changes_nothing(with_volumes_that_go(json!({})), Event::Change(asleep)).await;
}

/// It gets another image and an instance less while it sleeps.
#[tokio::test(start_paused = true)]
async fn when_the_cluster_is_woken_up_with_another_spec() {
    let before = [json!({}), json!({"hibernated": true})].map(with_volumes_that_go);
    let awake = with_volumes_that_go(json!({"replicas": 2, "image": "memgraph/memgraph:3.12.1"}));
    after_each_fault_it_is_the_same(&before, Event::Change(awake)).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_cluster_is_deleted() {
    each_fault_changes_nothing(json!({}), Event::Deletion).await;
}
