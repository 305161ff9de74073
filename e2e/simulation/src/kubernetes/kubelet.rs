//! What a node does with the pods that are bound to it.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::{AbortHandle, spawn_local},
    time::sleep,
};

use super::{
    Kubernetes, Sandbox,
    nodes::Node,
    status::{self, Container, PodStatus},
    workloads::{claim_of, has_own_volume},
};
use crate::api::{Key, Resource};

/// How long a pod takes to get its network and its first container, in milliseconds.
const SANDBOX: std::ops::RangeInclusive<u64> = 50..=900;
/// How long a container takes to start, in milliseconds.
const START: std::ops::RangeInclusive<u64> = 20..=300;
/// The pause before a container is started for the second time in a row; it doubles (kubelet: `CrashLoopBackOff`).
const BACKOFF: Duration = Duration::from_secs(10);
/// The longest of these pauses.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// After a container has run for so long, the pauses begin anew.
const BACKOFF_RESET: Duration = Duration::from_secs(600);

/// Ends a task with whoever holds this.
struct Tied(AbortHandle);

impl Drop for Tied {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn tied(task: impl Future<Output = ()> + 'static) -> Tied {
    Tied(spawn_local(task).abort_handle())
}

/// Looks after every pod for ever.
pub(super) async fn run(kubernetes: Rc<Kubernetes>) {
    let mut changes = kubernetes.api.store().changes(&Resource::pods());
    let mut known = BTreeSet::new();
    loop {
        changes.get_and_see();
        let pods: Vec<(Key, String)> = {
            let store = kubernetes.api.store();
            let pods = store.all(&Resource::pods());
            let pods = pods.filter(|(_, pod)| pod["spec"]["nodeName"] != super::ELSEWHERE);
            pods.map(|(key, pod)| (key.clone(), uid(pod))).collect()
        };
        for (key, uid) in pods {
            if known.insert(uid.clone()) {
                spawn_local(look_after(Rc::clone(&kubernetes), key, uid));
            }
        }
        changes.changed().await;
    }
}

fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// What somebody wants of a pod.
enum Wish {
    /// It is to end.
    End {
        /// For how many seconds it goes on before it is told.
        farewell: u64,
        /// For how many seconds it may take then.
        grace: u64,
    },
    /// It is not there any more: it was deleted by force.
    Gone,
}

struct Keeper {
    kubernetes: Rc<Kubernetes>,
    key: Key,
    uid: String,
    node: Node,
}

impl Keeper {
    fn pod(&self) -> Option<crate::api::Object> {
        let pod = self.kubernetes.api.store().get(&Resource::pods(), &self.key)?;
        (pod["metadata"]["uid"] == *self.uid).then_some(pod)
    }

    /// Waits until the node is told that the pod must end.
    async fn wish(&self) -> Wish {
        let mut changes = self.kubernetes.api.store().changes(&Resource::pods());
        loop {
            changes.get_and_see();
            self.node.reachable().await;
            match self.pod() {
                None => return Wish::Gone,
                Some(pod) if !pod["metadata"]["deletionTimestamp"].is_null() => {
                    let grace = pod["metadata"]["deletionGracePeriodSeconds"]
                        .as_u64()
                        .unwrap_or(30);
                    let hook = &pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"];
                    let farewell = hook.as_u64().unwrap_or(0).min(grace);
                    return Wish::End {
                        farewell,
                        grace: grace - farewell,
                    };
                }
                Some(_) => {}
            }
            changes.changed().await;
            self.pause(5..=100).await;
        }
    }

    async fn pause(&self, millis: std::ops::RangeInclusive<u64>) {
        let millis = self.kubernetes.chance(|chance| chance.u64(millis));
        sleep(Duration::from_millis(millis)).await;
    }

    /// The pod has ended: it goes.
    fn remove(&self) {
        if self.pod().is_some() {
            self.kubernetes.api.store().remove(&Resource::pods(), &self.key);
        }
    }

