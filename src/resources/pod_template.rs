//! What a user's `podTemplate` adds to the pods that the operator makes.
//!
//! It adds and never replaces, but for the time that an instance has to end: what has the name or place of something of the operator's own is refused. The API server
//! refuses it first, by the rules of the CustomResourceDefinition; here it is found for what a later operator has come to
//! own.

use k8s_openapi::{
    api::core::v1::{
        Affinity, ConfigMapEnvSource, ConfigMapKeySelector, Container, EmptyDirVolumeSource, EnvFromSource,
        EnvVar, EnvVarSource, LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec,
        SecretEnvSource, SecretKeySelector, TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Error, containers, quantity::Amount};
use crate::api::{
    self, GatewayPodTemplate, PodPlacement, PodTemplate, PodTemplateMetadata, PodTemplateSecurity,
    TemplateMount, TemplateVariable, TemplateVariableSource, TemplateVariables, TemplateVolume,
};

/// What a template adds, whichever pods it is for.
#[derive(Default)]
pub(super) struct Additions<'a> {
    metadata: Option<&'a PodTemplateMetadata>,
    placement: Option<&'a PodPlacement>,
    grace: Option<i64>,
    volumes: &'a [TemplateVolume],
    env: &'a [TemplateVariable],
    env_from: &'a [TemplateVariables],
    mounts: &'a [TemplateMount],
    /// The spec in which further containers are.
    beside: Option<&'a api::PodTemplateSpec>,
}

impl<'a> Additions<'a> {
    /// Those to instances.
    pub(super) fn to_instances(given: &'a PodTemplate) -> Self {
        let (spec, container) = (given.spec.as_ref(), given.container.as_ref());
        Self {
            metadata: given.metadata.as_ref(),
            placement: spec.map(|spec| &spec.placement),
            grace: spec.and_then(|spec| spec.termination_grace_period_seconds),
            volumes: spec.map_or(&[], |spec| &spec.volumes),
            env: container.map_or(&[], |container| &container.env),
            env_from: container.map_or(&[], |container| &container.env_from),
            mounts: container.map_or(&[], |container| &container.volume_mounts),
            beside: spec,
        }
    }

    /// Those to gateways.
    pub(super) fn to_gateways(given: &'a GatewayPodTemplate) -> Self {
        Self {
            metadata: given.metadata.as_ref(),
            placement: given.spec.as_ref(),
            env: given.container.as_ref().map_or(&[], |container| &container.env),
            ..Self::default()
        }
    }
}

/// Maps whose keys and values are the user's: an empty text in them is a value.
const MAPS: [&str; 5] = [
    "labels",
    "annotations",
    "nodeSelector",
    "matchLabels",
    "volumeAttributes",
];

/// Objects that mean something else when they are empty than when they are not there.
const TELLING: [&str; 4] = [
    "emptyDir",
    "labelSelector",
    "namespaceSelector",
    "podAntiAffinity",
];

/// What the user has written, without what means nothing: `None` where that is all.
///
/// # Errors
/// When an amount cannot be used.
pub(super) fn written(given: Option<&PodTemplate>) -> Result<Option<Value>, Error> {
    let Some(given) = given else { return Ok(None) };
    let mut value = serde_json::to_value(given).unwrap_or_default();
    if let Some(spec) = &given.spec {
        let [before, beside] = containers::written(spec)?;
        for (list, containers) in [("initContainers", before), ("containers", beside)] {
            if !containers.is_empty() {
                value["spec"][list] = serde_json::to_value(containers).unwrap_or_default();
            }
        }
    }
    tidy(&mut value);
    let says_something = value.as_object().is_some_and(|all| !all.is_empty());
    Ok(says_something.then_some(value))
}

