//! What a human may ask the operator for: to move MAIN, to take an instance out, to fill one anew, to change nothing for a while.

use std::{io, time::Duration};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    Error, Outcome,
    access::{Access, failed},
    args::{FenceArgs, PauseArgs, ResetArgs, SwitchoverArgs, WaitArgs},
    render,
};
use crate::api::{MemgraphCluster, MemgraphClusterStatus, SwitchoverState, conditions::ConditionType, names};

/// The field manager of what is changed here.
const MANAGER: &str = "kubectl-memgraph";
/// How often a change is tried again that somebody else came before.
const ATTEMPTS: usize = 5;

/// How far something that was asked for has come.
enum Progress {
    /// It goes on; a line that says how.
    Going(String),
    /// It is over.
    Over(Outcome, String),
}

pub(super) async fn switchover(
    asked: &SwitchoverArgs,
    access: &Access,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    let before = access.get(&asked.name).await?;
    tell_owners(&before, "f:switchover", "spec.switchover", progress)?;
    let id = Timestamp::now().to_string();
    // Without a target of its own, a former request's target must not stay.
    let request = json!({"requestId": id, "target": asked.to});
    patch(access, &asked.name, json!({"spec": {"switchover": request}})).await?;
    writeln!(
        progress,
        "asked to move MAIN to {} (request {id})",
        asked.to.as_deref().unwrap_or("the best replica")
    )?;
    let judge = |cluster: &MemgraphCluster| {
        let record = cluster.status.as_ref()?.switchover.as_ref()?;
        if record.request_id != id {
            return None;
        }
        Some(match record.state {
            SwitchoverState::Pending => Progress::Going(waits("the operator waits", &record.message)),
            SwitchoverState::Running => Progress::Going(running(cluster)),
            SwitchoverState::Succeeded => Progress::Over(
                Outcome::Done,
                format!(
                    "MAIN is {}",
                    record.target.as_deref().unwrap_or("where it was to be")
                ),
            ),
            SwitchoverState::Failed => Progress::Over(Outcome::Refused, waits("it failed", &record.message)),
            SwitchoverState::Refused => Progress::Over(Outcome::Refused, waits("refused", &record.message)),
        })
    };
    wait(&asked.waiting, access.follow(&asked.name), judge, progress).await
}

fn waits(what: &str, why: &str) -> String {
    if why.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {why}")
    }
}

fn running(cluster: &MemgraphCluster) -> String {
    let ledger = cluster.status.as_ref().and_then(|status| status.ledger.as_ref());
    let operation = ledger.and_then(|ledger| ledger.operation.as_ref());
    operation.map_or_else(
        || "under way".to_owned(),
        |operation| {
            let from = operation.from.as_deref().unwrap_or("nobody");
            format!("MAIN moves from {from} to {}; clients wait", operation.target)
        },
    )
}

pub(super) async fn fence(
    asked: &FenceArgs,
    fenced: bool,
    access: &Access,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    let (name, instance) = (cluster_of(&asked.instance)?, &asked.instance);
    let before = access.get(name).await?;
    tell_owners(&before, "f:fencedInstances", "spec.fencedInstances", progress)?;
    let leads = |cluster: &MemgraphCluster| {
        let ledger = cluster.status.as_ref().and_then(|status| status.ledger.as_ref());
        ledger.is_some_and(|ledger| ledger.main.instance == *instance)
    };
    let has_led = leads(&before);
    if before.spec.fenced_instances.contains(instance) == fenced {
        writeln!(
            progress,
            "{instance} is {} already",
            if fenced { "fenced" } else { "not fenced" }
        )?;
    } else {
        set_fenced(access, before, instance, fenced).await?;
        let done = if fenced {
            "gets no client and is not promoted any more"
        } else {
            "may serve again"
        };
        writeln!(progress, "{instance} {done}, as soon as the operator has seen it")?;
    }
    let judge = |cluster: &MemgraphCluster| {
        let status = cluster.status.as_ref()?;
        if status.observed_generation != cluster.metadata.generation {
            return None;
        }
        let stalled = stalled(status);
        if fenced && leads(cluster) {
            let why = stalled.unwrap_or_else(|| "no other instance can take over yet".to_owned());
            return Some(Progress::Going(format!("{instance} is still MAIN: {why}")));
        }
        // It has left, and clients wait for its successor.
        if fenced && has_led && status.main.is_none() {
            let why = stalled.unwrap_or_else(|| running(cluster));
            return Some(Progress::Going(format!("nobody is MAIN yet: {why}")));
        }
        let main = status.main.as_deref().unwrap_or("nobody");
        Some(Progress::Over(Outcome::Done, format!("done; MAIN is {main}")))
    };
    wait(&asked.waiting, access.follow(name), judge, progress).await
}

