//! Tests over all objects at once.

mod containers;
mod l_rows;
mod manifests;
mod network;
mod pod_template;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
};

use k8s_openapi::{
    api::core::v1::ResourceRequirements,
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference},
    },
};
use kube::Resource;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::{
        MemgraphClusterSpec, ReplicationMode, Retention, ServiceType,
        ledger::{DataCopy, Ledger},
    },
    memgraph::Credentials,
};

const UID: &str = "9a4f5d1c-5d0e-4a2e-9d35-0d6a3a1f7e11";

fn stored(name: &str, spec: MemgraphClusterSpec) -> MemgraphCluster {
    let mut cluster = MemgraphCluster::new(name, spec);
    cluster.meta_mut().namespace = Some("graphs".into());
    cluster.meta_mut().uid = Some(UID.into());
    cluster
}

fn operator() -> Installation {
    Installation {
        image: OperatorImage {
            name: "ghcr.io/memgraph-operator/memgraph-operator:0.1.0".into(),
            pull_policy: None,
        },
        pods: OperatorPods::new(
            "memgraph-operator-system",
            "app.kubernetes.io/name=memgraph-operator",
        )
        .unwrap(),
        collector: None,
    }
}

fn with_memory_limit(quantity: &str) -> MemgraphClusterSpec {
    MemgraphClusterSpec {
        resources: Some(ResourceRequirements {
            limits: Some([("memory".to_owned(), Quantity(quantity.into()))].into()),
            ..ResourceRequirements::default()
        }),
        ..MemgraphClusterSpec::default()
    }
}

fn built(spec: MemgraphClusterSpec) -> Desired {
    desired(
        &stored("demo", spec),
        &operator(),
        names::DEFAULT_IMAGE,
        &Fingerprints::default(),
    )
    .unwrap()
}

/// What the API server makes of `spec: {}`.
fn defaults() -> MemgraphClusterSpec {
    serde_json::from_value(json!({})).unwrap()
}

fn keys(desired: &Desired) -> Vec<String> {
    let key = |key: &ObjectKey| format!("{:?} {}", key.kind, key.name);
    let applied = desired.objects.iter().map(|object| key(object.key()));
    applied
        .chain(desired.absent.iter().map(|k| format!("no {}", key(k))))
        .collect()
}

/// The objects of each example, as they are sent. `UPDATE_GOLDEN=1 cargo test resources` writes the files anew.
#[test]
fn the_examples_objects_are_as_committed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = root.join("src/resources/golden");
    let mut examples = BTreeSet::new();
    for example in fs::read_dir(root.join("examples")).unwrap() {
        let example = example.unwrap().path();
        if example.is_dir() {
            // What other tools are told of clusters.
            continue;
        }
        let file = example.file_name().unwrap().to_owned();
        let mut cluster: MemgraphCluster =
            serde_yaml::from_str(&fs::read_to_string(&example).unwrap()).unwrap();
        cluster.meta_mut().namespace = Some("graphs".into());
        cluster.meta_mut().uid = Some(UID.into());
        let secrets = Fingerprints {
            certificate: cluster.spec.tls.as_ref().map(|_| "0123456789abcdef".to_owned()),
            ..Fingerprints::default()
        };
        let image = cluster.spec.image.as_deref().unwrap_or(names::DEFAULT_IMAGE);
        let desired = desired(&cluster, &operator(), image, &secrets).unwrap();
        let documents = desired
            .objects
            .iter()
            .map(|object| serde_yaml::to_string(&object.content()).unwrap());
        let actual = documents.collect::<Vec<_>>().join("---\n");
        let path = golden.join(&file);
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(&golden).unwrap();
            fs::write(&path, &actual).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == actual,
            "{} differs from what is built now; look at the difference after UPDATE_GOLDEN=1",
            path.display()
        );
        examples.insert(file);
    }
    let committed: BTreeSet<_> = fs::read_dir(golden)
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(
        committed, examples,
        "each example has a golden file, and each golden file an example"
    );
}

