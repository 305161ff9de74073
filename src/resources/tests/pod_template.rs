//! What users add to pods, and what they cannot take away.

use k8s_openapi::api::core::v1::{Affinity, TopologySpreadConstraint};

use super::*;

/// Where `podTemplate` is.
const INSTANCES: &str = "";
const GATEWAYS: &str = "/gateway";

/// A spec with this template at both places.
fn with(template: &Value) -> MemgraphClusterSpec {
    serde_json::from_value(json!({"podTemplate": template, "gateway": {"podTemplate": template}})).unwrap()
}

pub(super) fn template_of(desired: &Desired, kind: Kind) -> Value {
    let object = desired.objects.iter().find(|object| object.key().kind == kind);
    object.unwrap().content()["spec"]["template"].take()
}

/// The templates of instances and of gateways.
fn templates(template: &Value) -> [Value; 2] {
    let desired = built(with(template));
    [Kind::StatefulSet, Kind::Deployment].map(|kind| template_of(&desired, kind))
}

fn refused(field: &str, template: Value) -> String {
    let mut spec = json!({"gateway": {}});
    spec.pointer_mut(field).unwrap()["podTemplate"] = template;
    let spec = serde_json::from_value(spec).unwrap();
    desired(
        &stored("demo", spec),
        &operator(),
        names::DEFAULT_IMAGE,
        &Fingerprints::default(),
    )
    .unwrap_err()
    .to_string()
}

#[test]
fn what_the_template_adds_is_in_the_pods() {
    let given = json!({
        "metadata": {"labels": {"team": "graphs", "empty": ""}, "annotations": {"example.org/note": "yes"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "graphs", "operator": "Exists", "effect": "NoSchedule", "value": ""}],
            "priorityClassName": "databases",
            "runtimeClassName": "kata",
            "schedulerName": "packer",
            "imagePullSecrets": [{"name": "registry"}],
            "securityContext": {
                "seLinuxOptions": {"level": "s0:c1,c2"},
                "supplementalGroups": [2000],
                "sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "60"}],
            },
            "volumes": [
                {"name": "modules", "configMap": {"name": "modules"}},
                {"name": "scratch", "emptyDir": {"medium": "", "sizeLimit": "1024Mi"}},
                {"name": "shared", "persistentVolumeClaim": {"claimName": "shared", "readOnly": false}},
            ],
        },
        "container": {
            "env": [
                {"name": "TZ", "value": "UTC"},
                {"name": "EMPTY", "value": ""},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
            "envFrom": [{"prefix": "AWS_", "secretRef": {"name": "aws"}}],
            "volumeMounts": [{"name": "modules", "mountPath": "/modules", "readOnly": false}],
        },
    });
    let plain = templates(&json!({}));
    for (instances, (pod, plain)) in [true, false]
        .into_iter()
        .zip(templates(&given).into_iter().zip(plain))
    {
        let metadata = &pod["metadata"];
        assert_eq!(
            (&metadata["labels"]["team"], &metadata["labels"]["empty"]),
            (&json!("graphs"), &json!(""))
        );
        assert_eq!(metadata["labels"]["memgraph.dev/cluster"], "demo");
        assert_eq!(metadata["annotations"]["example.org/note"], "yes");
        let spec = &pod["spec"];
        for (field, wanted) in [
            ("nodeSelector", json!({"disk": "ssd"})),
            (
                "tolerations",
                json!([{"key": "graphs", "operator": "Exists", "effect": "NoSchedule"}]),
            ),
            ("priorityClassName", json!("databases")),
            ("runtimeClassName", json!("kata")),
            ("schedulerName", json!("packer")),
            ("imagePullSecrets", json!([{"name": "registry"}])),
        ] {
            assert_eq!(spec[field], wanted, "{field}");
        }
        let security = &spec["securityContext"];
        assert_eq!(security["seLinuxOptions"]["level"], "s0:c1,c2");
        assert_eq!(security["supplementalGroups"], json!([2000]));
        assert_eq!(security["sysctls"][0]["value"], "60");
        assert_eq!(security["runAsNonRoot"], true, "the operator's own part stays");
        let added = |list: &str, of: &Value, plain: &Value| {
            let operators = plain[list].as_array().map_or(0, Vec::len);
            let all = of[list].as_array().unwrap();
            if operators > 0 {
                assert_eq!(all[..operators], plain[list].as_array().unwrap()[..]);
            }
            Value::Array(all[operators..].to_vec())
        };
        let (container, own) = (&spec["containers"][0], &plain["spec"]["containers"][0]);
        assert_eq!(
            added("env", container, own),
            json!([
                {"name": "TZ", "value": "UTC"},
                {"name": "EMPTY"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ])
        );
        if !instances {
            continue;
        }
        assert_eq!(
            added("volumes", spec, &plain["spec"]),
            json!([
                {"name": "modules", "configMap": {"name": "modules"}},
                {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
                {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}},
            ])
        );
        assert_eq!(
            container["envFrom"],
            json!([{"prefix": "AWS_", "secretRef": {"name": "aws"}}])
        );
        assert_eq!(
            added("volumeMounts", container, own),
            json!([{"name": "modules", "mountPath": "/modules"}])
        );
        assert_eq!(
            spec["initContainers"], plain["spec"]["initContainers"],
            "only the main container gets it"
        );
    }
}

#[test]
fn an_empty_template_is_none() {
    let empty = json!({
        "metadata": {"labels": {}, "annotations": {}},
        "spec": {"nodeSelector": {}, "tolerations": [], "affinity": {}, "volumes": [], "securityContext": {}},
        "container": {"env": [], "envFrom": [], "volumeMounts": []},
    });
    assert_eq!(built(with(&empty)).objects, built(defaults()).objects);
}

#[test]
fn own_rules_of_spread_take_the_place_of_the_operators() {
    let affinity = |given: Value| -> Affinity {
        let [pod, _] = templates(&json!({"spec": {"affinity": given}}));
        serde_json::from_value(pod["spec"]["affinity"].clone()).unwrap()
    };
    let zone =
        json!({"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "topology.kubernetes.io/zone"});
    let node = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
    ]}});
    let operators = affinity(json!({})).pod_anti_affinity;
    assert!(
        operators
            .as_ref()
            .unwrap()
            .preferred_during_scheduling_ignored_during_execution
            .is_some()
    );

    let found = affinity(json!({"nodeAffinity": node}));
    assert!(found.node_affinity.is_some());
    assert_eq!(
        found.pod_anti_affinity, operators,
        "it says nothing about other pods"
    );

    let found =
        affinity(json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [zone]}}));
    let own = found.pod_anti_affinity.unwrap();
    assert!(own.preferred_during_scheduling_ignored_during_execution.is_none());
    assert_eq!(
        own.required_during_scheduling_ignored_during_execution
            .unwrap()
            .len(),
        1
    );

    assert_eq!(
        affinity(json!({"podAntiAffinity": {}})).pod_anti_affinity,
        Some(Default::default())
    );
}

