//! What a gateway may do.

use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::parent::Parent;
use crate::api::names;

/// The gateway may read its own cluster, and nothing else. A list or watch by one name is what the API server
/// calls `metadata.name=<name>`.
pub(super) fn role(parent: &Parent<'_>) -> Role {
    Role {
        metadata: parent.metadata(names::gateway(&parent.name), names::GATEWAY),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec![names::GROUP.to_owned()]),
            resources: Some(vec!["memgraphclusters".to_owned()]),
            resource_names: Some(vec![parent.name.clone()]),
            verbs: ["get", "list", "watch"].map(str::to_owned).into(),
            ..PolicyRule::default()
        }]),
    }
}

/// Gives the gateway's account its role.
pub(super) fn binding(parent: &Parent<'_>) -> RoleBinding {
    let name = names::gateway(&parent.name);
    RoleBinding {
        metadata: parent.metadata(name.clone(), names::GATEWAY),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: name.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: Some(parent.namespace.clone()),
            ..Subject::default()
        }]),
    }
}
