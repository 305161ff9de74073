//! Fields about the gateways.

use serde_json::json;

use super::{
    Does::{Asks, Bounds, Grants, Is, Leads, Makes, Names, Touches},
    GATEWAYS, Row, row,
};

pub(super) fn gateways() -> Vec<Row> {
    let rate = json!({"gateway": {"connectionRateLimit": {"perSecond": 5}}});
    let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
    let mut rows = vec![
        row(
            "gateway.enabled",
            json!({"replication": {"mode": "StrictSync"}}),
            [json!(false), json!(true)],
            &[
                Makes("Deployment demo-gateway", "/kind"),
                Makes("Service demo-gateway", "/kind"),
                Makes("Service demo-gateway-read", "/kind"),
                Makes("ServiceAccount demo-gateway", "/kind"),
                Makes("Role demo-gateway", "/kind"),
                Makes("RoleBinding demo-gateway", "/kind"),
                Makes("PodDisruptionBudget demo-gateway", "/kind"),
                Makes("NetworkPolicy demo-gateway", "/kind"),
                Touches("NetworkPolicy demo-instances"),
            ],
        ),
        row(
            "gateway.replicas",
            json!({}),
            [json!(3), json!(4)],
            &[Is(GATEWAYS, "/spec/replicas")],
        ),
        row(
            "gateway.resources",
            json!({}),
            [cpu("1"), cpu("2")],
            &[Is(GATEWAYS, "/spec/template/spec/containers/0/resources")],
        ),
        row(
            "gateway.tls.secretRef.name",
            json!({}),
            [json!("b"), json!("c")],
            &[
                Is(GATEWAYS, "/spec/template/spec/volumes/1/secret/secretName"),
                Asks,
            ],
        ),
        row(
            "gateway.read.enabled",
            json!({}),
            [json!(false), json!(true)],
            &[Makes("Service demo-gateway-read", "/kind")],
        ),
        row(
            "gateway.read.fallbackToMain",
            json!({}),
            [json!(true), json!(false)],
            &[Leads],
        ),
        row(
            "gateway.grantTTL",
            json!({}),
            [json!("2s"), json!("3s")],
            &[Grants],
        ),
        row(
            "gateway.connectionRateLimit.perSecond",
            json!({}),
            [json!(5), json!(6)],
            &[Bounds],
        ),
        row(
            "gateway.connectionRateLimit.burst",
            rate,
            [json!(7), json!(8)],
            &[Bounds],
        ),
        row(
            "gateway.maxHeldConnections",
            json!({}),
            [json!(7), json!(8)],
            &[Bounds],
        ),
    ];
    for field in ["connectTimeout", "idleTimeout", "holdTimeout"] {
        let path = format!("gateway.{field}");
        rows.push(row(&path, json!({}), [json!("7s"), json!("8s")], &[Bounds]));
    }
    for (address, service) in [
        ("readWrite", "Service demo-gateway"),
        ("read", "Service demo-gateway-read"),
    ] {
        let fields = [
            ("maxConnections", [json!(7), json!(8)], Bounds),
            (
                "service.name",
                [json!("graph"), json!("social")],
                Names(service.strip_prefix("Service ").unwrap_or_default()),
            ),
            (
                "service.type",
                [json!("NodePort"), json!("LoadBalancer")],
                Is(service, "/spec/type"),
            ),
            (
                "service.port",
                [json!(7), json!(8)],
                Is(service, "/spec/ports/0/port"),
            ),
            (
                "service.annotations",
                [json!({"a": "b"}), json!({"a": "c"})],
                Makes(service, "/metadata/annotations/a"),
            ),
            (
                "service.labels",
                [json!({"a": "b"}), json!({"a": "c"})],
                Makes(service, "/metadata/labels/a"),
            ),
        ];
        for (field, values, does) in fields {
            rows.push(row(
                &format!("gateway.{address}.{field}"),
                json!({}),
                values,
                &[does],
            ));
        }
        let networks = || [json!(["10.0.0.0/8"]), json!(["10.0.0.0/8", "2001:db8::/32"])];
        for field in ["sourceRanges", "proxyProtocol.balancers"] {
            rows.push(row(
                &format!("gateway.{address}.{field}"),
                json!({}),
                networks(),
                &[Bounds],
            ));
        }
        rows.push(row(
            &format!("gateway.{address}.service.loadBalancerSourceRanges"),
            json!({"gateway": {address: {"service": {"type": "LoadBalancer"}}}}),
            networks(),
            &[Is(service, "/spec/loadBalancerSourceRanges")],
        ));
        rows.push(row(
            &format!("gateway.{address}.service.loadBalancerClass"),
            json!({"gateway": {address: {"service": {"type": "LoadBalancer"}}}}),
            [json!("example.com/inside"), json!("example.com/outside")],
            &[Is(service, "/spec/loadBalancerClass")],
        ));
        rows.push(row(
            &format!("gateway.{address}.service.nodePort"),
            json!({"gateway": {address: {"service": {"type": "NodePort"}}}}),
            [json!(30_687), json!(30_688)],
            &[Is(service, "/spec/ports/0/nodePort")],
        ));
        rows.push(row(
            &format!("gateway.{address}.service.externalTrafficPolicy"),
            json!({"gateway": {address: {"service": {"type": "NodePort"}}}}),
            [json!("Cluster"), json!("Local")],
            &[Is(service, "/spec/externalTrafficPolicy")],
        ));
    }
    rows
}
