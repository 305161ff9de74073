//! What an instance's init container may do.

use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::parent::Parent;
use crate::api::names;

/// It may read its own cluster, and nothing else: whether its data is to be set aside stands in the ledger.
pub(super) fn role(parent: &Parent<'_>) -> Role {
    Role {
        metadata: parent.metadata(names::instance_account(&parent.name), names::INSTANCE),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec![names::GROUP.to_owned()]),
            resources: Some(vec!["memgraphclusters".to_owned()]),
            resource_names: Some(vec![parent.name.clone()]),
            verbs: vec!["get".to_owned()],
            ..PolicyRule::default()
        }]),
    }
}

/// Gives the instances' account its role.
pub(super) fn binding(parent: &Parent<'_>) -> RoleBinding {
    let name = names::instance_account(&parent.name);
    RoleBinding {
        metadata: parent.metadata(name.clone(), names::INSTANCE),
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