#[test]
fn a_cluster_consists_of_these_objects_in_this_order() {
    assert_eq!(
        keys(&built(defaults())),
        [
            "NetworkPolicy demo-instances",
            "ServiceAccount demo-instance",
            "Role demo-instance",
            "RoleBinding demo-instance",
            "ConfigMap demo-start-gate",
            "Service demo-instances",
            "StatefulSet demo",
            "PodDisruptionBudget demo-instances",
            "ServiceAccount demo-gateway",
            "Role demo-gateway",
            "RoleBinding demo-gateway",
            "Service demo-gateway",
            "Service demo-gateway-read",
            "PodDisruptionBudget demo-gateway",
            "Deployment demo-gateway",
            "NetworkPolicy demo-gateway",
        ]
    );
}

#[test]
fn what_is_switched_off_must_be_absent() {
    let service = |name: String| ObjectKey::new(Kind::Service, name);
    let mut spec = defaults();
    spec.gateway.read.enabled = Some(false);
    let without = built(spec.clone());
    assert!(without.is_left_over(&service(names::read_gateway("demo"))));
    assert!(!without.is_left_over(&service(names::gateway("demo"))));

    spec.gateway.enabled = false;
    let without = built(spec);
    assert!(without.is_left_over(&service(names::gateway("demo"))));
    assert!(!without.is_left_over(&service(names::headless_service("demo"))));
    assert_eq!(
        keys(&without),
        [
            "NetworkPolicy demo-instances",
            "ServiceAccount demo-instance",
            "Role demo-instance",
            "RoleBinding demo-instance",
            "ConfigMap demo-start-gate",
            "Service demo-instances",
            "StatefulSet demo",
            "PodDisruptionBudget demo-instances",
            "no PodDisruptionBudget demo-gateway",
            "no Deployment demo-gateway",
            "no RoleBinding demo-gateway",
            "no Role demo-gateway",
            "no ServiceAccount demo-gateway",
            "no NetworkPolicy demo-gateway",
        ]
    );
}

#[test]
fn services_have_the_names_that_the_spec_gives_them() {
    let of = |write: &str, read: &str| -> MemgraphClusterSpec {
        let service = |name: &str| json!({"service": {"name": name}});
        serde_json::from_value(json!({"gateway": {"readWrite": service(write), "read": service(read)}}))
            .unwrap()
    };
    let target = |spec: MemgraphClusterSpec, name: &str| {
        let built = built(spec);
        let key = ObjectKey::new(Kind::Service, name.into());
        let service = built.objects.iter().find(|object| *object.key() == key).unwrap();
        service.content()["spec"]["ports"][0]["targetPort"].take()
    };
    assert_eq!(target(of("graph", "graph-readers"), "graph"), "bolt");
    assert_eq!(target(of("graph", "graph-readers"), "graph-readers"), "bolt-read");
    // They change places.
    assert_eq!(target(of("graph-readers", "graph"), "graph"), "bolt-read");
    for name in ["demo-gateway", "demo-gateway-read"] {
        let key = ObjectKey::new(Kind::Service, name.into());
        assert!(built(of("graph", "graph-readers")).is_left_over(&key), "{name}");
    }
    let application = |spec: MemgraphClusterSpec| {
        let user = Credentials::new("app", "secret").unwrap();
        super::application(&stored("demo", spec), &user, "cluster.local").unwrap()
    };
    let secret = application(of("graph", "graph-readers"));
    assert_eq!(text(&secret, "host"), Some("graph.graphs.svc.cluster.local"));
    assert_eq!(
        text(&secret, "readUri"),
        Some("bolt://graph-readers.graphs.svc.cluster.local:7687")
    );
}

