//! The Kubernetes objects that a cluster consists of.
//!
//! Each builder is a pure function of the [`MemgraphCluster`]. It writes only the fields that the operator
//! owns, in the API server's own spelling, so that applying an object twice changes nothing.

mod containers;
mod control_secrets;
mod credentials;
mod disruption_budgets;
mod flags;
mod gateway_deployment;
mod gateway_services;
mod headless_service;
mod hibernation;
mod inheritance;
mod instance_init;
pub mod license;
mod network_policies;
mod object;
mod own_cluster_role;
mod parent;
mod pod;
mod pod_template;
mod quantity;
mod replacement;
mod service_accounts;
mod start_gate;
mod statefulset;
pub mod tls;

#[cfg(test)]
mod tests;

use crate::api::{MemgraphCluster, names};

use self::parent::Parent;
pub use self::{
    control_secrets::{control_authority, control_certificates, is_good_for_gateways, read_authorities},
    credentials::{
        PASSWORD, PASSWORD_VARIABLE, USER_VARIABLE, USERNAME, application, credentials, is_application,
        read_credentials, text,
    },
    disruption_budgets::Evictions,
    hibernation::{Rest, asks_for_none, is_being_carried_out, lacks_pods, outlive_their_set},
    inheritance::{INHERITED_ANNOTATION, claims_inheritance, inherits},
    network_policies::{InvalidPodLabels, OperatorPods},
    object::{HASH_ANNOTATION, Kind, Object, ObjectKey},
    parent::{is_controlled_by, is_left_behind},
    quantity::{Amount, InvalidQuantity},
    replacement::{Replacement, keeps_volumes, template_size},
    statefulset::{configuration, volume_size},
};

/// What an instance's init container does with its own cluster: it reads in the ledger whether the data is to be set aside.
const INSTANCE_VERBS: &[&str] = &["get"];

/// What a gateway does with its own cluster: it follows the route.
const GATEWAY_VERBS: &[&str] = &["get", "list", "watch"];

/// The operator's own image, which the gateways and the init containers of instances run too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorImage {
    /// Its name, with a tag or a digest.
    pub name: String,
    /// `Always`, `IfNotPresent` or `Never`. None: `Always` for the tag `latest`, else `IfNotPresent`, by Kubernetes' default.
    pub pull_policy: Option<String>,
}

/// What a cluster's objects have of the operator that looks after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Its image.
    pub image: OperatorImage,
    /// Its own pods.
    pub pods: OperatorPods,
    /// Where it sends traces to, and gateways do too.
    pub collector: Option<String>,
}

/// Why a cluster's objects cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster does not come from the API server, so that nothing can belong to it.
    #[error(
        "cannot build the objects of a MemgraphCluster without {0}: it must be read from the API server first"
    )]
    NotStored(&'static str),
    /// `config` has flags that the operator sets itself.
    #[error("config: belongs to the operator and cannot be set: {}; remove it", .0.join(", "))]
    OwnedFlags(Vec<String>),
    /// `config` switches periodic snapshots off, without which Memgraph does not start.
    #[error(
        "config: storage-snapshot-interval-sec must be greater than 0, because Memgraph refuses to start with a \
         write-ahead log but without snapshots"
    )]
    SnapshotsOff,
    /// A field is no quantity.
    #[error("{field}: cannot be used")]
    Quantity {
        /// The field, from `spec` on.
        field: String,
        /// What is wrong with it.
        source: InvalidQuantity,
    },
    /// `podTemplate` has something with the name or place of what the operator itself makes.
    #[error("{field}: {name} belongs to the operator and cannot be set; take another one")]
    Taken {
        /// The list or map, from `spec` on.
        field: String,
        /// Name, key or path.
        name: String,
    },
    /// Two Services would have one name.
    #[error("{field}: {name} is the name of another Service of the cluster; take another one")]
    TwoServices {
        /// The field, from `spec` on.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// A Secret's content cannot be written as JSON.
    #[error("cannot write the content of Secret {name} as JSON")]
    EncodeSecret {
        /// Its name.
        name: String,
        /// The reason.
        source: serde_json::Error,
    },
    /// An object cannot be written as JSON.
    #[error("cannot write {kind:?} {name} as JSON")]
    Encode {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// The reason.
        source: serde_json::Error,
    },
}

/// The objects of a cluster, and those that it must not have.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// What to apply, in this order: what pods refer to comes before them.
    pub objects: Vec<Object>,
    /// What to delete, in this order, if it is there and [belongs to the cluster](is_controlled_by): an earlier
    /// spec asked for it. What users name themselves is not in it: see [`Desired::is_left_over`].
    pub absent: Vec<ObjectKey>,
}