#[test]
fn a_constraint_without_a_selector_is_about_the_pods_of_its_component() {
    let constraint = json!({"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"});
    let found = templates(&json!({"spec": {"topologySpreadConstraints": [constraint]}}));
    for (pod, component) in found.iter().zip([names::INSTANCE, names::GATEWAY]) {
        let constraints = pod["spec"]["topologySpreadConstraints"].clone();
        let constraints: Vec<TopologySpreadConstraint> = serde_json::from_value(constraints).unwrap();
        let selector = constraints[0].label_selector.clone().unwrap();
        assert_eq!(selector.match_labels, Some(names::selector("demo", component)));
    }
}

#[test]
fn what_the_operator_has_is_not_replaced() {
    for (field, template, message) in [
        (
            INSTANCES,
            json!({"metadata": {"labels": {"memgraph.dev/cluster": "x"}}}),
            "podTemplate.metadata.labels: memgraph.dev/cluster belongs to the operator and cannot be set; take another one",
        ),
        (
            INSTANCES,
            json!({"metadata": {"annotations": {"memgraph.dev/configuration": "x"}}}),
            "podTemplate.metadata.annotations: memgraph.dev/configuration belongs",
        ),
        (
            INSTANCES,
            json!({"spec": {"volumes": [{"name": "start-gate", "emptyDir": {}}]}}),
            "podTemplate.spec.volumes: start-gate belongs",
        ),
        (
            INSTANCES,
            json!({"container": {"volumeMounts": [{"name": "x", "mountPath": "/var/lib"}]}}),
            "podTemplate.container.volumeMounts: /var/lib belongs",
        ),
        (
            INSTANCES,
            json!({"container": {"volumeMounts": [{"name": "x", "mountPath": "/tmp/x"}]}}),
            "podTemplate.container.volumeMounts: /tmp/x belongs",
        ),
        (
            GATEWAYS,
            json!({"container": {"env": [{"name": "POD_UID", "value": "x"}]}}),
            "gateway.podTemplate.container.env: POD_UID belongs",
        ),
    ] {
        let found = refused(field, template);
        assert!(found.starts_with(message), "{found}");
    }
    let mut spec = with(&json!({"container": {"env": [{"name": "MEMGRAPH_USER", "value": "x"}]}}));
    spec.auth = serde_json::from_value(json!({"secretRef": {"name": "x"}})).unwrap();
    let error = desired(
        &stored("demo", spec),
        &operator(),
        names::DEFAULT_IMAGE,
        &Fingerprints::default(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("MEMGRAPH_USER belongs"), "{error}");
}

#[test]
fn a_size_that_is_none_is_refused_by_name() {
    let volume = json!({"name": "scratch", "emptyDir": {"sizeLimit": "much"}});
    let error = refused(INSTANCES, json!({"spec": {"volumes": [volume]}}));
    assert_eq!(
        error,
        "podTemplate.spec.volumes: scratch: emptyDir.sizeLimit: cannot be used"
    );
}

/// It is what tells which pods are to be replaced.
fn configuration(template: Value) -> Value {
    let desired = built(serde_json::from_value(json!({"podTemplate": template})).unwrap());
    template_of(&desired, Kind::StatefulSet)["metadata"]["annotations"][names::CONFIGURATION_ANNOTATION]
        .clone()
}

#[test]
fn a_changed_template_is_a_changed_configuration() {
    let none = configuration(json!({}));
    let note =
        |value: &str| json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": value}}});
    let once = configuration(note("1"));
    assert_ne!(once, none);
    assert_ne!(configuration(note("2")), once);
    assert_eq!(configuration(json!({"spec": {"nodeSelector": {}}})), none);
    assert_ne!(
        configuration(json!({"spec": {"nodeSelector": {"disk": "ssd"}}})),
        none
    );
}

/// The definition's rules name what the operator has, so that the API server refuses it.
#[test]
fn the_rules_name_every_volume_and_folder_of_the_operators() {
    let definition = serde_json::to_value(<MemgraphCluster as kube::CustomResourceExt>::crd()).unwrap();
    let spec =
        &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let rules = |schema: &Value| schema["x-kubernetes-validations"].to_string();
    let names = rules(
        &spec["podTemplate"]["properties"]["spec"]["properties"]["volumes"]["items"]["properties"]["name"],
    );
    let folders_rule = rules(&spec["podTemplate"]);
    let auth = json!({"auth": {"secretRef": {"name": "x"}}});
    let tls = json!({"tls": {"secretRef": {"name": "x"}}});
    for spec_with in [json!({}), auth, tls] {
        let desired = built(serde_json::from_value(spec_with).unwrap());
        let pod = template_of(&desired, Kind::StatefulSet);
        let volumes = pod["spec"]["volumes"].as_array().unwrap().iter();
        for volume in volumes.map(|volume| volume["name"].as_str().unwrap()) {
            assert!(names.contains(&format!("'{volume}'")), "{volume}");
        }
        let mounts = pod["spec"]["containers"][0]["volumeMounts"]
            .as_array()
            .unwrap()
            .iter();
        for mount in mounts.map(|mount| mount["mountPath"].as_str().unwrap()) {
            let mut folders = Path::new(mount)
                .ancestors()
                .map(|folder| folder.to_str().unwrap());
            assert!(
                folders.any(|folder| folders_rule.contains(&format!("'{folder}'"))),
                "{mount}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever a template has, the objects are built with all that is the operator's, or it is said what cannot be.
    #[test]
    fn no_template_takes_anything_away(
        labels in prop::collection::btree_map("\\PC{0,20}", "\\PC{0,20}", 0..3),
        names in prop::collection::vec("[a-z-]{1,6}|data|tmp|control", 0..3),
        paths in prop::collection::vec("(/[a-z.]{0,4}){0,3}", 0..3),
        value in prop::option::of("\\PC{0,20}"),
    ) {
        let template = json!({
            "metadata": {"labels": labels, "annotations": labels},
            "spec": {
                "nodeSelector": labels,
                "tolerations": names.iter().map(|name| json!({"key": name, "value": value})).collect::<Vec<_>>(),
                "volumes": names.iter().map(|name| json!({"name": name, "emptyDir": {}})).collect::<Vec<_>>(),
            },
            "container": {
                "env": names.iter().map(|name| json!({"name": name, "value": value})).collect::<Vec<_>>(),
                "volumeMounts": paths.iter().map(|path| json!({"name": "x", "mountPath": path})).collect::<Vec<_>>(),
            },
        });
        let spec = with(&template);
        if let Ok(desired) = desired(&stored("demo", spec), &operator(), names::DEFAULT_IMAGE, &Fingerprints::default()) {
            let plain = built(defaults());
            for kind in [Kind::StatefulSet, Kind::Deployment] {
                let (pod, own) = (template_of(&desired, kind), template_of(&plain, kind));
                for (key, value) in own["metadata"]["labels"].as_object().unwrap() {
                    prop_assert_eq!(&pod["metadata"]["labels"][key], value);
                }
                for list in ["/spec/volumes", "/spec/containers/0/volumeMounts", "/spec/containers/0/env"] {
                    let all = pod.pointer(list).and_then(Value::as_array);
                    for item in own.pointer(list).and_then(Value::as_array).into_iter().flatten() {
                        prop_assert!(all.is_some_and(|all| all.contains(item)), "{} lacks {}", list, item);
                    }
                }
            }
            for object in &desired.objects {
                assert_well_formed("demo", object);
            }
        }
    }
}