async fn set_fenced(
    access: &Access,
    before: MemgraphCluster,
    instance: &str,
    fenced: bool,
) -> Result<(), Error> {
    let name = before.name_any();
    let mut cluster = before;
    for attempt in 1.. {
        let mut instances = cluster.spec.fenced_instances.clone();
        instances.retain(|other| other != instance);
        if fenced {
            instances.push(instance.to_owned());
        }
        instances.sort();
        // Read and written at one version: what somebody else has fenced meanwhile stays fenced.
        let change = json!({
            "metadata": {"resourceVersion": cluster.resource_version()},
            "spec": {"fencedInstances": instances},
        });
        match patch(access, &name, change).await {
            Err(Error::Request { source, .. })
                if attempt < ATTEMPTS
                    && matches!(&*source, kube::Error::Api(answer) if answer.code == 409) =>
            {
                cluster = access.get(&name).await?;
            }
            done => return done,
        }
    }
    Ok(())
}

pub(super) async fn reset(
    asked: &ResetArgs,
    access: &Access,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    let (name, instance) = (cluster_of(&asked.instance)?, &asked.instance);
    let cluster = access.get(name).await?;
    let status = cluster.status.clone().unwrap_or_default();
    if status
        .ledger
        .as_ref()
        .is_some_and(|ledger| ledger.relies_on(instance))
    {
        return Err(Error::Usage(format!(
            "{instance} is MAIN or holds every acknowledged write: its data is not set aside. Move that role away first, by \
             kubectl memgraph switchover {name} or kubectl memgraph fence {instance}"
        )));
    }
    let in_pod = cluster.spec.storage.empty_dir.is_some();
    if !asked.yes {
        let fate = if in_pod {
            "will be deleted with its pod (storage.emptyDir)"
        } else {
            "will be in a folder on its volume, and nowhere else"
        };
        return Err(Error::Usage(format!(
            "whatever {instance} alone holds {fate}: say --yes if that is meant"
        )));
    }
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    let change =
        json!({"metadata": {"annotations": {names::RESET_ANNOTATION: Timestamp::now().to_string()}}});
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let annotated = pods
        .patch_metadata(instance, &params, &Patch::Merge(&change))
        .await;
    let annotated = annotated.map_err(failed(format!(
        "annotate the pod {instance} of {}",
        access.namespace
    )))?;
    let old_pod = annotated.uid();
    let (wish, fate) = if in_pod {
        (
            format!("delete the data of {instance} with its pod"),
            "its data was deleted with its former pod",
        )
    } else {
        (
            format!("set the data of {instance} aside"),
            "its data is set aside",
        )
    };
    writeln!(progress, "asked to {wish}")?;
    let mut ordered = false;
    let judge = |cluster: &MemgraphCluster| {
        let status = cluster.status.as_ref()?;
        let order = status
            .ledger
            .as_ref()?
            .resets
            .iter()
            .find(|order| order.instance == *instance);
        let now = status.instances.iter().find(|i| i.name == *instance);
        match order {
            Some(order) => {
                ordered = true;
                let old = Some(&order.pod_uid) == old_pod.as_ref();
                Some(Progress::Going(
                    if old { "its pod is replaced" } else { fate }.to_owned(),
                ))
            }
            None if ordered => {
                let data = now.and_then(|i| i.data_status.as_deref()).unwrap_or("away");
                Some(if matches!(data, "ready" | "replicating") {
                    Progress::Over(Outcome::Done, format!("{instance} follows MAIN again"))
                } else {
                    Progress::Going(format!("it is filled anew from MAIN: {data}"))
                })
            }
            None => None,
        }
    };
    wait(&asked.waiting, access.follow(name), judge, progress).await
}

