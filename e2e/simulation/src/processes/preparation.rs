//! What runs in an instance's pod before Memgraph: the production decision whether its data is set aside, on a simulated
//! volume.

use std::{net::SocketAddr, time::Duration};

use kube::Api;
use memgraph_operator::{
    api::{MemgraphCluster, ResetNote, ResetOutcome, names},
    instance_init::{Decision, decide, refusal},
    memgraph::{self, Question},
    plan::observation::Sight,
};
use tokio::time::timeout;

use super::{Instance, Instances};
use crate::life::Life;

/// For how long the API server is waited for, and MAIN (as in `instance_init`).
const API_DEADLINE: Duration = Duration::from_secs(5);
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

/// Sets the data aside if that is ordered and every condition holds.
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
    let ledger = match timeout(API_DEADLINE, clusters.get(cluster)).await {
        Ok(Ok(cluster)) => cluster.status.and_then(|status| status.ledger),
        Ok(Err(error)) => return later("", error.to_string()),
        Err(_) => return later("", "the API server did not answer".to_owned()),
    };
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