    /// Whether the volume is free: that of a pod which was deleted by force may still be in use on a node that does not
    /// know it.
    async fn volume(&self) -> Option<String> {
        let pod = self.pod()?;
        let Some(claim) = claim_of(&pod) else {
            // It is the pod's own, and begins and ends with it.
            let own = has_own_volume(&pod).then(|| format!("empty-dir-{}", self.uid));
            return Some(own.unwrap_or_default());
        };
        let claim = self
            .kubernetes
            .api
            .store()
            .get(&Resource::claims(), &(self.key.0.clone(), claim))?;
        Some(claim["spec"]["volumeName"].as_str()?.to_owned())
    }
}

async fn look_after(kubernetes: Rc<Kubernetes>, key: Key, uid: String) {
    let Some(pod) = kubernetes.api.store().get(&Resource::pods(), &key) else {
        return;
    };
    kubernetes.with_api().await;
    let node = kubernetes.node_for(&pod);
    kubernetes.api.store().edit(&Resource::pods(), &key, |pod| {
        pod["spec"]["nodeName"] = json!(node.name());
    });
    let keeper = Keeper {
        kubernetes: Rc::clone(&kubernetes),
        key,
        uid,
        node: node.clone(),
    };
    keeper.pause(5..=100).await;
    kubernetes
        .api
        .store()
        .edit(&Resource::pods(), &keeper.key, |pod| {
            pod["spec"]["nodeName"] = json!(node.name());
        });
    let ended = tokio::select! {
        biased;
        wish = keeper.wish() => wish,
        () = node.reachable() => {
            let run = Box::pin(run_pod(&keeper, pod));
            run.await
        }
    };
    match ended {
        Wish::Gone => {}
        Wish::End { .. } => {
            keeper.pause(5..=100).await;
            keeper.node.reachable().await;
            keeper.remove();
        }
    }
}

/// Runs a pod until it has ended because somebody wanted it to.
async fn run_pod(keeper: &Keeper, pod: crate::api::Object) -> Wish {
    let (told, status) = watch::channel(PodStatus::default());
    let _telling = tied(status::tell(
        keeper.kubernetes.api.clone(),
        keeper.key.clone(),
        keeper.uid.clone(),
        keeper.node.clone(),
        status,
    ));
    let mut restarts = 0;
    let mut former = None;
    loop {
        keeper.node.powered().await;
        // The network of what ran before the loss of power is taken down.
        if let Some(address) = former.take() {
            keeper.kubernetes.give_back(address);
        }
        let volume = loop {
            let Some(volume) = keeper.volume().await else {
                return Wish::Gone;
            };
            if keeper.kubernetes.take_volume(&volume, &keeper.uid) {
                break volume;
            }
            tokio::select! {
                biased;
                wish = keeper.wish() => return wish,
                () = sleep(Duration::from_millis(500)) => {}
            }
        };
        keeper.pause(SANDBOX).await;
        let sandbox = keeper.kubernetes.sandbox(&keeper.node, &pod, volume.clone());
        let ended = tokio::select! {
            biased;
            () = keeper.node.dark() => None,
            wish = run_sandbox(keeper, &*sandbox, &told, &mut restarts) => Some(wish),
        };
        if let Some(wish) = ended {
            sandbox.close();
            keeper.kubernetes.give_back(sandbox.address());
            keeper.kubernetes.release_volume(&volume, &keeper.uid);
            return wish;
        }
        // Without power everything on the node ends at once. It is a new sandbox that the pod gets afterwards.
        sandbox.lose_power();
        former = Some(sandbox.address());
        keeper.kubernetes.release_volume(&volume, &keeper.uid);
        restarts += 1;
    }
}

async fn run_sandbox(
    keeper: &Keeper,
    sandbox: &dyn Sandbox,
    told: &watch::Sender<PodStatus>,
    restarts: &mut u32,
) -> Wish {
    // A sandbox that took the place of another one has another address.
    told.send_modify(|status| {
        status.address = Some(sandbox.address());
        status.container = Container::Waiting;
        status.ready = false;
    });
    let prepared = tokio::select! {
        biased;
        wish = keeper.wish() => return wish,
        prepared = sandbox.prepare() => prepared,
    };
    told.send_modify(|status| status.prepared = prepared);
    run_containers(keeper, sandbox, told, restarts).await
}

async fn run_containers(
    keeper: &Keeper,
    sandbox: &dyn Sandbox,
    told: &watch::Sender<PodStatus>,
    restarts: &mut u32,
) -> Wish {
    let mut backoff = Duration::ZERO;
    loop {
        let container = keeper.kubernetes.new_container_id();
        keeper.pause(START).await;
        let began = tokio::time::Instant::now();
        sandbox.start(&container);
        told.send_modify(|status| {
            status.container = Container::Running;
            status.container_id.clone_from(&container);
            status.restarts = *restarts;
            status.ready = false;
        });
        let probing = async {
            loop {
                let ready = sandbox.is_ready();
                told.send_if_modified(|status| std::mem::replace(&mut status.ready, ready) != ready);
                sleep(Duration::from_secs(1)).await;
            }
        };
        let outcome = tokio::select! {
            biased;
            wish = keeper.wish() => Err(wish),
            exit_code = sandbox.ended() => Ok(exit_code),
            () = probing => Ok(0),
        };
        if let Err(wish) = outcome {
            if let Wish::End { farewell, grace } = wish {
                tokio::select! {
                    biased;
                    _ = sandbox.ended() => {}
                    () = sleep(Duration::from_secs(farewell)) => {}
                }
                told.send_modify(|status| status.ready = false);
                sandbox.terminate();
                tokio::select! {
                    biased;
                    _ = sandbox.ended() => {}
                    () = sleep(Duration::from_secs(grace)) => {}
                }
            }
            sandbox.kill();
            return wish;
        }
        told.send_modify(|status| {
            // A moment later it says that it waits.
            status.container = if backoff.is_zero() {
                Container::Ended
            } else {
                Container::BackOff
            };
            status.exit_code = outcome.unwrap_or_default();
            status.ready = false;
        });
        *restarts += 1;
        if began.elapsed() > BACKOFF_RESET {
            backoff = Duration::ZERO;
        }
        tokio::select! {
            biased;
            wish = keeper.wish() => return wish,
            () = sleep(backoff) => {}
        }
        backoff = (backoff * 2).clamp(BACKOFF, BACKOFF_MAX);
    }
}
