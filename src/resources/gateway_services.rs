//! The Services in front of the gateway.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{parent::Parent, pod};
use crate::api::{self, names};

/// The Service that leads to MAIN.
pub(super) fn read_write(parent: &Parent<'_>) -> Service {
    let spec = &parent.spec.gateway.read_write.service;
    gateway(parent, names::gateway(&parent.name), spec, pod::BOLT)
}

/// The Service that leads to replicas.
pub(super) fn read(parent: &Parent<'_>) -> Service {
    let spec = &parent.spec.gateway.read.service;
    gateway(parent, names::read_gateway(&parent.name), spec, pod::BOLT_READ)
}

fn gateway(parent: &Parent<'_>, name: String, spec: &api::ServiceSpec, target: &str) -> Service {
    let mut metadata = parent.metadata(name, names::GATEWAY);
    if !spec.annotations.is_empty() {
        metadata.annotations = Some(spec.annotations.clone());
    }
    let ranges = &spec.load_balancer_source_ranges;
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(spec.type_.as_str().to_owned()),
            selector: Some(names::selector(&parent.name, names::GATEWAY)),
            ports: Some(vec![port(pod::BOLT, spec.port, target)]),
            load_balancer_source_ranges: (!ranges.is_empty())
                .then(|| ranges.iter().map(ToString::to_string).collect()),
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
