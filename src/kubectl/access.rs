//! The API server, and the operator behind it.

use std::{collections::BTreeMap, time::Duration};

use futures::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client, Config, ResourceExt,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
    core::Selector,
    runtime::watcher,
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{Error, args::AccessArgs};
use crate::{
    api::{MemgraphCluster, names::HTTP_PORT},
    fleet::{Advice, ClusterStatus, Counted, FleetStatus, view},
};

/// How long the operator may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What finds the operator's pods where its Service does not tell.
const OPERATORS: &str = "app.kubernetes.io/name=memgraph-operator";

/// How often the Service is asked for the process that leads, where its pod may not be asked.
const CHANCES: usize = 6;

/// Reaches the API server as the caller does by kubectl.
pub(super) struct Access {
    pub(super) client: Client,
    /// The namespace that was asked for, or that of the context.
    pub(super) namespace: String,
    pub(super) operator_namespace: String,
    operator_service: String,
}

/// Clusters as they can be seen.
pub(super) struct Seen {
    pub(super) clusters: Vec<ClusterStatus>,
    /// Why lag and sessions cannot be told, if so.
    pub(super) blind: Option<String>,
}

impl Access {
    pub(super) async fn new(args: &AccessArgs) -> Result<Self, Error> {
        let options = KubeConfigOptions {
            context: args.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match &args.kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(path).map_err(boxed)?;
                Config::from_custom_kubeconfig(read, &options)
                    .await
                    .map_err(boxed)?
            }
            None if args.context.is_some() => Config::from_kubeconfig(&options).await.map_err(boxed)?,
            None => Config::infer().await.map_err(boxed)?,
        };
        // kube's own attempts go on for minutes where no operator process is there to answer.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(boxed)?;
        Ok(Self::of(client, args))
    }

    pub(super) fn of(client: Client, args: &AccessArgs) -> Self {
        let namespace = args.namespace.clone();
        Self {
            namespace: namespace.unwrap_or_else(|| client.default_namespace().to_owned()),
            client,
            operator_namespace: args.operator_namespace.clone(),
            operator_service: args.operator_service.clone(),
        }
    }

    pub(super) fn clusters(&self) -> Api<MemgraphCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn get(&self, name: &str) -> Result<MemgraphCluster, Error> {
        let got = self.clusters().get_opt(name).await;
        got.map_err(failed(format!("read the cluster {name} of {}", self.namespace)))?
            .ok_or_else(|| {
                Error::Usage(format!(
                    "there is no MemgraphCluster {name} in {}",
                    self.namespace
                ))
            })
    }

    /// The cluster now and after each change, for ever.
    pub(super) fn follow(
        &self,
        name: &str,
    ) -> impl Stream<Item = Result<Option<MemgraphCluster>, Error>> + use<> {
        let cluster = name.to_owned();
        watcher::watch_object(self.clusters(), name).map_err(move |source| Error::Watch {
            cluster: cluster.clone(),
            source: Box::new(source),
        })
    }

    /// This cluster, or all of the namespace, or all.
    pub(super) async fn see(&self, name: Option<&str>, everywhere: bool) -> Result<Seen, Error> {
        let mut found = match name {
            Some(name) => vec![self.get(name).await?],
            None => {
                let api = if everywhere {
                    Api::all(self.client.clone())
                } else {
                    self.clusters()
                };
                let listed = api.list(&ListParams::default()).await;
                listed.map_err(failed("list the clusters".to_owned()))?.items
            }
        };
        found.sort_by_key(|cluster| (cluster.namespace(), cluster.name_any()));
        let answer = timeout(PATIENCE, self.operator_status()).await;
        let (live, blind) = match answer.unwrap_or_else(|_| Err("it does not answer".to_owned())) {
            Ok(status) => (status.clusters, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let live: BTreeMap<_, _> = live
            .into_iter()
            .map(|cluster| (cluster.uid.clone(), cluster))
            .collect();
        let unasked = blind.as_ref().map(|_| self.unasked());
        let clusters = found.iter().map(|cluster| {
            let uid = cluster.uid().unwrap_or_default();
            let mut seen = merged(view(cluster, Counted::default(), None), live.get(&uid));
            seen.advice.extend(unasked.clone());
            seen
        });
        Ok(Seen {
            clusters: clusters.collect(),
            blind,
        })
    }

    /// What to do where the operator could not be asked: it may be that there is none.
    fn unasked(&self) -> Advice {
        Advice {
            about: "operator".to_owned(),
            reason: "Unasked".to_owned(),
            needed: false,
            text: "it could not be asked. This is what the cluster's status has said last; if no process of the operator runs, it is \
                   not kept up to date, and a MAIN that is lost is not replaced"
                .to_owned(),
            command: Some(format!(
                "kubectl get pods -n {} -l {OPERATORS}",
                self.operator_namespace
            )),
        }
    }

    /// The labels of the operator's pods: those that its Service selects, which `nameOverride` of the chart changes. The usual ones
    /// where it selects none, or may not be read.
    pub(super) async fn operator_pods(&self) -> String {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.operator_namespace);
        let service = services.get(&self.operator_service).await.ok();
        let selected = service.and_then(|service| service.spec?.selector);
        match selected {
            Some(labels) if !labels.is_empty() => Selector::from_iter(labels).to_string(),
            _ => OPERATORS.to_owned(),
        }
    }

    /// What the operator process that leads tells.
    async fn operator_status(&self) -> Result<FleetStatus, String> {
        let any = self.any_status().await?;
        if any.operator.leads {
            return Ok(any);
        }
        let leader = any.operator.leader.ok_or("no operator process leads")?;
        let target = format!("pods/{leader}:{HTTP_PORT}");
        let refused = match self.proxied(&self.operator_namespace, &target).await {
            Ok(status) => return Ok(status),
            Err(refused) => refused,
        };
        // Whoever may use the Service only gets a process by chance.
        for _ in 0..CHANCES {
            let any = self.any_status().await?;
            if any.operator.leads {
                return Ok(any);
            }
        }
        Err(refused)
    }

    /// What one of the operator's processes tells.
    async fn any_status(&self) -> Result<FleetStatus, String> {
        let service = format!("services/{}:http", self.operator_service);
        self.proxied(&self.operator_namespace, &service).await
    }

    /// The pod of the operator process that leads, if one of them says so in time.
    pub(super) async fn leader(&self) -> Option<String> {
        let any = timeout(PATIENCE, self.any_status()).await.ok()?.ok()?;
        any.operator.leader
    }

    async fn proxied<T: DeserializeOwned>(&self, namespace: &str, target: &str) -> Result<T, String> {
        let path = format!("/api/v1/namespaces/{namespace}/{target}/proxy/api/v1/status");
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        self.client.request(request).await.map_err(|error| match error {
            kube::Error::Api(answer) => refusal(target, namespace, answer.code, &answer.message),
            other => other.to_string(),
        })
    }
}

