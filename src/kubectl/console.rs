//! A console: the database, reached through the API server by whoever may forward ports of pods.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, ResourceExt, api::ListParams};
use mgconsole::{Failure, Server, Stopped, shell};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::TcpListener,
    process::Command,
    sync::mpsc,
    task::JoinSet,
};

use super::{
    Error, Outcome,
    access::{Access, failed},
    args::ConsoleArgs,
};
use crate::{
    api::{InstanceRole, InstanceStatus, MemgraphCluster, names},
    resources,
};

/// For how long the own shell tries to get back to MAIN when its connection is lost: longer than most failovers take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where connections are led to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    /// Labels of the pods, of which any one will do.
    pods: String,
    /// The one that it has to be, if so.
    pod: Option<String>,
    port: u16,
    /// For people.
    name: &'static str,
    /// The field that asks for TLS there, if one does.
    tls: Option<&'static str>,
}

impl Way {
    fn to(cluster: &MemgraphCluster, reads: bool) -> Result<Self, Error> {
        let name = cluster.name_any();
        let selector = |component: &str| {
            let labels = names::selector(&name, component);
            let labels: Vec<_> = labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            labels.join(",")
        };
        if reads && !cluster.spec.has_read_gateway() {
            return Err(Error::Usage(format!("{name} has no address for readers")));
        }
        if cluster.spec.gateway.enabled {
            // Where TLS does not end at the gateways, they pass on what instances speak.
            let at_gateways = cluster.spec.gateway.tls.as_ref().map(|_| "spec.gateway.tls");
            return Ok(Self {
                tls: at_gateways.or_else(|| by_instances(cluster, reads)),
                pods: selector(names::GATEWAY),
                pod: None,
                port: if reads {
                    names::GATEWAY_READ_PORT
                } else {
                    names::BOLT_PORT
                },
                name: if reads {
                    "the gateway, for reading"
                } else {
                    "the gateway"
                },
            });
        }
        let main = cluster.status.as_ref().and_then(|status| status.main.clone());
        let main = main.ok_or_else(|| Error::Usage(format!("{name} has no MAIN now")))?;
        Ok(Self {
            tls: by_instances(cluster, false),
            pods: selector(names::INSTANCE),
            pod: Some(main),
            port: names::BOLT_PORT,
            name: "MAIN",
        })
    }

    fn leads_to(&self, pod: &Pod) -> bool {
        match &self.pod {
            // It answers before Kubernetes calls it ready, and it is the only one.
            Some(name) => pod.name_any() == *name,
            None => is_ready(pod),
        }
    }
}

/// Whether a pod takes connections, and goes on to.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// The field that asks for TLS at the instance that is led to: MAIN, or any replica. Pods come to take it one after the other.
pub(super) fn by_instances(cluster: &MemgraphCluster, reads: bool) -> Option<&'static str> {
    let status = cluster.status.as_ref();
    let instances = status.map_or(&[][..], |status| &status.instances);
    let led_to = |instance: &&InstanceStatus| (instance.role == InstanceRole::Main) != reads;
    let known = instances.iter().find(led_to).map(|instance| instance.tls);
    known.unwrap_or(cluster.spec.tls.is_some()).then_some("spec.tls")
}

pub(super) async fn open(
    asked: &ConsoleArgs,
    access: &Access,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    let cluster = access.get(&asked.name).await?;
    let way = Way::to(&cluster, asked.read)?;
    let (username, password) = credentials(asked.username.as_deref(), access, &cluster).await?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let server = Server {
        host: Ipv4Addr::LOCALHOST.to_string(),
        port: listener.local_addr()?.port(),
        tls: asked.tls || way.tls.is_some(),
        username,
        password,
        patience: PATIENCE,
    };
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    // Whoever is at the terminal learns at once that there is no way.
    choose(&pods, &way).await?;
    let tls = match way.tls {
        _ if !server.tls => String::new(),
        Some(field) => format!(", by TLS as {field} asks; its certificate is not checked"),
        None => ", by TLS as --tls asks; its certificate is not checked".to_owned(),
    };
    writeln!(
        progress,
        "connecting to {} of {}, through the API server{tls}",
        way.name, asked.name
    )?;
    let name = way.name;
    let (troubles, mut told) = mpsc::unbounded_channel();
    let connect = {
        let (pods, way) = (pods, Arc::new(way));
        move || {
            let (pods, way) = (pods.clone(), Arc::clone(&way));
            async move { connect(&pods, &way).await }
        }
    };
    tokio::select! {
        ended = talk(asked, &server, name) => ended?,
        ended = forward(&listener, connect, troubles) => ended?,
        () = async {
            while let Some(trouble) = told.recv().await {
                // A terminal that is gone is noticed by the shell.
                let _ = writeln!(progress, "{trouble}");
            }
            std::future::pending().await
        } => {}
    }
    Ok(Outcome::Done)
}

