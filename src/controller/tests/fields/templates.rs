//! Fields of `podTemplate` and `gateway.podTemplate`.

use serde_json::{Value, json};

use super::{
    Does::{Is, Makes},
    GATEWAYS, INSTANCES, Row, put, row,
};

/// What both templates have.
pub(super) fn template(prefix: &str, object: &'static str) -> Vec<Row> {
    let toleration = |key: &str| json!([{"key": key, "operator": "Exists"}]);
    let constraint =
        |key: &str| json!([{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule"}]);
    let anti = |key: &str| {
        let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"a": "b"}}});
        json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    };
    let sysctl = |value: &str| json!([{"name": "net.ipv4.tcp_keepalive_time", "value": value}]);
    let text = || [json!("a"), json!("b")];
    let map = || [json!({"a": "b"}), json!({"a": "c"})];
    let rows = [
        (
            "metadata.labels",
            map(),
            Makes(object, "/spec/template/metadata/labels/a"),
        ),
        (
            "metadata.annotations",
            map(),
            Makes(object, "/spec/template/metadata/annotations/a"),
        ),
        (
            "spec.nodeSelector",
            map(),
            Is(object, "/spec/template/spec/nodeSelector"),
        ),
        (
            "spec.tolerations",
            [toleration("a"), toleration("b")],
            Is(object, "/spec/template/spec/tolerations"),
        ),
        (
            "spec.affinity",
            [anti("a"), anti("b")],
            Is(object, "/spec/template/spec/affinity"),
        ),
        (
            "spec.topologySpreadConstraints",
            [constraint("a"), constraint("b")],
            Makes(
                object,
                "/spec/template/spec/topologySpreadConstraints/0/topologyKey",
            ),
        ),
        (
            "spec.priorityClassName",
            text(),
            Is(object, "/spec/template/spec/priorityClassName"),
        ),
        (
            "spec.runtimeClassName",
            text(),
            Is(object, "/spec/template/spec/runtimeClassName"),
        ),
        (
            "spec.schedulerName",
            text(),
            Is(object, "/spec/template/spec/schedulerName"),
        ),
        (
            "spec.imagePullSecrets[].name",
            text(),
            Is(object, "/spec/template/spec/imagePullSecrets/0/name"),
        ),
        (
            "spec.securityContext.seLinuxOptions",
            [json!({"level": "a"}), json!({"level": "b"})],
            Is(object, "/spec/template/spec/securityContext/seLinuxOptions"),
        ),
        (
            "spec.securityContext.supplementalGroups",
            [json!([1]), json!([2])],
            Is(object, "/spec/template/spec/securityContext/supplementalGroups"),
        ),
        (
            "spec.securityContext.sysctls",
            [sysctl("1"), sysctl("2")],
            Is(object, "/spec/template/spec/securityContext/sysctls"),
        ),
    ];
    let rows = rows.into_iter();
    let mut rows: Vec<_> = rows
        .map(|(field, values, does)| row(&format!("{prefix}.{field}"), json!({}), values, &[does]))
        .collect();
    // The operator has given a gateway one already.
    let place = match object {
        GATEWAYS => [
            "/spec/template/spec/containers/0/env/1/name",
            "/spec/template/spec/containers/0/env/1/value",
            "/spec/template/spec/containers/0/env/1/valueFrom/configMapKeyRef",
            "/spec/template/spec/containers/0/env/1/valueFrom/secretKeyRef",
            "/spec/template/spec/containers/0/env/1/valueFrom/fieldRef",
        ],
        _ => [
            "/spec/template/spec/containers/0/env/0/name",
            "/spec/template/spec/containers/0/env/0/value",
            "/spec/template/spec/containers/0/env/0/valueFrom/configMapKeyRef",
            "/spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef",
            "/spec/template/spec/containers/0/env/0/valueFrom/fieldRef",
        ],
    };
    let key = || [json!({"name": "a", "key": "b"}), json!({"name": "a", "key": "c"})];
    let path = |path: &str| json!({"fieldPath": path});
    let env = [
        ("name", text()),
        ("value", text()),
        ("valueFrom.configMapKeyRef", key()),
        ("valueFrom.secretKeyRef", key()),
        (
            "valueFrom.fieldRef",
            [path("metadata.name"), path("spec.nodeName")],
        ),
    ];
    for ((field, values), place) in env.into_iter().zip(place) {
        let mut beside = json!({});
        put(&mut beside, &format!("{prefix}.container.env[].name"), json!("x"));
        let field = format!("{prefix}.container.env[].{field}");
        rows.push(row(&field, beside, values, &[Is(object, place)]));
    }
    rows
}