fn refusal(target: &str, namespace: &str, code: u16, message: &str) -> String {
    match code {
        403 => format!(
            "you may not read through the API server from {target} in {namespace} (verb get of its proxy)"
        ),
        404 => format!(
            "there is no {target} in {namespace} that tells; --operator-namespace and --operator-service say where it is"
        ),
        _ if message.is_empty() => format!("{target} in {namespace} is answered for with status {code}"),
        _ => message.to_owned(),
    }
}

/// The newer word on a cluster: its own status, with what only the operator sees.
fn merged(mut cluster: ClusterStatus, live: Option<&ClusterStatus>) -> ClusterStatus {
    let Some(live) = live else {
        return cluster;
    };
    cluster.gateways.clone_from(&live.gateways);
    cluster.health.write_unavailable_seconds = live.health.write_unavailable_seconds;
    cluster.health.failovers = live.health.failovers;
    cluster
        .health
        .certificate_ends
        .clone_from(&live.health.certificate_ends);
    cluster
        .health
        .main_reached_by
        .clone_from(&live.health.main_reached_by);
    for instance in &mut cluster.cluster_state.instances {
        let seen = live
            .cluster_state
            .instances
            .iter()
            .find(|seen| seen.name == instance.name);
        instance.lag_transactions = seen.and_then(|seen| seen.lag_transactions);
        instance.answered_seconds_ago = seen.and_then(|seen| seen.answered_seconds_ago);
        instance.usage = seen.and_then(|seen| seen.usage);
    }
    cluster
}

fn boxed(error: impl std::error::Error + Send + Sync + 'static) -> Box<dyn std::error::Error + Send + Sync> {
    Box::new(error)
}

pub(super) fn failed(action: String) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Request {
        action,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn when_the_certificate_ends_only_the_operator_tells() {
        let cluster: MemgraphCluster = serde_json::from_value(json!({
            "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster", "metadata": {"name": "demo"}, "spec": {},
        }))
        .unwrap();
        let own = view(&cluster, Counted::default(), None);
        let mut live = own.clone();
        live.health.certificate_ends = Some("2026-12-24T18:00:00Z".to_owned());
        assert_eq!(merged(own, Some(&live)), live);
    }
}