/// Who signs in: whoever is named, or the user of the Secret for applications.
pub(super) async fn credentials(
    username: Option<&str>,
    access: &Access,
    cluster: &MemgraphCluster,
) -> Result<(String, String), Error> {
    if let Some(username) = username {
        let password = std::env::var(resources::PASSWORD_VARIABLE).unwrap_or_default();
        return Ok((username.to_owned(), password));
    }
    if cluster.spec.auth.is_none() {
        return Ok((String::new(), String::new()));
    }
    let name = names::application(&cluster.name_any());
    let secrets: Api<Secret> = Api::namespaced(access.client.clone(), &access.namespace);
    let secret = secrets.get(&name).await.map_err(failed(format!(
        "read the Secret {name} of {} for a user; --username names one",
        access.namespace
    )))?;
    let value = |key: &str| {
        let value = resources::text(&secret, key).map(str::to_owned);
        value.ok_or_else(|| {
            Error::Usage(format!(
                "the Secret {name} has no {key} yet: --username names a user"
            ))
        })
    };
    Ok((value(resources::USERNAME)?, value(resources::PASSWORD)?))
}

async fn choose(pods: &Api<Pod>, way: &Way) -> Result<String, Error> {
    let listed = pods.list(&ListParams::default().labels(&way.pods)).await;
    let listed = listed.map_err(failed("list the pods".to_owned()))?;
    let chosen = listed.items.iter().find(|pod| way.leads_to(pod));
    chosen
        .map(ResourceExt::name_any)
        .ok_or_else(|| Error::Usage(format!("no pod of {} is ready", way.name)))
}

/// A connection to the database. A pod that has gone since the last one is no longer chosen.
async fn connect(pods: &Api<Pod>, way: &Way) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, Error> {
    let pod = choose(pods, way).await?;
    stream_to(pods, &pod, way.port).await
}