#[test]
fn applications_are_told_to_speak_as_main_does_and_not_as_the_spec_asks_it_to() {
    let uri = |spec: Value, main_takes_tls: Option<bool>| {
        let mut cluster = stored("demo", serde_json::from_value(spec).unwrap());
        let main =
            main_takes_tls.map(|tls| json!({"name": "demo-0", "role": "Main", "health": "Up", "tls": tls}));
        let ledger = Ledger {
            main: DataCopy {
                instance: "demo-0".to_owned(),
                ..DataCopy::default()
            },
            ..Ledger::default()
        };
        let status = json!({"instances": Vec::from_iter(main), "ledger": ledger});
        cluster.status = Some(serde_json::from_value(status).unwrap());
        let user = Credentials::new("app", "secret").unwrap();
        let secret = super::application(&cluster, &user, "cluster.local").unwrap();
        text(&secret, "uri")
            .unwrap()
            .split_once(':')
            .unwrap()
            .0
            .to_owned()
    };
    let encrypted = || json!({"tls": {"secretRef": {"name": "graph-tls"}}});
    assert_eq!(uri(encrypted(), None), "bolt+s", "all begin with it");
    assert_eq!(
        uri(encrypted(), Some(false)),
        "bolt",
        "it is the last one to change"
    );
    assert_eq!(uri(encrypted(), Some(true)), "bolt+s");
    assert_eq!(uri(json!({}), Some(true)), "bolt+s", "likewise when TLS goes");
    let ended = json!({"gateway": {"tls": {"secretRef": {"name": "graph-tls"}}}});
    assert_eq!(uri(ended, Some(false)), "bolt+s");
}

#[test]
fn no_two_services_have_one_name() {
    for (write, read, field) in [
        ("demo-instances", "b", "gateway.readWrite.service.name"),
        ("a", "demo-instances", "gateway.read.service.name"),
        ("a", "a", "gateway.read.service.name"),
    ] {
        let service = |name: &str| json!({"service": {"name": name}});
        let spec = json!({"gateway": {"readWrite": service(write), "read": service(read)}});
        let cluster = stored("demo", serde_json::from_value(spec).unwrap());
        let error = desired(
            &cluster,
            &operator(),
            names::DEFAULT_IMAGE,
            &Fingerprints::default(),
        )
        .unwrap_err()
        .to_string();
        assert!(error.starts_with(field), "{error}");
    }
}

#[test]
fn a_single_pod_has_no_disruption_budget() {
    let mut spec = defaults();
    spec.replicas = 1;
    spec.gateway.replicas = 1;
    let keys = keys(&built(spec));
    assert!(keys.contains(&"no PodDisruptionBudget demo-instances".to_owned()));
    assert!(keys.contains(&"no PodDisruptionBudget demo-gateway".to_owned()));
    assert!(!keys.iter().any(|key| key.starts_with("PodDisruptionBudget")));
}

#[test]
fn a_cluster_that_is_not_stored_owns_nothing() {
    let mut cluster = stored("demo", MemgraphClusterSpec::default());
    cluster.meta_mut().uid = None;
    assert!(matches!(
        desired(
            &cluster,
            &operator(),
            names::DEFAULT_IMAGE,
            &Fingerprints::default()
        ),
        Err(Error::NotStored(_))
    ));
    cluster = stored("demo", MemgraphClusterSpec::default());
    cluster.meta_mut().namespace = None;
    assert!(matches!(
        desired(
            &cluster,
            &operator(),
            names::DEFAULT_IMAGE,
            &Fingerprints::default()
        ),
        Err(Error::NotStored(_))
    ));
}

#[test]
fn what_is_no_quantity_is_refused_by_name() {
    let spec = with_memory_limit("lots");
    let error = desired(
        &stored("demo", spec),
        &operator(),
        names::DEFAULT_IMAGE,
        &Fingerprints::default(),
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "resources.limits.memory: cannot be used");
}