impl Desired {
    /// Whether to delete an object that [belongs to the cluster](is_controlled_by), because an earlier spec asked for it by a
    /// name that this one does not tell: a Service.
    #[must_use]
    pub fn is_left_over(&self, key: &ObjectKey) -> bool {
        key.kind == Kind::Service && !self.objects.iter().any(|object| object.key() == key)
    }
}

/// What tells the content of Secrets that the spec names from any other: with each other one, instances are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// Of the certificate of `spec.tls`.
    pub certificate: Option<String>,
    /// Of the license of `spec.license`.
    pub license: Option<String>,
    /// The Secret whose certificate a pod still has although `spec.tls` names none any more. It replaces no instance.
    pub former: Option<String>,
}

/// The disruption budget of the instances, where it [allows none](Evictions::None) to be taken.
///
/// # Errors
/// As [`desired`].
pub fn lowered_budget(cluster: &MemgraphCluster) -> Result<Option<Object>, Error> {
    let evictions = Evictions::of(cluster);
    if evictions != Evictions::None {
        return Ok(None);
    }
    let budget = disruption_budgets::instances(&Parent::of(cluster)?, evictions);
    budget.as_ref().map(Object::new).transpose()
}

/// What a cluster with this spec, and these contents of Secrets, consists of. `image`: what instances that are made now run, which
/// may be another one than `spec.image`. That alone counts for what is [outdated](configuration).
///
/// # Errors
/// When the cluster was not read from the API server, or when the spec has a value that the schema could not
/// refuse; the message names field and remedy.
pub fn desired(
    cluster: &MemgraphCluster,
    operator: &Installation,
    image: &str,
    secrets: &Fingerprints,
) -> Result<Desired, Error> {
    let parent = Parent::of(cluster)?;
    let instances = names::instance_account(&parent.name);
    let mut objects = vec![
        Object::new(&service_accounts::instance(&parent))?,
        Object::new(&own_cluster_role::role(
            &parent,
            instances.clone(),
            names::INSTANCE,
            INSTANCE_VERBS,
        ))?,
        Object::new(&own_cluster_role::binding(&parent, instances, names::INSTANCE))?,
        Object::new(&start_gate::build(&parent))?,
        Object::new(&headless_service::build(&parent))?,
        Object::new(&statefulset::build(&parent, &operator.image, image, secrets)?)?,
    ];
    let mut absent = Vec::new();
    let protected = parent.spec.network_policy.enabled;
    if protected {
        // Before the first pod.
        let policy = Object::new(&network_policies::instances(&parent, &operator.pods))?;
        objects.insert(0, policy);
    } else {
        let name = names::instances_policy(&parent.name);
        absent.push(ObjectKey::new(Kind::NetworkPolicy, name));
    }
    match disruption_budgets::instances(&parent, Evictions::of(cluster)) {
        Some(budget) => objects.push(Object::new(&budget)?),
        None => absent.push(ObjectKey::new(
            Kind::PodDisruptionBudget,
            names::instances_budget(&parent.name),
        )),
    }

    let gateway = &parent.spec.gateway;
    if gateway.enabled {
        let account = names::gateway(&parent.name);
        objects.extend([
            Object::new(&service_accounts::gateway(&parent))?,
            Object::new(&own_cluster_role::role(
                &parent,
                account.clone(),
                names::GATEWAY,
                GATEWAY_VERBS,
            ))?,
            Object::new(&own_cluster_role::binding(&parent, account, names::GATEWAY))?,
        ]);
        for service in gateway_services::build(&parent)? {
            objects.push(Object::new(&service)?);
        }
    }
    match disruption_budgets::gateways(&parent).filter(|_| gateway.enabled) {
        Some(budget) => objects.push(Object::new(&budget)?),
        None => absent.push(ObjectKey::new(
            Kind::PodDisruptionBudget,
            names::gateway(&parent.name),
        )),
    }
    if gateway.enabled {
        objects.push(Object::new(&gateway_deployment::build(
            &parent,
            operator,
            secrets.former.as_deref(),
        )?)?);
    } else {
        let kinds = [
            Kind::Deployment,
            Kind::RoleBinding,
            Kind::Role,
            Kind::ServiceAccount,
        ];
        absent.extend(kinds.map(|kind| ObjectKey::new(kind, names::gateway(&parent.name))));
    }
    // The last one, because it has what the API server may refuse: a client's address that is none.
    if protected && gateway.enabled {
        objects.push(Object::new(&network_policies::gateways(&parent, &operator.pods))?);
    } else {
        let name = names::gateway(&parent.name);
        absent.push(ObjectKey::new(Kind::NetworkPolicy, name));
    }
    Ok(Desired { objects, absent })
}
