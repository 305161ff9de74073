//! What runs in an instance's pod before Memgraph: the production decision whether its data is set aside, on a simulated
//! volume.

use std::{net::SocketAddr, time::Duration};

use kube::Api;
use memgraph_operator::{
    api::{MemgraphCluster, ResetNote, ResetOutcome, ledger::Ledger, names},
    instance_init::{Decision, decide, displaced_by, refusal},
    memgraph::{self, Question},
    plan::observation::Sight,
};
use tokio::time::{sleep, timeout};

use super::{Instance, Instances};
use crate::life::Life;

/// For how long the API server is waited for, how soon it is asked again, and for how long MAIN is waited for (as in
/// `instance_init`).
const API_DEADLINE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);
const MAIN_DEADLINE: Duration = Duration::from_secs(3);
/// What data is recovered from.
const FOLDERS: [&str; 2] = ["snapshots", "wal"];

fn later(token: &str, detail: String) -> ResetNote {
    ResetNote {
        token: token.to_owned(),
        outcome: ResetOutcome::Later,
        detail,
    }
}

/// Waits until the instance may start at its address, and returns the ledger as it was read then.
async fn admitted(
    instances: &Instances,
    instance: &Instance,
    clusters: &Api<MemgraphCluster>,
    cluster: &str,
) -> Option<Ledger> {
    let mut told = String::new();
    loop {
        let why = match timeout(API_DEADLINE, clusters.get_opt(cluster)).await {
            Ok(Ok(cluster)) => {
                let ledger = cluster.and_then(|cluster| cluster.status?.ledger);
                match displaced_by(ledger.as_ref(), &instance.name, &[instance.address]) {
                    None => return ledger,
                    Some(other) => format!("{} is the address of {other}", instance.address),
                }
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API server did not answer".to_owned(),
        };
        if why != told {
            instances
                .trace()
                .note(|| format!("{} does not start: {why}", instance.name));
            told = why;
        }
        sleep(AGAIN).await;
    }
}

/// Waits until the instance may start, and sets the data aside if that is ordered and every condition holds.
pub(super) async fn prepare(
    instances: &Instances,
    instance: &Instance,
    namespace: &str,
    cluster: &str,
    node: &str,
) -> ResetNote {
    let memgraphs = instances.memgraphs();
    let tokens = format!("{}/obeyed", names::SET_ASIDE);
    let obeyed: Vec<String> = memgraphs.disk(instance.volume, |disk| {
        let text = disk.content(&tokens).map(String::from_utf8_lossy);
        text.iter()
            .flat_map(|text| text.lines())
            .map(str::to_owned)
            .collect()
    });
    let clusters: Api<MemgraphCluster> =
        Api::namespaced(instances.connection(node, &Life::default()).client(), namespace);
    let ledger = admitted(instances, instance, &clusters, cluster).await;
    let order = match decide(ledger.as_ref(), &instance.name, &obeyed) {
        Decision::Start(note) => return note,
        Decision::SetAside(order) => order,
    };
    let Some(ledger) = ledger else {
        return later(&order.token, "there is no ledger".to_owned());
    };
    let main = match instances.named(&ledger.main.instance) {
        None => Sight::Unseen,
        Some(main) => {
            let question = Question {
                version: None,
                emptiness: true,
                storage_mode: false,
                replica_mode: false,
                patience: MAIN_DEADLINE,
            };
            let at = SocketAddr::new(main.address, names::BOLT_PORT);
            memgraph::look(&memgraphs.bolt(instance.place), at, &question).await
        }
    };
    let empty = memgraphs.disk(instance.volume, |disk| {
        FOLDERS.iter().all(|folder| disk.list(folder).is_empty())
    });
    if let Some((outcome, detail)) = refusal(&ledger, &order, &main, empty) {
        return ResetNote {
            token: order.token,
            outcome,
            detail,
        };
    }
    instances.i8_nothing_relies_on_what_is_set_aside(instance, namespace, cluster);
    instances.i8_others_have_what_is_set_aside(instance);
    let folder = format!("{}/{}", names::SET_ASIDE, order.folder());
    memgraphs.disk(instance.volume, |disk| {
        for name in FOLDERS {
            disk.move_folder(name, &format!("{folder}/{name}"));
        }
        let all: Vec<_> = obeyed.iter().chain([&order.token]).map(String::as_str).collect();
        disk.put(&tokens, all.join("\n").into_bytes());
    });
    instances
        .trace()
        .note(|| format!("RESET: the data of {} is set aside", instance.name));
    ResetNote {
        token: order.token,
        outcome: ResetOutcome::Done,
        detail: folder,
    }
}
