//! What users have run beside Memgraph and before it.

use k8s_openapi::api::core::v1::PodSpec;

use super::{pod_template::template_of, *};

fn with(template: Value) -> MemgraphClusterSpec {
    serde_json::from_value(json!({"podTemplate": template})).unwrap()
}

fn set(spec: MemgraphClusterSpec) -> Object {
    let is_it = |object: &Object| object.key().kind == Kind::StatefulSet;
    built(spec).objects.into_iter().find(is_it).unwrap()
}

fn pod(template: Value) -> Value {
    set(with(template)).content()["spec"]["template"]["spec"].take()
}

fn beside(container: Value) -> Value {
    pod(json!({"spec": {"containers": [container]}}))["containers"][1].take()
}

fn security(given: Value) -> Value {
    beside(json!({"name": "a", "image": "b", "securityContext": given}))["securityContext"].take()
}

/// As people write it: with what means nothing, and amounts in other words than the API server's.
fn roundabout() -> Value {
    let probe = json!({
        "httpGet": {"port": 2020, "path": "", "httpHeaders": [{"name": "X", "value": ""}]},
        "initialDelaySeconds": 0, "timeoutSeconds": 0, "periodSeconds": 5, "successThreshold": 0, "failureThreshold": 0,
    });
    json!({
        "name": "shipper", "image": "shipper:1", "imagePullPolicy": "IfNotPresent",
        "command": [], "args": ["--quiet", ""], "workingDir": "/tmp",
        "env": [{"name": "EMPTY", "value": ""}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "envFrom": [{"prefix": "", "secretRef": {"name": "aws", "optional": false}}],
        "ports": [{"containerPort": 2020, "hostPort": 0, "name": "", "hostIP": ""}],
        "resources": {
            "requests": {"cpu": "1000m", "memory": "1024Mi", "ephemeral-storage": "0.5Gi"},
            "limits": {"cpu": "1500u"}, "claims": [],
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data", "readOnly": true}, {"name": "spool", "mountPath": "/spool", "readOnly": false},
        ],
        "readinessProbe": probe,
        "livenessProbe": {"grpc": {"port": 1, "service": ""}},
        "startupProbe": {"exec": {"command": ["true"]}},
        "lifecycle": {"postStart": {"exec": {"command": ["true"]}}, "preStop": {"sleep": {"seconds": 1}}},
        "securityContext": {"capabilities": {"add": [], "drop": []}, "runAsUser": 0, "readOnlyRootFilesystem": false},
    })
}

fn template() -> Value {
    let mut native = roundabout();
    native["name"] = json!("native");
    native["restartPolicy"] = json!("Always");
    json!({"spec": {
        "volumes": [{"name": "spool", "emptyDir": {}}],
        "initContainers": [{"name": "first", "image": "first:1"}, native],
        "containers": [roundabout()],
    }})
}

#[test]
fn containers_of_the_users_follow_the_operators_and_are_spelled_as_the_api_server_keeps_them() {
    let (pod, plain) = (pod(template()), pod(json!({})));
    assert_eq!(pod["containers"][0], plain["containers"][0]);
    assert_eq!(pod["initContainers"][0], plain["initContainers"][0]);
    let expected = json!({
        "name": "shipper", "image": "shipper:1", "imagePullPolicy": "IfNotPresent",
        "args": ["--quiet", ""], "workingDir": "/tmp",
        "env": [{"name": "EMPTY"}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "envFrom": [{"secretRef": {"name": "aws", "optional": false}}],
        "ports": [{"containerPort": 2020, "protocol": "TCP"}],
        "resources": {
            "requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "512Mi"}, "limits": {"cpu": "2m"},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data", "readOnly": true}, {"name": "spool", "mountPath": "/spool"},
        ],
        "readinessProbe": {"httpGet": {"port": 2020, "httpHeaders": [{"name": "X", "value": ""}]}, "periodSeconds": 5},
        "livenessProbe": {"grpc": {"port": 1}},
        "startupProbe": {"exec": {"command": ["true"]}},
        "lifecycle": {"postStart": {"exec": {"command": ["true"]}}, "preStop": {"sleep": {"seconds": 1}}},
        "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsUser": 0, "readOnlyRootFilesystem": false,
        },
    });
    assert_eq!(pod["containers"][1], expected);
    let mut native = expected;
    native["name"] = json!("native");
    native["restartPolicy"] = json!("Always");
    assert_eq!(pod["initContainers"][2], native);
    assert_eq!(pod["initContainers"][1]["name"], "first");
    serde_json::from_value::<PodSpec>(pod).unwrap();
}

/// Other tests ask the API server's own code whether it keeps this (`e2e/chart/kept_test.go`).
#[test]
fn the_statefulset_with_all_that_users_can_have_run_is_as_committed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resources/tests/containers.yaml");
    let actual = serde_yaml::to_string(&set(with(template())).content()).unwrap();
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &actual).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == actual,
        "look at the difference after UPDATE_GOLDEN=1"
    );
}

/// What it adds by itself, and what it writes in its own words.
#[test]
fn nothing_is_applied_again_once_the_api_server_has_kept_it() {
    let set = set(with(template()));
    let mut live = set.content();
    let spec = &mut live["spec"]["template"]["spec"];
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().unwrap() {
            container["terminationMessagePath"] = json!("/dev/termination-log");
            if let Some(probe) = container.pointer_mut("/livenessProbe") {
                probe["timeoutSeconds"] = json!(1);
            }
            if let Some(grpc) = container.pointer_mut("/livenessProbe/grpc") {
                grpc["service"] = json!("");
            }
        }
    }
    assert!(set.is_applied(&live));
    live["spec"]["template"]["spec"]["containers"][1]["image"] = json!("shipper:2");
    assert!(!set.is_applied(&live));
}

