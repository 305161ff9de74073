//! Fields of `podTemplate.spec.containers` and `initContainers`.

use serde_json::{Value, json};

use super::{
    Does::{Is, Makes},
    INSTANCES, Row, put, row,
};

/// In each list the user's first container is the second one.
pub(super) fn containers() -> Vec<Row> {
    let mut rows = of_list("initContainers");
    rows.extend(of_list("containers"));
    rows
}

fn of_list(list: &str) -> Vec<Row> {
    let text = || [json!("a"), json!("b")];
    let probe = || {
        [
            json!({"tcpSocket": {"port": 1}}),
            json!({"exec": {"command": ["a"]}, "periodSeconds": 1}),
        ]
    };
    let handler = || {
        [
            json!({"exec": {"command": ["a"]}}),
            json!({"sleep": {"seconds": 1}}),
        ]
    };
    let named = || [json!({"name": "a"}), json!({"name": "b"})];
    let key = || [json!({"name": "a", "key": "b"}), json!({"name": "a", "key": "c"})];
    let path = |path: &str| json!({"fieldPath": path});
    let port = |port: i32| json!([{"containerPort": port, "protocol": "TCP"}]);
    let cpu = |cpu: &str| json!({"limits": {"cpu": cpu}});
    let user = |user: i64| json!({"runAsUser": user});
    let fields: [(&str, [Value; 2]); 27] = [
        ("name", text()),
        ("image", text()),
        ("imagePullPolicy", [json!("Always"), json!("Never")]),
        ("command", [json!(["a"]), json!(["b"])]),
        ("args", [json!(["a"]), json!(["b"])]),
        ("workingDir", text()),
        ("ports", [port(1), port(2)]),
        ("resources", [cpu("1"), cpu("2")]),
        ("readinessProbe", probe()),
        ("livenessProbe", probe()),
        ("startupProbe", probe()),
        ("lifecycle.postStart", handler()),
        ("lifecycle.preStop", handler()),
        ("restartPolicy", text()),
        ("securityContext", [user(1), user(2)]),
        ("env[].name", text()),
        ("env[].value", text()),
        ("env[].valueFrom.configMapKeyRef", key()),
        ("env[].valueFrom.secretKeyRef", key()),
        (
            "env[].valueFrom.fieldRef",
            [path("metadata.name"), path("spec.nodeName")],
        ),
        ("envFrom[].prefix", text()),
        ("envFrom[].configMapRef", named()),
        ("envFrom[].secretRef", named()),
        ("volumeMounts[].mountPath", [json!("/a"), json!("/b")]),
        ("volumeMounts[].subPath", text()),
        ("volumeMounts[].name", text()),
        ("volumeMounts[].readOnly", [json!(true), json!(false)]),
    ];
    let rows = fields.map(|(field, values)| {
        let at = |field: &str| format!("podTemplate.spec.{list}[].{field}");
        let mut beside = json!({});
        put(&mut beside, "podTemplate.spec.volumes", volumes());
        put(&mut beside, &at("name"), json!("x"));
        put(&mut beside, &at("image"), json!("x"));
        if field.starts_with("env[]") {
            put(&mut beside, &at("env[].name"), json!("x"));
        } else if field.starts_with("volumeMounts[]") {
            let mount = json!([{"name": "x", "mountPath": "/x"}]);
            put(&mut beside, &at("volumeMounts"), mount);
        }
        let place = field.replace("[]", "/0").replace('.', "/");
        let place = format!("/spec/template/spec/{list}/1/{place}").leak();
        // The operator adds to what is said of rights, and the API server keeps no false.
        let does = match field {
            "securityContext" | "volumeMounts[].readOnly" => Makes(INSTANCES, place),
            _ => Is(INSTANCES, place),
        };
        row(&at(field), beside, values, &[does])
    });
    rows.into()
}

/// Those that the rows have mounted.
fn volumes() -> Value {
    let volume = |name: &str| json!({"name": name, "emptyDir": {}});
    json!([volume("a"), volume("b"), volume("x")])
}