/// The last of the instances' volumes.
pub(super) fn volumes() -> Vec<Row> {
    let fields = [
        (
            "name",
            [json!("a"), json!("b")],
            "/spec/template/spec/volumes/4/name",
        ),
        (
            "configMap",
            [json!({"name": "a"}), json!({"name": "b"})],
            "/spec/template/spec/volumes/4/configMap",
        ),
        (
            "secret",
            [json!({"secretName": "a"}), json!({"secretName": "b"})],
            "/spec/template/spec/volumes/4/secret",
        ),
        (
            "persistentVolumeClaim",
            [
                json!({"claimName": "a"}),
                json!({"claimName": "b", "readOnly": true}),
            ],
            "/spec/template/spec/volumes/4/persistentVolumeClaim",
        ),
        (
            "emptyDir",
            [json!({"medium": "Memory"}), json!({"sizeLimit": "1Gi"})],
            "/spec/template/spec/volumes/4/emptyDir",
        ),
        (
            "image",
            [
                json!({"reference": "a"}),
                json!({"reference": "b", "pullPolicy": "Always"}),
            ],
            "/spec/template/spec/volumes/4/image",
        ),
        (
            "csi",
            [
                json!({"driver": "a"}),
                json!({"driver": "b", "volumeAttributes": {"c": ""}}),
            ],
            "/spec/template/spec/volumes/4/csi",
        ),
    ];
    let beside = json!({"podTemplate": {"spec": {"volumes": [{"name": "x"}]}}});
    let row_of = |(field, values, place)| {
        let path = format!("podTemplate.spec.volumes[].{field}");
        row(&path, beside.clone(), values, &[Is(INSTANCES, place)])
    };
    fields.map(row_of).into()
}

/// The rest of what only Memgraph's container can have.
pub(super) fn container() -> Vec<Row> {
    let from = json!({"podTemplate": {"container": {"envFrom": [{"prefix": "X_"}]}}});
    let mount = json!({"podTemplate": {"container": {"volumeMounts": [{"name": "x", "mountPath": "/x"}]}}});
    let fields = [
        (
            "envFrom[].prefix",
            &from,
            [json!("A_"), json!("B_")],
            Is(INSTANCES, "/spec/template/spec/containers/0/envFrom/0/prefix"),
        ),
        (
            "envFrom[].configMapRef",
            &from,
            [json!({"name": "a"}), json!({"name": "b"})],
            Is(
                INSTANCES,
                "/spec/template/spec/containers/0/envFrom/0/configMapRef",
            ),
        ),
        (
            "envFrom[].secretRef",
            &from,
            [json!({"name": "a"}), json!({"name": "b"})],
            Is(INSTANCES, "/spec/template/spec/containers/0/envFrom/0/secretRef"),
        ),
        (
            "volumeMounts[].name",
            &mount,
            [json!("a"), json!("b")],
            Is(INSTANCES, "/spec/template/spec/containers/0/volumeMounts/4/name"),
        ),
        (
            "volumeMounts[].mountPath",
            &mount,
            [json!("/a"), json!("/b")],
            Is(
                INSTANCES,
                "/spec/template/spec/containers/0/volumeMounts/4/mountPath",
            ),
        ),
        (
            "volumeMounts[].readOnly",
            &mount,
            [json!(true), json!(false)],
            // The API server does not keep a false.
            Makes(
                INSTANCES,
                "/spec/template/spec/containers/0/volumeMounts/4/readOnly",
            ),
        ),
        (
            "volumeMounts[].subPath",
            &mount,
            [json!("a"), json!("b")],
            Is(
                INSTANCES,
                "/spec/template/spec/containers/0/volumeMounts/4/subPath",
            ),
        ),
    ];
    let row_of = |(field, beside, values, does): (&str, &Value, _, _)| {
        row(
            &format!("podTemplate.container.{field}"),
            beside.clone(),
            values,
            &[does],
        )
    };
    fields.map(row_of).into()
}