#[test]
fn only_objects_of_this_very_cluster_are_ours() {
    let cluster = stored("demo", MemgraphClusterSpec::default());
    let metadata = Parent::of(&cluster)
        .unwrap()
        .metadata("demo".into(), names::INSTANCE);
    assert!(is_controlled_by(&metadata, &cluster));

    assert!(!is_controlled_by(&ObjectMeta::default(), &cluster));
    let mut namesake = cluster.clone();
    namesake.meta_mut().uid = Some("another".into());
    assert!(!is_controlled_by(&metadata, &namesake));
    assert!(is_left_behind(&metadata, &namesake) && !is_left_behind(&metadata, &cluster));
    for change in [
        |owner: &mut OwnerReference| owner.kind = "Other".into(),
        |owner: &mut OwnerReference| owner.name = "other".into(),
        |owner: &mut OwnerReference| owner.api_version = "example.org/v1alpha1".into(),
    ] {
        let mut foreign = metadata.clone();
        change(&mut foreign.owner_references.as_mut().unwrap()[0]);
        assert!(!is_left_behind(&foreign, &namesake));
    }
    let mut mere_owner = metadata;
    mere_owner.owner_references.as_mut().unwrap()[0].controller = None;
    assert!(!is_controlled_by(&mere_owner, &cluster));
}

fn statefulset(desired: &Desired) -> Value {
    let is_it = |object: &&Object| object.key().kind == Kind::StatefulSet;
    desired.objects.iter().find(is_it).unwrap().content()
}

#[test]
fn what_all_objects_inherit_takes_the_place_of_nothing_and_reaches_no_pod() {
    let spec: MemgraphClusterSpec = serde_json::from_value(json!({
        "inheritedMetadata": {
            // What an older definition might let through.
            "labels": {"team": "graphs", "app.kubernetes.io/name": "other", names::CLUSTER_LABEL: "other"},
            "annotations": {"example.com/owner": "graphs", "example.com/who": "all"},
        },
        "gateway": {"readWrite": {"service": {"annotations": {"example.com/who": "this"}, "labels": {"team": "this", "example.com/door": "front", "app.kubernetes.io/name": "other", names::CLUSTER_LABEL: "other"}}}},
    }))
    .unwrap();
    let (with, without) = (built(spec), built(defaults()));
    for (object, plain) in with.objects.iter().zip(&without.objects) {
        let (content, plain) = (object.content(), plain.content());
        let mut labels: BTreeMap<String, String> =
            serde_json::from_value(content["metadata"]["labels"].clone()).unwrap();
        let is_door = object.key().name == names::gateway("demo") && object.key().kind == Kind::Service;
        let (team, door, who) = if is_door {
            ("this", Some("front"), "this")
        } else {
            ("graphs", None, "all")
        };
        assert_eq!(labels.remove("team").as_deref(), Some(team));
        assert_eq!(labels.remove("example.com/door").as_deref(), door);
        assert_eq!(json!(labels), plain["metadata"]["labels"]);
        assert_eq!(content["metadata"]["annotations"]["example.com/owner"], "graphs");
        assert_eq!(content["metadata"]["annotations"]["example.com/who"], who);
        // Selectors, templates of pods and of claims.
        assert_eq!(content["spec"], plain["spec"], "{:?}", object.key());
    }
}

/// Nobody else's image follows it, and instances are not to be made anew for it.
#[test]
fn the_operators_image_is_pulled_everywhere_as_it_was_told() {
    let cluster = stored("demo", defaults());
    let mut operator = operator();
    let make = |operator: &Installation| {
        desired(&cluster, operator, names::DEFAULT_IMAGE, &Fingerprints::default()).unwrap()
    };
    let plain = make(&operator);
    operator.image.pull_policy = Some("Never".to_owned());
    let told = make(&operator);
    let instance = &statefulset(&told)["spec"]["template"];
    assert_eq!(instance["spec"]["initContainers"][0]["imagePullPolicy"], "Never");
    assert_eq!(instance["spec"]["containers"][0]["imagePullPolicy"], Value::Null);
    assert_eq!(
        instance["metadata"],
        statefulset(&plain)["spec"]["template"]["metadata"]
    );
    let is_gateways = |object: &&Object| object.key().kind == Kind::Deployment;
    let gateways = told.objects.iter().find(is_gateways).unwrap().content();
    assert_eq!(
        gateways["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"],
        "Never"
    );
}

