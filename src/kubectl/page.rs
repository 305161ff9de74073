//! `kubectl memgraph page`: the status page of the operator process that leads, which sees most.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};
use tokio::{net::TcpListener, sync::mpsc, time::sleep};

use super::{
    Error, Outcome,
    access::{Access, failed},
    args::PageArgs,
    console::{forward, is_ready, stream_to},
};
use crate::api::names::HTTP_PORT;

/// How often it is looked whether another process leads. The page connects again by itself.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn open(
    asked: &PageArgs,
    access: &Access,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, asked.port));
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })?;
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.operator_namespace);
    let mut pod = choose(access, &pods).await?;
    writeln!(
        progress,
        "http://{} shows what {pod} sees, until this is interrupted",
        listener.local_addr()?
    )?;
    loop {
        let connect = || {
            let (pods, pod) = (pods.clone(), pod.clone());
            async move { stream_to(&pods, &pod, HTTP_PORT).await }
        };
        let (troubles, mut told) = mpsc::unbounded_channel();
        let next = tokio::select! {
            ended = forward(&listener, connect, troubles) => return ended.map(|()| Outcome::Done),
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted.map(|()| Outcome::Done)?),
            next = another(access, &pods, &pod) => next,
            () = async {
                while let Some(trouble) = told.recv().await {
                    // A terminal that is gone is noticed by the next line.
                    let _ = writeln!(progress, "{trouble}");
                }
                std::future::pending().await
            } => continue,
        };
        writeln!(progress, "{next} leads now")?;
        pod = next;
    }
}

/// The pod to look at, once it is another one than `present`. Its connections end then.
async fn another(access: &Access, pods: &Api<Pod>, present: &str) -> String {
    loop {
        sleep(LOOK_EVERY).await;
        if let Ok(pod) = choose(access, pods).await
            && pod != present
        {
            return pod;
        }
    }
}

/// The pod of the process that leads; any one that is ready where nobody can say that.
async fn choose(access: &Access, pods: &Api<Pod>) -> Result<String, Error> {
    if let Some(leader) = access.leader().await {
        return Ok(leader);
    }
    let wanted = ListParams::default().labels(&access.operator_pods().await);
    let listed = pods.list(&wanted).await;
    let listed = listed.map_err(failed(format!(
        "list the pods of the operator in {}",
        access.operator_namespace
    )))?;
    let ready = listed.items.iter().find(|pod| is_ready(pod));
    ready.map(ResourceExt::name_any).ok_or_else(|| {
        Error::Usage(format!(
            "no pod of the operator is ready in {}; --operator-namespace and --operator-service say where it is",
            access.operator_namespace
        ))
    })
}
