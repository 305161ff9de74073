//! The headless Service that gives each instance its DNS name.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::{gateway_services::port, parent::Parent, pod};
use crate::api::names;

/// The headless Service.
///
/// A name is there before its instance is ready: certificates of instances that take TLS are made out to it, and an instance that starts
/// asks its peers by it.
pub(super) fn build(parent: &Parent<'_>) -> Service {
    Service {
        metadata: parent.metadata(names::headless_service(&parent.name), names::INSTANCE),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selector(&parent.name, names::INSTANCE)),
            ports: Some(vec![
                port(pod::BOLT, i32::from(names::BOLT_PORT), pod::BOLT),
                port(
                    pod::REPLICATION,
                    i32::from(names::REPLICATION_PORT),
                    pod::REPLICATION,
                ),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
