//! What a pod of a cluster may do that has an account of its own: read that very cluster, and nothing else.

use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::parent::Parent;
use crate::api::names;

/// The role of this name. A list or watch by one name is what the API server calls `metadata.name=<name>`.
pub(super) fn role(parent: &Parent<'_>, name: String, component: &str, verbs: &[&str]) -> Role {
    Role {
        metadata: parent.metadata(name, component),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec![names::GROUP.to_owned()]),
            resources: Some(vec!["memgraphclusters".to_owned()]),
            resource_names: Some(vec![parent.name.clone()]),
            verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
            ..PolicyRule::default()
        }]),
    }
}

/// Gives the account of this name the role of this name.
pub(super) fn binding(parent: &Parent<'_>, name: String, component: &str) -> RoleBinding {
    RoleBinding {
        metadata: parent.metadata(name.clone(), component),
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