/// The pod with what the user adds at `field`. `selector` selects the pods of its component.
///
/// # Errors
/// When something of the operator's own would be replaced, or a value cannot be used.
pub(super) fn extended(
    mut pod: PodTemplateSpec,
    given: &Additions<'_>,
    field: &'static str,
    selector: &LabelSelector,
) -> Result<PodTemplateSpec, Error> {
    let taken = |part: &str, name: &str| Error::Taken {
        field: format!("{field}.{part}"),
        name: name.to_owned(),
    };
    if let Some(given) = given.metadata {
        let metadata = pod.metadata.get_or_insert_default();
        for (part, given, own) in [
            ("metadata.labels", &given.labels, &mut metadata.labels),
            (
                "metadata.annotations",
                &given.annotations,
                &mut metadata.annotations,
            ),
        ] {
            let own = own.get_or_insert_default();
            if let Some(name) = given.keys().find(|key| own.contains_key(*key)) {
                return Err(taken(part, name));
            }
            own.extend(given.clone());
        }
        metadata.labels.take_if(|labels| labels.is_empty());
        metadata.annotations.take_if(|annotations| annotations.is_empty());
    }
    let spec = pod.spec.get_or_insert_default();
    if let Some(given) = given.placement {
        place(spec, given, selector);
        if let Some(given) = &given.security_context {
            secure(spec.security_context.get_or_insert_default(), given);
        }
    }
    spec.termination_grace_period_seconds = given.grace.or(spec.termination_grace_period_seconds);
    let own = spec.volumes.get_or_insert_default();
    for given in given.volumes {
        if own.iter().any(|own| own.name == given.name) {
            return Err(taken("spec.volumes", &given.name));
        }
        own.push(volume(given, field)?);
    }
    spec.volumes.take_if(|volumes| volumes.is_empty());
    if let Some(container) = spec.containers.first_mut() {
        equip(container, given).map_err(|Occupied { part, name }| taken(part, &name))?;
    }
    if let Some(beside) = given.beside {
        let users: Vec<_> = given.volumes.iter().map(|volume| volume.name.as_str()).collect();
        let beside = containers::written(beside)?;
        containers::add(spec, beside, &users).map_err(|Occupied { part, name }| taken(part, &name))?;
    }
    Ok(pod)
}

fn place(spec: &mut PodSpec, given: &PodPlacement, selector: &LabelSelector) {
    spec.node_selector = Some(given.node_selector.clone()).filter(|labels| !labels.is_empty());
    spec.tolerations = some(&given.tolerations, spelled);
    spec.topology_spread_constraints = some(&given.topology_spread_constraints, |constraint| {
        let constraint = spelled(constraint);
        TopologySpreadConstraint {
            label_selector: constraint.label_selector.or_else(|| Some(selector.clone())),
            ..constraint
        }
    });
    spec.priority_class_name.clone_from(&given.priority_class_name);
    spec.runtime_class_name.clone_from(&given.runtime_class_name);
    spec.scheduler_name.clone_from(&given.scheduler_name);
    spec.image_pull_secrets = some(&given.image_pull_secrets, |secret| LocalObjectReference {
        name: secret.name.clone(),
    });
    if let Some(given) = &given.affinity {
        let own = spec.affinity.take().unwrap_or_default();
        let given = spelled(given);
        let affinity = Affinity {
            node_affinity: given.node_affinity.or(own.node_affinity),
            pod_affinity: given.pod_affinity.or(own.pod_affinity),
            pod_anti_affinity: given.pod_anti_affinity.or(own.pod_anti_affinity),
        };
        spec.affinity = Some(affinity);
    }
}

fn secure(own: &mut PodSecurityContext, given: &PodTemplateSecurity) {
    own.se_linux_options = given.se_linux_options.as_ref().map(spelled);
    own.supplemental_groups = Some(given.supplemental_groups.clone()).filter(|groups| !groups.is_empty());
    own.sysctls = Some(given.sysctls.clone()).filter(|settings| !settings.is_empty());
}

fn volume(given: &TemplateVolume, field: &str) -> Result<Volume, Error> {
    let limited = |folder: &EmptyDirVolumeSource| {
        let limit = folder.size_limit.as_ref();
        let limit = limit
            .map(|limit| Amount::parse(&limit.0))
            .transpose()
            .map_err(|source| Error::Quantity {
                field: format!("{field}.spec.volumes: {}: emptyDir.sizeLimit", given.name),
                source,
            })?;
        Ok::<_, Error>(EmptyDirVolumeSource {
            medium: folder.medium.clone().filter(|medium| !medium.is_empty()),
            size_limit: limit.map(|limit| limit.canonical()),
        })
    };
    Ok(Volume {
        name: given.name.clone(),
        config_map: given.config_map.as_ref().map(spelled),
        secret: given.secret.as_ref().map(spelled),
        persistent_volume_claim: given.persistent_volume_claim.as_ref().map(spelled),
        empty_dir: given.empty_dir.as_ref().map(limited).transpose()?,
        image: given.image.as_ref().map(spelled),
        csi: given.csi.as_ref().map(spelled),
        ..Volume::default()
    })
}

/// What the operator has there already.
pub(super) struct Occupied {
    part: &'static str,
    name: String,
}

impl Occupied {
    pub(super) fn new(part: &'static str, name: &str) -> Self {
        let name = name.to_owned();
        Self { part, name }
    }
}

