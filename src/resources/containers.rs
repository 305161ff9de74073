//! The containers that a user has run before Memgraph, or beside it.
//!
//! They are written as the API server keeps them: what it drops (zeros, empty lists) is left out, and amounts have its spelling. Else
//! they would differ from what was asked for, and be applied, at every look.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, Lifecycle, LifecycleHandler, PodSpec, Probe, SecurityContext,
};

use super::{
    Error, pod,
    pod_template::{Occupied, mount, some, spelled, variable},
};
use crate::api::{PodTemplateSpec, TemplateContainer, TemplateLifecycle, names};

/// The lists in a pod's spec, and in a user's template.
const INIT: &str = "spec.initContainers";
const BESIDE: &str = "spec.containers";

/// The user's containers as the API server keeps them, without what the operator gives them: those before Memgraph, and those
/// beside it.
///
/// # Errors
/// When an amount cannot be used.
pub(super) fn written(given: &PodTemplateSpec) -> Result<[Vec<Container>; 2], Error> {
    let all = |field: &str, given: &[TemplateContainer]| {
        let spelled = given
            .iter()
            .map(|given| container(&format!("podTemplate.{field}"), given));
        spelled.collect::<Result<Vec<_>, _>>()
    };
    Ok([
        all(INIT, &given.init_containers)?,
        all(BESIDE, &given.containers)?,
    ])
}

/// Adds the user's containers to the pod, each after the operator's own: those have the names and the volumes that they had.
///
/// # Errors
/// When a name is taken, or a volume of the operator's own is mounted otherwise than to read its data.
pub(super) fn add(
    pod: &mut PodSpec,
    [before, beside]: [Vec<Container>; 2],
    users: &[&str],
) -> Result<(), Occupied> {
    let own = pod.init_containers.iter().flatten().chain(&pod.containers);
    let own: Vec<_> = own.map(|container| container.name.clone()).collect();
    for (part, given) in [(INIT, &before), (BESIDE, &beside)] {
        for container in given {
            if own.contains(&container.name) {
                return Err(Occupied::new(part, &container.name));
            }
            for mount in container.volume_mounts.iter().flatten() {
                // With a sub-path the kubelet makes a folder that is not there yet, and root is its owner: Memgraph starts with
                // none but its own.
                let only_reads = mount.name == names::DATA_VOLUME
                    && mount.read_only == Some(true)
                    && mount.sub_path.is_none();
                if !only_reads && !users.contains(&mount.name.as_str()) {
                    return Err(Occupied::new(part, &mount.name));
                }
            }
        }
    }
    let init = pod.init_containers.get_or_insert_default();
    init.extend(before.into_iter().map(restricted));
    pod.init_containers.take_if(|containers| containers.is_empty());
    pod.containers.extend(beside.into_iter().map(restricted));
    Ok(())
}

/// What the restricted Pod Security Standard asks of a container is there, unless the user has said something about it. What it
/// asks besides is the pod's. Its file system stays open to it: the standard does not ask for more, and few images can do without.
fn restricted(container: Container) -> Container {
    let given = container.security_context.unwrap_or_default();
    let adds = given.capabilities.as_ref().and_then(|given| given.add.as_ref());
    let is_privileged = given.privileged == Some(true);
    // The API server refuses the one with the other.
    let escalates =
        is_privileged || adds.is_some_and(|adds| adds.iter().any(|added| added == "CAP_SYS_ADMIN"));
    let own = pod::container_security();
    let drop = own.capabilities.and_then(|own| own.drop);
    let capabilities = given.capabilities.clone().unwrap_or_default();
    let capabilities = Capabilities {
        drop: capabilities.drop.or_else(|| drop.filter(|_| !is_privileged)),
        ..capabilities
    };
    Container {
        security_context: Some(SecurityContext {
            allow_privilege_escalation: given
                .allow_privilege_escalation
                .or_else(|| own.allow_privilege_escalation.filter(|_| !escalates)),
            capabilities: Some(capabilities).filter(|given| *given != Capabilities::default()),
            ..given
        }),
        ..container
    }
}

fn container(field: &str, given: &TemplateContainer) -> Result<Container, Error> {
    let resources = given.resources.as_ref().map(|resources| {
        let field = format!("{field}: {}: resources", given.name);
        pod::resources(&field, resources)
    });
    Ok(Container {
        name: given.name.clone(),
        image: Some(given.image.clone()),
        image_pull_policy: given.image_pull_policy.clone(),
        command: some(&given.command, Clone::clone),
        args: some(&given.args, Clone::clone),
        working_dir: given.working_dir.clone(),
        env: some(&given.env, variable),
        env_from: some(&given.env_from, spelled),
        ports: some(&given.ports, port),
        resources: resources.transpose()?.flatten(),
        volume_mounts: some(&given.volume_mounts, mount),
        readiness_probe: given.readiness_probe.as_ref().map(probe),
        liveness_probe: given.liveness_probe.as_ref().map(probe),
        startup_probe: given.startup_probe.as_ref().map(probe),
        lifecycle: given.lifecycle.as_ref().and_then(lifecycle),
        restart_policy: given.restart_policy.clone(),
        security_context: given
            .security_context
            .as_ref()
            .map(spelled)
            .filter(|given| *given != SecurityContext::default()),
        ..Container::default()
    })
}

fn port(given: &ContainerPort) -> ContainerPort {
    let port = spelled(given);
    ContainerPort {
        host_port: port.host_port.filter(|port| *port != 0),
        // The API server's default, but part of the key by which it merges ports.
        protocol: port.protocol.or_else(|| Some("TCP".to_owned())),
        ..port
    }
}

/// A zero stands for the default.
fn probe(given: &Probe) -> Probe {
    let probe = spelled(given);
    let told = |number: Option<i32>| number.filter(|number| *number != 0);
    Probe {
        initial_delay_seconds: told(probe.initial_delay_seconds),
        timeout_seconds: told(probe.timeout_seconds),
        period_seconds: told(probe.period_seconds),
        success_threshold: told(probe.success_threshold),
        failure_threshold: told(probe.failure_threshold),
        ..probe
    }
}

fn lifecycle(given: &TemplateLifecycle) -> Option<Lifecycle> {
    let told = |given: &Option<LifecycleHandler>| given.as_ref().map(spelled);
    let lifecycle = Lifecycle {
        post_start: told(&given.post_start),
        pre_stop: told(&given.pre_stop),
        ..Lifecycle::default()
    };
    (lifecycle != Lifecycle::default()).then_some(lifecycle)
}
