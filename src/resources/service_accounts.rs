//! Who the pods are.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::parent::Parent;
use crate::api::names;

/// The instances' account. Only the init container gets a token of it, and that may only read the own cluster.
pub(super) fn instance(parent: &Parent<'_>) -> ServiceAccount {
    account(parent, names::instance_account(&parent.name), names::INSTANCE)
}

/// The gateway's account.
pub(super) fn gateway(parent: &Parent<'_>) -> ServiceAccount {
    account(parent, names::gateway(&parent.name), names::GATEWAY)
}

fn account(parent: &Parent<'_>, name: String, component: &str) -> ServiceAccount {
    ServiceAccount {
        metadata: parent.metadata(name, component),
        // A pod that needs the token says so itself.
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