/// Who has taken over a database gets no way to the API server with it.
#[test]
fn only_the_init_container_of_an_instance_gets_a_token() {
    let desired = built(with_memory_limit("1Gi"));
    let pod = &statefulset(&desired)["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    let with_token: Vec<_> = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|volume| volume.get("projected").is_some() || volume.get("secret").is_some())
        .map(|volume| volume["name"].clone())
        .collect();
    assert_eq!(with_token, ["api-access"]);
    let mounts = |container: &Value| container["volumeMounts"].to_string().contains("api-access");
    assert!(pod["containers"].as_array().unwrap().iter().all(|c| !mounts(c)));
    let init = &pod["initContainers"][0];
    assert!(mounts(init));
    assert_eq!(
        init["resources"], pod["containers"][0]["resources"],
        "its quality of service stays"
    );
}

#[test]
fn the_instances_see_nine_tenths_of_their_memory_limit() {
    let spec = with_memory_limit("1Gi");
    let desired = built(spec);
    let args = &statefulset(&desired)["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(
        args.as_array().unwrap().contains(&"--memory-limit=921".into()),
        "{args}"
    );
}

fn quantities() -> impl Strategy<Value = Option<ResourceRequirements>> {
    let amounts = || {
        let amount = "[0-9]{1,6}(\\.[0-9]{1,3})?(m|k|M|G|Ki|Mi|Gi|e3)?";
        prop::collection::btree_map("cpu|memory|ephemeral-storage", amount.prop_map(Quantity), 0..3)
    };
    prop::option::of(
        (prop::option::of(amounts()), prop::option::of(amounts())).prop_map(|(limits, requests)| {
            ResourceRequirements {
                claims: None,
                limits,
                requests,
            }
        }),
    )
}

prop_compose! {
    /// Specs as the schema lets them through.
    fn valid_specs()(
        replicas in 1..=20_i32,
        mode in prop::sample::select(vec![ReplicationMode::StrictSync, ReplicationMode::Sync, ReplicationMode::Async]),
        image in prop::option::of("[a-z]{1,20}/[a-z]{1,20}:[0-9.]{1,8}"),
        size in "[0-9]{1,4}(\\.[0-9]{1,2})?(M|G|Mi|Gi|Ti)?",
        storage_class_name in prop::option::of("[a-z]{1,20}"),
        retention in prop::sample::select(vec![Retention::Retain, Retention::Delete]),
        resources in quantities(),
        gateway_resources in quantities(),
        (enabled, read) in any::<(bool, bool)>(),
        (service, port) in (
            prop::sample::select(vec![ServiceType::ClusterIP, ServiceType::NodePort, ServiceType::LoadBalancer]),
            1..=65_535_i32,
        ),
        annotations in prop::collection::btree_map("[a-z./-]{1,30}", "\\PC{0,30}", 0..3),
        ranges in 0..3_usize,
        (protected, peers) in (any::<bool>(), 0..3_usize),
        config in prop::collection::btree_map("x[a-z0-9-]{0,30}", "\\PC{0,30}", 0..5),
    ) -> MemgraphClusterSpec {
        let mut spec = MemgraphClusterSpec { replicas, image, resources, config, ..MemgraphClusterSpec::default() };
        spec.replication.mode = mode;
        spec.storage.size = size;
        spec.storage.storage_class_name = storage_class_name;
        spec.storage.retention_policy.when_deleted = retention;
        spec.gateway.enabled = enabled;
        spec.gateway.resources = gateway_resources;
        spec.gateway.read.enabled = Some(read);
        spec.gateway.read_write.service.type_ = service;
        spec.gateway.read_write.service.port = port;
        spec.gateway.read_write.service.annotations = annotations;
        if service == ServiceType::LoadBalancer {
            let ranges = vec!["10.0.0.0/8".parse().unwrap(); ranges];
            spec.gateway.read_write.service.load_balancer_source_ranges = ranges;
        }
        spec.network_policy.enabled = protected;
        let peer = json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": []}});
        spec.network_policy.clients = serde_json::from_value(vec![peer; peers].into()).unwrap();
        spec
    }
}

/// What no object may hold: a null would take a default from the API server, and an empty map or list may be
/// dropped by it, so that the object would never look as applied.
fn assert_nothing_empty(at: &str, value: &Value) {
    match value {
        Value::Null => panic!("null at {at}"),
        Value::Array(items) => {
            assert!(!items.is_empty(), "empty list at {at}");
            items.iter().for_each(|item| assert_nothing_empty(at, item));
        }
        Value::Object(fields) => {
            assert!(
                !fields.is_empty() || at.ends_with(".emptyDir"),
                "empty map at {at}"
            );
            for (name, field) in fields {
                assert_nothing_empty(&format!("{at}.{name}"), field);
            }
        }
        _ => {}
    }
}

fn assert_well_formed(cluster: &str, object: &Object) {
    let content = object.content();
    let key = object.key();
    let resource = key.kind.api_resource();
    assert_eq!(content["apiVersion"], resource.api_version);
    assert_eq!(content["kind"], resource.kind);
    assert!(content.get("status").is_none(), "{key:?}");
    assert_nothing_empty(&format!("{key:?}"), &content);

    let metadata: ObjectMeta = serde_json::from_value(content["metadata"].clone()).unwrap();
    assert_eq!(metadata.name.as_ref(), Some(&key.name));
    assert!(key.name.len() <= 63, "{}", key.name);
    assert_eq!(metadata.namespace.as_deref(), Some("graphs"));
    let owners = metadata.owner_references.unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!(
        (
            owners[0].kind.as_str(),
            owners[0].name.as_str(),
            owners[0].uid.as_str()
        ),
        ("MemgraphCluster", cluster, UID)
    );
    assert_eq!(
        (owners[0].controller, owners[0].block_owner_deletion),
        (Some(true), Some(true))
    );
    let labels = metadata.labels.unwrap();
    let component = labels.get(names::COMPONENT_LABEL).unwrap();
    assert!([names::INSTANCE, names::GATEWAY].contains(&component.as_str()));
    assert_eq!(labels, names::labels(cluster, component));
    assert!(labels.values().all(|value| value.len() <= 63));
    assert_eq!(metadata.annotations.unwrap()[HASH_ANNOTATION], object.hash());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_valid_spec_has_well_formed_objects(name in "[a-z]([a-z0-9-]{0,38}[a-z0-9])?", spec in valid_specs()) {
        let cluster = stored(&name, spec);
        let desired = desired(&cluster, &operator(), names::DEFAULT_IMAGE, &Fingerprints::default()).unwrap();
        for object in &desired.objects {
            assert_well_formed(&name, object);
        }
        let applied: BTreeSet<_> = desired.objects.iter().map(Object::key).collect();
        prop_assert_eq!(applied.len(), desired.objects.len());
        prop_assert!(desired.absent.iter().all(|key| !applied.contains(key)));
    }
}

#[test]
fn the_longest_name_fits() {
    let name = "a".repeat(40);
    let spec = MemgraphClusterSpec {
        replicas: 20,
        ..MemgraphClusterSpec::default()
    };
    let cluster = stored(&name, spec);
    for object in desired(
        &cluster,
        &operator(),
        names::DEFAULT_IMAGE,
        &Fingerprints::default(),
    )
    .unwrap()
    .objects
    {
        assert_well_formed(&name, &object);
    }
    // The controller's label on a pod: its StatefulSet's name and a hash of ten characters.
    assert!(names::statefulset(&name).len() + 11 <= 63);
    assert!(names::instance(&name, 19).len() <= 63);
}

#[test]
fn gateways_at_which_tls_ends_know_the_authorities_of_instances_and_not_their_key() {
    let deployment = |spec: Value| {
        let objects = built(serde_json::from_value(spec).unwrap()).objects;
        let texts = objects
            .iter()
            .map(|object| serde_yaml::to_string(&object.content()).unwrap());
        let mut deployments = texts.filter(|text| text.contains("kind: Deployment"));
        deployments.next().unwrap()
    };
    let passing = deployment(json!({"tls": {"secretRef": {"name": "of-instances"}}}));
    assert!(!passing.contains("of-instances"), "{passing}");
    let ending = deployment(json!({
        "tls": {"secretRef": {"name": "of-instances"}},
        "gateway": {"tls": {"secretRef": {"name": "for-clients"}}},
    }));
    for part in [
        "--tls-certificate",
        "secretName: for-clients",
        "--instances-ca",
        "secretName: of-instances",
        "key: ca.crt",
    ] {
        assert!(ending.contains(part), "{part}\n{ending}");
    }
    assert!(!ending.contains("key: tls.key"), "{ending}");

    // MAIN takes TLS until it is replaced as the last one.
    let spec = json!({"gateway": {"tls": {"secretRef": {"name": "for-clients"}}}});
    let cluster = stored("demo", serde_json::from_value(spec).unwrap());
    let secrets = Fingerprints {
        former: Some("of-instances".to_owned()),
        ..Fingerprints::default()
    };
    let objects = desired(&cluster, &operator(), names::DEFAULT_IMAGE, &secrets)
        .unwrap()
        .objects;
    let mut deployments = objects
        .iter()
        .filter(|object| object.key().kind == Kind::Deployment);
    let leaving = serde_yaml::to_string(&deployments.next().unwrap().content()).unwrap();
    assert!(
        leaving.contains("--instances-ca") && leaving.contains("secretName: of-instances"),
        "{leaving}"
    );
}

/// Of the StatefulSet, and what a drain may take while the condition of that type has this status.
fn with_data_in_pods(follow: Option<&str>) -> (Value, Value) {
    let spec = json!({"storage": {"emptyDir": {"sizeLimit": "1024Mi"}}});
    let mut cluster = stored("demo", serde_json::from_value(spec).unwrap());
    let told = follow.map(|status| {
        json!({
            "type": "ReplicationHealthy", "status": status, "reason": "a", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    });
    cluster.status = Some(serde_json::from_value(json!({"conditions": Vec::from_iter(told)})).unwrap());
    let desired = desired(
        &cluster,
        &operator(),
        names::DEFAULT_IMAGE,
        &Fingerprints::default(),
    );
    let objects = desired.unwrap().objects;
    let content = |kind: Kind| {
        let mut found = objects.iter().filter(|object| object.key().kind == kind);
        found.next().unwrap().content()
    };
    (content(Kind::StatefulSet), content(Kind::PodDisruptionBudget))
}

#[test]
fn data_in_pods_needs_no_claims() {
    let (set, _) = with_data_in_pods(None);
    let volumes = set["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let data = volumes.iter().find(|volume| volume["name"] == names::DATA_VOLUME);
    assert_eq!(data.unwrap()["emptyDir"], json!({"sizeLimit": "1Gi"}));
    for field in ["volumeClaimTemplates", "persistentVolumeClaimRetentionPolicy"] {
        assert_eq!(set["spec"].get(field), None, "{field}");
    }
    let args = &set["spec"]["template"]["spec"]["initContainers"][0]["args"];
    assert!(
        args.as_array().unwrap().contains(&json!("--name-volume")),
        "{args}"
    );
}

#[test]
fn a_drain_takes_no_data_in_a_pod_while_another_instance_is_still_filled() {
    for (follow, most) in [
        (None, 1),
        (Some("True"), 1),
        (Some("False"), 0),
        (Some("Unknown"), 0),
    ] {
        let (_, budget) = with_data_in_pods(follow);
        assert_eq!(budget["spec"]["maxUnavailable"], json!(most), "{follow:?}");
    }
}