#[test]
fn a_container_that_says_nothing_of_its_rights_keeps_to_the_restricted_standard() {
    let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let plain = pod(template());
    assert_eq!(plain["initContainers"][1]["securityContext"], restricted);
    assert_eq!(security(json!({})), restricted);
    assert_eq!(
        security(json!({"capabilities": {"add": ["NET_BIND_SERVICE"]}})),
        {
            json!({"allowPrivilegeEscalation": false, "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}})
        }
    );
    // It says otherwise; or the API server takes the one only without the other.
    for given in [
        json!({"allowPrivilegeEscalation": true, "capabilities": {"drop": ["NET_RAW"]}}),
        json!({"privileged": true}),
        json!({"capabilities": {"add": ["CAP_SYS_ADMIN"], "drop": ["ALL"]}}),
    ] {
        assert_eq!(security(given.clone()), given);
    }
}

#[test]
fn what_is_the_operators_is_no_container_and_no_volume_of_theirs() {
    let refused = |spec: Value| {
        let cluster = stored("demo", with(json!({"spec": spec})));
        let refused = desired(
            &cluster,
            &operator(),
            names::DEFAULT_IMAGE,
            &Fingerprints::default(),
        );
        refused.unwrap_err().to_string()
    };
    let mounts = |mount: Value| json!([{"name": "a", "image": "b", "volumeMounts": [mount]}]);
    for (spec, said) in [
        (
            json!({"containers": [{"name": "memgraph", "image": "b"}]}),
            "podTemplate.spec.containers: memgraph belongs to the operator and cannot be set; take another one",
        ),
        (
            json!({"containers": [{"name": "instance-init", "image": "b"}]}),
            "podTemplate.spec.containers: instance-init belongs",
        ),
        (
            json!({"initContainers": [{"name": "memgraph", "image": "b"}]}),
            "podTemplate.spec.initContainers: memgraph belongs",
        ),
        (
            json!({"containers": mounts(json!({"name": "api-access", "mountPath": "/a", "readOnly": true}))}),
            "podTemplate.spec.containers: api-access belongs",
        ),
        (
            json!({"initContainers": mounts(json!({"name": "start-gate", "mountPath": "/a", "readOnly": true}))}),
            "podTemplate.spec.initContainers: start-gate belongs",
        ),
        (
            json!({"containers": mounts(json!({"name": "data", "mountPath": "/a"}))}),
            "podTemplate.spec.containers: data belongs",
        ),
        (
            json!({"containers": mounts(json!({"name": "data", "mountPath": "/a", "readOnly": true, "subPath": "mg_data"}))}),
            "podTemplate.spec.containers: data belongs",
        ),
    ] {
        let found = refused(spec);
        assert!(found.starts_with(said), "{found}");
    }
    let much = json!([{"name": "a", "image": "b", "resources": {"limits": {"cpu": "much"}}}]);
    assert_eq!(
        refused(json!({"containers": much})),
        "podTemplate.spec.containers: a: resources.limits.cpu: cannot be used"
    );
}

/// The rules of the definition name what the operator has, so that the API server refuses it.
#[test]
fn the_rules_name_every_container_and_port_of_the_operators() {
    let definition = serde_json::to_value(<MemgraphCluster as kube::CustomResourceExt>::crd()).unwrap();
    let spec =
        &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let container = &spec["podTemplate"]["properties"]["spec"]["properties"]["containers"]["items"];
    let names = container["properties"]["name"]["x-kubernetes-validations"].to_string();
    let ports = container["x-kubernetes-validations"].to_string();
    let pod = pod(json!({}));
    for list in ["initContainers", "containers"] {
        for own in pod[list].as_array().unwrap() {
            assert!(
                names.contains(&format!("'{}'", own["name"].as_str().unwrap())),
                "{names}"
            );
            for port in own["ports"].as_array().into_iter().flatten() {
                assert!(ports.contains(&port["containerPort"].to_string()), "{ports}");
            }
        }
    }
}

/// Nobody in a database's pod but the operator's init container gets a way to the API server.
#[test]
fn no_container_of_a_user_gets_a_token() {
    let pod = pod(template());
    assert_eq!(pod["automountServiceAccountToken"], false);
    for list in ["initContainers", "containers"] {
        for container in pod[list]
            .as_array()
            .unwrap()
            .iter()
            .skip(usize::from(list == "initContainers"))
        {
            assert!(
                !container["volumeMounts"].to_string().contains("api-access"),
                "{container}"
            );
        }
    }
}

#[test]
fn a_container_in_other_words_is_the_same_configuration_and_another_one_is_not() {
    let configuration = |template: Value| {
        let desired = built(with(template));
        let pod = template_of(&desired, Kind::StatefulSet);
        pod["metadata"]["annotations"][names::CONFIGURATION_ANNOTATION].clone()
    };
    let shipper = |image: &str, cpu: &str, delay: i32| {
        configuration(json!({"spec": {"containers": [{
            "name": "a", "image": image, "resources": {"limits": {"cpu": cpu}},
            "readinessProbe": {"tcpSocket": {"port": 1}, "initialDelaySeconds": delay},
        }]}}))
    };
    assert_eq!(shipper("a", "1000m", 0), shipper("a", "1", 0));
    let others = [
        configuration(json!({})),
        configuration(json!({"spec": {"containers": [], "initContainers": []}})),
        shipper("b", "1", 0),
        shipper("a", "2", 0),
        shipper("a", "1", 1),
    ];
    for other in &others {
        assert_ne!(*other, shipper("a", "1", 0));
    }
    assert_eq!(others[0], others[1]);
}