fn equip(container: &mut Container, given: &Additions<'_>) -> Result<(), Occupied> {
    let own = container.env.get_or_insert_default();
    for given in given.env {
        if own.iter().any(|own| own.name == given.name) {
            return Err(Occupied::new("container.env", &given.name));
        }
        own.push(variable(given));
    }
    container.env.take_if(|variables| variables.is_empty());
    container.env_from = some(given.env_from, variables);
    let own = container.volume_mounts.get_or_insert_default();
    let operators = own.len();
    for given in given.mounts {
        if own
            .iter()
            .take(operators)
            .any(|own| overlap(&own.mount_path, &given.mount_path))
        {
            return Err(Occupied::new("container.volumeMounts", &given.mount_path));
        }
        own.push(mount(given));
    }
    container.volume_mounts.take_if(|mounts| mounts.is_empty());
    Ok(())
}

pub(super) fn variable(given: &TemplateVariable) -> EnvVar {
    let source = |source: &TemplateVariableSource| EnvVarSource {
        config_map_key_ref: source
            .config_map_key_ref
            .as_ref()
            .map(spelled::<ConfigMapKeySelector>),
        secret_key_ref: source.secret_key_ref.as_ref().map(spelled::<SecretKeySelector>),
        field_ref: source.field_ref.as_ref().map(spelled),
        ..EnvVarSource::default()
    };
    EnvVar {
        name: given.name.clone(),
        // The API server keeps no empty value.
        value: given.value.clone().filter(|value| !value.is_empty()),
        value_from: given.value_from.as_ref().map(source),
    }
}

fn variables(given: &TemplateVariables) -> EnvFromSource {
    EnvFromSource {
        prefix: Some(given.prefix.clone()),
        config_map_ref: given.config_map_ref.as_ref().map(spelled::<ConfigMapEnvSource>),
        secret_ref: given.secret_ref.as_ref().map(spelled::<SecretEnvSource>),
    }
}

pub(super) fn mount(given: &TemplateMount) -> VolumeMount {
    VolumeMount {
        name: given.name.clone(),
        mount_path: given.mount_path.clone(),
        // Nor does it keep this where it is false.
        read_only: given.read_only.filter(|read_only| *read_only),
        sub_path: given.sub_path.clone().filter(|path| !path.is_empty()),
        ..VolumeMount::default()
    }
}

/// Whether one of two folders is the other one, or lies in it.
fn overlap(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    within(one, other) || within(other, one)
}

pub(super) fn some<T, U>(given: &[T], each: impl FnMut(&T) -> U) -> Option<Vec<U>> {
    (!given.is_empty()).then(|| given.iter().map(each).collect())
}

/// A part of the template as the API server keeps it: without what it leaves out.
pub(super) fn spelled<T: Clone + Serialize + DeserializeOwned>(given: &T) -> T {
    let tidied = serde_json::to_value(given).ok().and_then(|mut value| {
        tidy(&mut value);
        serde_json::from_value(value).ok()
    });
    // What cannot be read back is sent as it was written; the API server judges it.
    tidied.unwrap_or_else(|| given.clone())
}

/// Takes away what the API server does not keep: null, empty texts, lists and maps, and `readOnly: false`.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                if !MAPS.contains(&name.as_str()) {
                    tidy(field);
                }
            }
            fields.retain(|name, field| match field {
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => !Map::is_empty(fields) || TELLING.contains(&name.as_str()),
                Value::Bool(yes) => *yes || name != "readOnly",
                Value::Number(_) => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn folders_overlap_where_one_lies_in_the_other() {
        for (one, other) in [("/tmp", "/tmp"), ("/tmp/a", "/tmp"), ("/etc", "/etc/memgraph")] {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        assert!(!overlap("/tmp", "/tmpfiles"));
    }

    #[test]
    fn what_means_nothing_is_left_out_and_what_does_stays() {
        let template: PodTemplate = serde_json::from_value(json!({
            "metadata": {"labels": {"empty": ""}, "annotations": {}},
            "spec": {
                "nodeSelector": {},
                "tolerations": [{"key": "a", "operator": "Exists", "value": ""}],
                "affinity": {"podAntiAffinity": {}},
                "volumes": [{"name": "scratch", "emptyDir": {}}],
            },
            "container": {"env": []},
        }))
        .unwrap();
        assert_eq!(
            written(Some(&template)).unwrap(),
            Some(json!({
                "metadata": {"labels": {"empty": ""}},
                "spec": {
                    "tolerations": [{"key": "a", "operator": "Exists"}],
                    "affinity": {"podAntiAffinity": {}},
                    "volumes": [{"name": "scratch", "emptyDir": {}}],
                },
            }))
        );
        let nothing = serde_json::from_value(json!({"spec": {"nodeSelector": {}}, "container": {}})).unwrap();
        assert_eq!(written(Some(&nothing)).unwrap(), None);
        assert_eq!(written(None).unwrap(), None);
    }
}