/// A connection to a port of a pod.
pub(super) async fn stream_to(
    pods: &Api<Pod>,
    pod: &str,
    port: u16,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, Error> {
    let forwarded = pods.portforward(pod, &[port]).await;
    let mut forwarded = forwarded.map_err(failed(format!("forward a port of the pod {pod}")))?;
    forwarded
        .take_stream(port)
        .ok_or_else(|| Error::Usage(format!("the API server does not forward port {port} of {pod}")))
}

/// Leads each connection that is taken to one that `connect` makes. Ends only when no connection can be taken any more.
pub(super) async fn forward<S, F>(
    listener: &TcpListener,
    connect: impl Fn() -> F,
    troubles: mpsc::UnboundedSender<String>,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Result<S, Error>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => {
                let (mut client, _) = taken?;
                let (connecting, troubles) = (connect(), troubles.clone());
                connections.spawn(async move {
                    let trouble = match connecting.await {
                        Ok(mut server) => match copy_bidirectional(&mut client, &mut server).await {
                            Ok(_) => return,
                            Err(error) => format!("the connection has ended: {error}"),
                        },
                        Err(error) => crate::controller::chain(&error),
                    };
                    // Whoever would hear it has ended first.
                    let _ = troubles.send(trouble);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Has the program talk with whoever is at the terminal; the own shell where there is no such program. `way` is for people.
async fn talk(asked: &ConsoleArgs, server: &Server, way: &'static str) -> Result<(), Error> {
    if !asked.builtin {
        let mut command = program(asked, server);
        match command.spawn() {
            Ok(mut child) => {
                // An interrupt is meant for the program, which has it from the terminal, too.
                let ended = loop {
                    tokio::select! {
                        ended = child.wait() => break ended?,
                        interrupted = tokio::signal::ctrl_c() => interrupted?,
                    }
                };
                return if ended.success() {
                    Ok(())
                } else {
                    Err(Error::Usage(format!("{} has ended with {ended}", asked.program)))
                };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(Error::Program {
                    program: asked.program.clone(),
                    source,
                });
            }
        }
    }
    if !asked.arguments.is_empty() {
        return Err(Error::Usage(format!(
            "the arguments after -- are for {}, and the shell that is built in knows none: install it, or leave them out",
            asked.program
        )));
    }
    let server = server.clone();
    let talking = tokio::task::spawn_blocking(move || shell(&server));
    match talking.await {
        Ok(Err(Stopped::Lost(why))) => Err(Error::Lost(why)),
        Ok(Err(Stopped::Connection(source @ Failure::Connection(_)))) => Err(Error::Untaken {
            cluster: asked.name.clone(),
            way,
            source,
        }),
        Ok(ended) => Ok(ended?),
        Err(error) => Err(Error::Write(io::Error::other(error))),
    }
}

/// The call of `mgconsole`. What others must not see is in its environment, not among its arguments.
fn program(asked: &ConsoleArgs, server: &Server) -> Command {
    let mut command = Command::new(&asked.program);
    command
        .arg(format!("--host={}", server.host))
        .arg(format!("--port={}", server.port))
        .stdin(Stdio::inherit())
        .kill_on_drop(true);
    if server.tls {
        command.arg("--use-ssl=true");
    }
    if !server.username.is_empty() {
        command.arg(format!("--username={}", server.username));
    }
    if !server.password.is_empty() {
        command
            .arg("--fromenv=password")
            .env("FLAGS_password", &server.password);
    }
    command.args(&asked.arguments);
    command
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::kubectl::args::{Arguments, Command as Subcommand};

    fn asked(line: &str) -> ConsoleArgs {
        let words = ["kubectl-memgraph", "console"].into_iter().chain(line.split(' '));
        match Arguments::try_parse_from(words).unwrap().command {
            Subcommand::Console(asked) => asked,
            other => panic!("{other:?}"),
        }
    }

    fn cluster(spec: serde_json::Value) -> MemgraphCluster {
        serde_json::from_value(json!({
            "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster",
            "metadata": {"name": "demo", "namespace": "graphs"}, "spec": spec,
            "status": {"main": "demo-2"},
        }))
        .unwrap()
    }

    #[test]
    fn the_way_is_by_the_gateway_or_without_one_to_main() {
        let gateway = Way::to(&cluster(json!({})), false).unwrap();
        assert!(
            gateway.pods.contains("app.kubernetes.io/component=gateway"),
            "{gateway:?}"
        );
        assert_eq!((gateway.pod, gateway.port), (None, 7687));
        assert_eq!(Way::to(&cluster(json!({})), true).unwrap().port, 7688);
        let main = Way::to(&cluster(json!({"gateway": {"enabled": false}})), false).unwrap();
        assert_eq!((main.pod.as_deref(), main.port), (Some("demo-2"), 7687));
        let unread = Way::to(&cluster(json!({"gateway": {"read": {"enabled": false}}})), true);
        assert_eq!(unread.unwrap_err().to_string(), "demo has no address for readers");
    }

    #[test]
    fn tls_is_spoken_where_the_cluster_asks_for_it() {
        let by = |spec: serde_json::Value, main_takes_tls: Option<bool>| {
            let mut cluster = cluster(spec);
            let main = main_takes_tls
                .map(|tls| json!({"name": "demo-2", "role": "Main", "health": "Up", "tls": tls}));
            let instances: Vec<_> = main.into_iter().collect();
            cluster.status.as_mut().unwrap().instances = serde_json::from_value(json!(instances)).unwrap();
            Way::to(&cluster, false).unwrap().tls
        };
        let tls = json!({"secretRef": {"name": "graph-tls"}});
        assert_eq!(by(json!({}), Some(false)), None);
        assert_eq!(
            by(json!({"gateway": {"tls": tls}}), Some(false)),
            Some("spec.gateway.tls")
        );
        assert_eq!(by(json!({"tls": tls}), None), Some("spec.tls"));
        assert_eq!(by(json!({"tls": tls}), Some(true)), Some("spec.tls"));
        // Its pod has not been replaced yet.
        assert_eq!(by(json!({"tls": tls}), Some(false)), None);
        assert_eq!(
            by(json!({"tls": tls, "gateway": {"enabled": false}}), Some(true)),
            Some("spec.tls")
        );
    }

    #[tokio::test]
    async fn a_shell_that_nobody_answers_says_what_shows_why() {
        let asked = asked("demo --builtin");
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = nobody.local_addr().unwrap().port();
        drop(nobody);
        let server = Server { port, ..server() };
        let refused = talk(&asked, &server, "the gateway").await.unwrap_err();
        let expected = "the gateway of demo takes no connection; `kubectl memgraph status demo` says why";
        assert_eq!(refused.to_string(), expected);
    }

    #[test]
    fn only_a_ready_gateway_will_do() {
        let pod = |ready: &str, deleted: Option<&str>| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "g", "deletionTimestamp": deleted},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap()
        };
        let way = Way::to(&cluster(json!({})), false).unwrap();
        assert!(way.leads_to(&pod("True", None)));
        assert!(!way.leads_to(&pod("False", None)));
        assert!(!way.leads_to(&pod("True", Some("2026-01-01T00:00:00Z"))));
    }

    fn server() -> Server {
        Server {
            host: "127.0.0.1".to_owned(),
            port: 1,
            tls: false,
            username: "ada".to_owned(),
            password: "hush".to_owned(),
            patience: PATIENCE,
        }
    }

    #[tokio::test]
    async fn the_password_is_no_argument() {
        let command = program(&asked("demo -- --output-format=csv"), &server());
        let call = command.as_std();
        let arguments: Vec<_> = call.get_args().map(|it| it.to_str().unwrap()).collect();
        assert_eq!(
            arguments,
            [
                "--host=127.0.0.1",
                "--port=1",
                "--username=ada",
                "--fromenv=password",
                "--output-format=csv"
            ]
        );
        let mut variables = call.get_envs();
        assert!(variables.any(|(name, value)| name == "FLAGS_password" && value == Some("hush".as_ref())));
    }

    #[tokio::test]
    async fn a_program_that_fails_is_told_of() {
        talk(&asked("demo --program true"), &server(), "MAIN")
            .await
            .unwrap();
        let failed = talk(&asked("demo --program false"), &server(), "MAIN").await;
        let failed = failed.unwrap_err();
        assert!(failed.to_string().starts_with("false has ended with"), "{failed}");
    }

    #[tokio::test]
    async fn connections_are_led_on_and_what_fails_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (troubles, mut told) = mpsc::unbounded_channel();
        let first = std::sync::atomic::AtomicBool::new(true);
        let connect = || {
            let first = first.swap(false, std::sync::atomic::Ordering::Relaxed);
            async move {
                if !first {
                    return Err(Error::Usage("no pod".to_owned()));
                }
                let (near, mut far) = tokio::io::duplex(64);
                tokio::spawn(async move {
                    let mut said = [0; 5];
                    far.read_exact(&mut said).await.unwrap();
                    far.write_all(&said).await.unwrap();
                });
                Ok(near)
            }
        };
        let talking = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"hello").await.unwrap();
            let mut echo = Vec::new();
            client.read_to_end(&mut echo).await.unwrap();
            assert_eq!(echo, b"hello");
            let mut second = TcpStream::connect(address).await.unwrap();
            assert_eq!(second.read(&mut [0]).await.unwrap(), 0);
            told.recv().await
        };
        tokio::select! {
            trouble = talking => assert_eq!(trouble.as_deref(), Some("no pod")),
            ended = forward(&listener, connect, troubles) => panic!("{ended:?}"),
        }
    }
}
