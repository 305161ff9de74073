//! The Services in front of the gateway.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Error, parent::Parent, pod};
use crate::api::{self, names};

/// The Services: the one that leads to MAIN, then the one that leads to replicas, where there is one.
///
/// # Errors
/// When one of them has the name of another Service of the cluster.
pub(super) fn build(parent: &Parent<'_>) -> Result<Vec<Service>, Error> {
    let spec = &parent.spec.gateway;
    let instances = names::headless_service(&parent.name);
    let main = spec.read_write_service(&parent.name);
    let replicas = spec.read_service(&parent.name);
    let clash = |field: &'static str, name: &String| Error::TwoServices {
        field,
        name: name.clone(),
    };
    if main == instances {
        return Err(clash("gateway.readWrite.service.name", &main));
    }
    let mut services = Vec::new();
    if parent.spec.has_read_gateway() {
        if replicas == instances || replicas == main {
            return Err(clash("gateway.read.service.name", &replicas));
        }
        services.push(gateway(parent, replicas, &spec.read.service, pod::BOLT_READ));
    }
    services.insert(0, gateway(parent, main, &spec.read_write.service, pod::BOLT));
    Ok(services)
}

fn gateway(parent: &Parent<'_>, name: String, spec: &api::ServiceSpec, target: &str) -> Service {
    let mut metadata = parent.metadata(name, names::GATEWAY);
    let own = names::labels("", "");
    let further = spec.labels.iter();
    let further = further.filter(|(key, _)| !own.contains_key(*key) && !key.starts_with("memgraph.dev/"));
    let labels = metadata.labels.get_or_insert_default();
    labels.extend(further.map(|(key, value)| (key.clone(), value.clone())));
    if !spec.annotations.is_empty() {
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.extend(spec.annotations.clone());
    }
    let ranges = &spec.load_balancer_source_ranges;
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(spec.type_.as_str().to_owned()),
            selector: Some(names::selector(&parent.name, names::GATEWAY)),
            ports: Some(vec![ServicePort {
                node_port: spec.node_port,
                ..port(pod::BOLT, spec.port, target)
            }]),
            load_balancer_class: spec.load_balancer_class.clone(),
            load_balancer_source_ranges: (!ranges.is_empty())
                .then(|| ranges.iter().map(ToString::to_string).collect()),
            external_traffic_policy: spec
                .external_traffic_policy
                .map(|policy| policy.as_str().to_owned()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// A port of a Service, which leads to the container port of name `target`.
pub(super) fn port(name: &str, port: i32, target: &str) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(target.to_owned())),
        ..ServicePort::default()
    }
}