pub(super) async fn pause(
    asked: &PauseArgs,
    paused: bool,
    access: &Access,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    let before = access.get(&asked.name).await?;
    tell_owners(&before, "f:paused", "spec.paused", progress)?;
    patch(access, &asked.name, json!({"spec": {"paused": paused}})).await?;
    let judge = |cluster: &MemgraphCluster| {
        let status = cluster.status.as_ref()?;
        if status.observed_generation != cluster.metadata.generation {
            return None;
        }
        let condition = condition(status, ConditionType::Paused)?;
        Some(match (paused, condition.status == "True") {
            (true, true) => Progress::Over(
                Outcome::Done,
                format!(
                    "{} is paused: a MAIN that is lost is not replaced before kubectl memgraph resume {}",
                    asked.name, asked.name
                ),
            ),
            (false, false) => Progress::Over(Outcome::Done, format!("{} goes on", asked.name)),
            _ => Progress::Going(waits("the operator waits", &condition.message)),
        })
    };
    wait(&asked.waiting, access.follow(&asked.name), judge, progress).await
}

fn condition(status: &MemgraphClusterStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|c| c.type_ == kind.as_str())
}

fn stalled(status: &MemgraphClusterStatus) -> Option<String> {
    let stalled = condition(status, ConditionType::Stalled).filter(|c| c.status == "True")?;
    Some(stalled.message.clone())
}

/// The cluster that an instance belongs to, by its name.
fn cluster_of(instance: &str) -> Result<&str, Error> {
    instance
        .rsplit_once('-')
        .map(|(cluster, _)| cluster)
        .filter(|cluster| names::ordinal(cluster, instance).is_some())
        .ok_or_else(|| {
            Error::Usage(format!(
                "{instance} is no instance: that is a cluster's name, '-' and a number, such as demo-1"
            ))
        })
}

async fn patch(access: &Access, name: &str, change: Value) -> Result<(), Error> {
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patched = access
        .clusters()
        .patch(name, &params, &Patch::Merge(&change))
        .await;
    patched.map_err(failed(format!(
        "change the cluster {name} of {}",
        access.namespace
    )))?;
    Ok(())
}

/// Says who else writes a field: whoever applies it from Git will take back what is changed here.
fn tell_owners(
    cluster: &MemgraphCluster,
    field: &str,
    path: &str,
    progress: &mut dyn io::Write,
) -> Result<(), Error> {
    for manager in owners(cluster, field) {
        writeln!(
            progress,
            "note: {path} is written by {manager} too: change it there as well, or it is taken back"
        )?;
    }
    Ok(())
}

/// The field managers, other than people's own tools, that have written this field of the spec.
fn owners(cluster: &MemgraphCluster, field: &str) -> Vec<String> {
    let entries = cluster.metadata.managed_fields.iter().flatten();
    let theirs = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| !fields["f:spec"][field].is_null())
    });
    let mut managers: Vec<_> = theirs.filter_map(|entry| entry.manager.clone()).collect();
    managers.retain(|manager| manager != MANAGER && !manager.starts_with("kubectl"));
    managers.sort();
    managers.dedup();
    managers
}

/// Follows the cluster until what was asked for is over, and says how it goes on.
async fn wait(
    waiting: &WaitArgs,
    changes: impl Stream<Item = Result<Option<MemgraphCluster>, Error>>,
    mut judge: impl FnMut(&MemgraphCluster) -> Option<Progress>,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    if waiting.no_wait {
        return Ok(Outcome::Done);
    }
    let limit: Duration = waiting.timeout.0;
    let mut changes = std::pin::pin!(changes);
    let mut told = String::new();
    let following = async {
        while let Some(change) = changes.next().await {
            let Some(cluster) = change? else {
                return Err(Error::Usage("the cluster has been deleted meanwhile".to_owned()));
            };
            match judge(&cluster) {
                Some(Progress::Over(outcome, text)) => {
                    writeln!(progress, "{text}")?;
                    return Ok(outcome);
                }
                Some(Progress::Going(text)) if text != told => {
                    writeln!(progress, "{text}")?;
                    told = text;
                }
                Some(Progress::Going(_)) | None => {}
            }
        }
        Err(Error::Usage("the API server has ended the watch".to_owned()))
    };
    match timeout(limit, following).await {
        Ok(done) => done,
        Err(_) => {
            writeln!(progress, "not over after {}; it goes on", render::time(limit))?;
            Ok(Outcome::TimedOut)
        }
    }
}
