//! The one binary: operator, gateway, and the CRD.

// The reconciliation is one future of many nested ones, whose layout the compiler works out here.
#![recursion_limit = "256"]

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand};
use http::Uri;
use kube::{Client, Config, CustomResourceExt};
use memgraph_operator::{
    api::{DurationString, InitNote, MemgraphCluster, names},
    controller::{self, Election, OperatorConfig, ReconcileInterval, RequestRate},
    fleet,
    gateway::{self, Addresses, GatewayConfig},
    instance_init::{self, DataVolume, VolumeError, memory_maps},
    kubectl,
    leader::{Timing, TimingError},
    memgraph::{Credentials, Neo4rsBolt},
    probe::{Database, ProbeError, Target},
    reference,
    resources::{InvalidPodLabels, OperatorImage, OperatorPods, PASSWORD_VARIABLE, USER_VARIABLE},
    scope::{InvalidNamespace, Scope},
    telemetry,
    traces::{self, Collector, CollectorError, Service, Traces},
};
use tokio::runtime::Builder;

/// It gives memory back that is free in the middle of what it has, and loses little to alignment: what the gateway's sessions need
/// (`docs/benchmarks.md`). The C library's does neither.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Kubernetes operator for Memgraph: replication, automatic failover and a fencing gateway.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Looks after MemgraphClusters.
    Operator(OperatorArgs),
    /// Leads clients to the instances of one MemgraphCluster.
    Gateway(GatewayArgs),
    /// Runs in an instance's pod before Memgraph: waits until it may start there, and sets its data aside where that is ordered.
    InstanceInit(InstanceInitArgs),
    /// Asks until it is answered as a client should be, and says what by: the tests of the charts.
    Probe(ProbeArgs),
    /// Does what the plugin of kubectl does, for pods that have this image: `kubectl memgraph` has all of it.
    Kubectl(Box<kubectl::Arguments>),
    /// Prints the CustomResourceDefinition as YAML.
    Crd,
    /// Prints the description of the operator's HTTP answers as OpenAPI.
    Openapi,
    /// Prints a page of the reference documentation as Markdown.
    #[command(hide = true)]
    Reference {
        /// Which one.
        page: Page,
    },
}

/// A page of the reference documentation.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Page {
    /// The MemgraphCluster resource.
    Resource,
    /// Flags of the program.
    Flags,
    /// `kubectl memgraph`.
    Kubectl,
}

#[derive(Args)]
struct InstanceInitArgs {
    /// Name of the MemgraphCluster.
    #[arg(long, env = "CLUSTER")]
    cluster: String,
    /// Its namespace.
    #[arg(long, env = "NAMESPACE")]
    namespace: String,
    /// Name of the instance.
    #[arg(long, env = "INSTANCE")]
    instance: String,
    /// Addresses of its pod, separated by commas.
    #[arg(long, env = "POD_IPS", value_delimiter = ',', required = true)]
    addresses: Vec<IpAddr>,
    /// Where its volume is mounted.
    #[arg(long, default_value = names::DATA_MOUNT)]
    mount: PathBuf,
    /// Memgraph's data directory.
    #[arg(long, default_value = names::DATA_DIRECTORY)]
    data_directory: PathBuf,
    /// The certificates of the authorities by which instances that take TLS are known (PEM).
    #[arg(long)]
    instances_ca: Option<PathBuf>,
    /// Name the volume, where it has no name yet, and tell the name: the data lies in the pod, and nothing else tells its volume
    /// from the one before it.
    #[arg(long)]
    name_volume: bool,
    /// Where the kubelet reads what has become of it.
    #[arg(long, default_value = "/dev/termination-log")]
    message: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Args)]
struct OperatorArgs {
    /// This program's own image, which gateways and the init containers of instances run too.
    #[arg(long, env = "OPERATOR_IMAGE")]
    image: String,
    /// When nodes pull it for them: Always, IfNotPresent or Never. Unset: Always for the tag `latest`, else IfNotPresent.
    #[arg(long, env = "OPERATOR_IMAGE_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: Option<String>,
    /// Namespaces whose MemgraphClusters it looks after, separated by commas. Unset or empty: all. No two operators should look
    /// after the same namespace: each cluster is left to the one that has found it first.
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// DNS domain of the Kubernetes cluster.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// Where health checks are answered.
    #[arg(long, env = "HTTP_BIND_ADDRESS", default_value = "0.0.0.0:8080")]
    http_bind_address: SocketAddr,
    /// When a cluster is looked at again that is as it should be, and of which nothing has changed: 1s to 10m. Secrets that it names
    /// are read then. What is watched, as instances and pods are, does not wait for it.
    #[arg(long, env = "RECONCILE_INTERVAL", default_value = "30s")]
    reconcile_interval: ReconcileInterval,
    /// Labels of the pods of this operator, in the namespace of the Lease: gateways go on without the API server for as long
    /// as all of them vouch for it, and NetworkPolicies let them in.
    #[arg(
        long,
        env = "OPERATOR_SELECTOR",
        default_value = "app.kubernetes.io/name=memgraph-operator"
    )]
    selector: String,
    /// Folder in which a process keeps what the one needs that takes its place while the API server is away: certificates
    /// and addresses. It should be in memory and end with the pod.
    #[arg(long, env = "KEEPSAKES")]
    keepsakes: Option<PathBuf>,
    #[command(flatten)]
    requests: RequestArgs,
    #[command(flatten)]
    traces: TraceArgs,
    #[command(flatten)]
    election: ElectionArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// How many requests go to the API server. The Lease and watches are not counted.
#[derive(Args)]
struct RequestArgs {
    /// How many requests for clusters this process sends to the API server in a second, in the long run. For clusters whose MAIN is
    /// lost or moves there are as many again, which no other one can use up. 0: as many as there are.
    #[arg(long, env = "KUBE_API_QPS", default_value_t = 300)]
    kube_api_qps: u32,
    /// How many of either kind it sends at once after a rest.
    #[arg(long, env = "KUBE_API_BURST", default_value = "600")]
    kube_api_burst: NonZeroU32,
}

impl RequestArgs {
    fn rate(&self) -> Option<RequestRate> {
        Some(RequestRate {
            per_second: NonZeroU32::new(self.kube_api_qps)?,
            burst: self.kube_api_burst,
        })
    }
}

/// Of several operator processes, the one that holds a Lease acts.
#[derive(Args)]
struct ElectionArgs {
    /// Namespace of the Lease: the operator's own.
    #[arg(long, env = "POD_NAMESPACE", default_value = "memgraph-operator-system")]
    lease_namespace: String,
    /// Name of the Lease.
    #[arg(long, env = "LEASE_NAME", default_value = "memgraph-operator")]
    lease_name: String,
    /// What this process is called in the Lease; a random number is added.
    #[arg(long, env = "POD_NAME", default_value = "memgraph-operator")]
    identity: String,
    /// For how long the Lease must stand unchanged before another process takes it, also one that was made anew: whole seconds, 60 at most.
    #[arg(long, env = "LEASE_DURATION", default_value = "2s")]
    lease_duration: DurationString,
    /// For how long this process acts after it renewed the Lease: at most nine tenths of the duration.
    #[arg(long, env = "LEASE_RENEW_DEADLINE", default_value = "1500ms")]
    lease_renew_deadline: DurationString,
    /// How often it is renewed, and looked at by the others: at most half of the renew deadline.
    #[arg(long, env = "LEASE_RETRY_PERIOD", default_value = "400ms")]
    lease_retry_period: DurationString,
}

#[derive(Args)]
struct GatewayArgs {
    /// Name of the MemgraphCluster.
    #[arg(long, env = "CLUSTER")]
    cluster: String,
    /// Its namespace.
    #[arg(long, env = "NAMESPACE")]
    namespace: String,
    /// Where sessions to MAIN are taken.
    #[arg(long, env = "GATEWAY_BIND_ADDRESS", default_value = "0.0.0.0:7687")]
    bind_address: SocketAddr,
    /// Where sessions to replicas are taken.
    #[arg(long, env = "GATEWAY_READ_BIND_ADDRESS", default_value = "0.0.0.0:7688")]
    read_bind_address: SocketAddr,
    /// Where health checks are answered.
    #[arg(long, env = "HTTP_BIND_ADDRESS", default_value = "0.0.0.0:8080")]
    http_bind_address: SocketAddr,
    /// Where the operator is answered.
    #[arg(long, env = "CONTROL_BIND_ADDRESS", default_value = "0.0.0.0:8443")]
    control_bind_address: SocketAddr,
    /// The folder with the certificates for that: tls.crt, tls.key and ca.crt.
    #[arg(
        long,
        env = "CONTROL_CERTIFICATES",
        default_value = "/etc/memgraph-gateway/control"
    )]
    control_certificates: PathBuf,
    /// The folder with tls.crt and tls.key by which clients know this gateway: TLS ends here. Without it what clients say is
    /// passed on as it is.
    #[arg(long, env = "GATEWAY_TLS_CERTIFICATE")]
    tls_certificate: Option<PathBuf>,
    /// The file with the authorities of the instances' certificates: where TLS ends here, instances that take TLS only must show
    /// one that is signed by one of these.
    #[arg(long, env = "GATEWAY_INSTANCES_CA")]
    instances_ca: Option<PathBuf>,
    /// UID of the pod that this gateway runs in.
    #[arg(long, env = "POD_UID")]
    pod_uid: String,
    /// How many seconds sessions may go on after SIGTERM. New ones are taken for the first five of them.
    #[arg(long, env = "GATEWAY_DRAIN_SECONDS", default_value_t = gateway::DEFAULT_DRAIN.as_secs())]
    drain_seconds: u64,
    #[command(flatten)]
    traces: TraceArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// What is asked.
#[derive(Args)]
#[command(group = ArgGroup::new("asked").required(true).multiple(true))]
struct ProbeArgs {
    /// What must answer with 200, such as http://memgraph-operator:8080/readyz.
    #[arg(long, group = "asked")]
    http: Option<Uri>,
    /// Where a database must answer, such as demo-gateway:7687: the user whose name and password are in the environment, as
    /// MEMGRAPH_USER and MEMGRAPH_PASSWORD, if they are.
    #[arg(long, group = "asked")]
    bolt: Option<String>,
    /// The file with the authorities of its certificate (PEM): it is spoken to by TLS. Where there is no such file, TLS and Bolt must
    /// shake hands, and nothing is asked.
    #[arg(long, requires = "bolt")]
    ca: Option<PathBuf>,
    /// For how long it is tried.
    #[arg(long, default_value = "60s")]
    within: DurationString,
}

#[derive(Args)]
struct TraceArgs {
    /// Where a trace of each change of MAIN is sent to by OTLP over HTTP, such as http://collector:4318. The operator tells its
    /// gateways. Unset: nowhere.
    #[arg(long, env = traces::ENDPOINT_VARIABLE)]
    otlp_endpoint: Option<String>,
}

#[derive(Args)]
struct LogArgs {
    /// What is logged: a level, or a filter such as `info,memgraph_operator=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    log_level: String,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read the log level")]
    Log(#[from] tracing_subscriber::filter::ParseError),
    #[error("cannot start the asynchronous runtime")]
    Runtime(#[source] std::io::Error),
    #[error(
        "cannot find the Kubernetes API server; in a pod it comes with the service account, elsewhere set KUBECONFIG"
    )]
    Client(#[from] Box<kube::Error>),
    #[error("cannot take part in the election")]
    Timing(#[from] TimingError),
    #[error("cannot tell which pods are the operator's own")]
    Pods(#[from] InvalidPodLabels),
    #[error("cannot tell which namespaces to look after")]
    Scope(#[from] InvalidNamespace),
    #[error("cannot send traces")]
    Traces(#[from] CollectorError),
    #[error(transparent)]
    Operator(#[from] controller::OperatorError),
    #[error(transparent)]
    Gateway(#[from] gateway::GatewayError),
    #[error("cannot set the data aside; it is tried again when this container is started again")]
    InstanceInit(#[from] VolumeError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error("cannot write the CustomResourceDefinition as YAML")]
    Crd(#[from] serde_yaml::Error),
}

fn main() -> ExitCode {
    // Only a second call could fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("memgraph-operator: {}", controller::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Error> {
    let done = match command {
        Command::Kubectl(arguments) => {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(Error::Runtime)?;
            return Ok(runtime.block_on(kubectl::call(*arguments)));
        }
        Command::Crd => {
            print!("{}", serde_yaml::to_string(&MemgraphCluster::crd())?);
            Ok(())
        }
        Command::Openapi => {
            println!("{:#}", fleet::openapi());
            Ok(())
        }
        Command::Reference { page } => {
            print!("{}", reference_page(page));
            Ok(())
        }
        Command::Operator(args) => {
            telemetry::start(&args.log.log_level)?;
            block_on(operator(args))
        }
        Command::InstanceInit(args) => {
            telemetry::start(&args.log.log_level)?;
            block_on(instance_init(args))
        }
        Command::Probe(args) => {
            telemetry::start("info")?;
            block_on(probe(args))
        }
        Command::Gateway(args) => {
            telemetry::start(&args.log.log_level)?;
            block_on_in(&mut gateway::runtime(), gateway(args))
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn reference_page(page: Page) -> String {
    match page {
        Page::Resource => reference::resource(),
        Page::Flags => reference::program(
            &Cli::command(),
            "Flags",
            "Of `memgraph-operator`, the one program of the image. Each flag can be given as a variable of the environment; the \
             operator starts gateways and init containers with what they need.",
        ),
        Page::Kubectl => reference::program(
            &kubectl::Arguments::command(),
            "kubectl memgraph",
            "Acts with the rights of whoever calls it.\n\n\
             | exit code | meaning |\n| --- | --- |\n\
             | 0 | done; of `status`: clients can write |\n\
             | 1 | the call failed |\n\
             | 2 | the call was not understood |\n\
             | 3 | of `status`: clients cannot write to some cluster that was asked for |\n\
             | 4 | the operator refused what was asked for, or it failed |\n\
             | 5 | it was asked for, was not over in time, and goes on |",
        ),
    }
}

fn block_on(task: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    block_on_in(Builder::new_multi_thread().enable_all(), task)
}

fn block_on_in(runtime: &mut Builder, task: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    runtime.build().map_err(Error::Runtime)?.block_on(task)
}

/// Where this process tells of its part in changes of MAIN, if that is wanted.
fn traces(args: &TraceArgs, name: &'static str) -> Result<Traces, Error> {
    let Some(endpoint) = &args.otlp_endpoint else {
        return Ok(Traces::default());
    };
    let service = Service {
        name,
        // That of the pod.
        instance: std::env::var("HOSTNAME").unwrap_or_default(),
    };
    let (traces, sending) = Traces::to(Collector::at(endpoint, &service)?);
    // It ends with the process.
    tokio::spawn(sending);
    Ok(traces)
}

async fn client() -> Result<Client, Error> {
    let infer = Config::infer().await;
    let mut config = infer.map_err(|error| Box::new(kube::Error::InferConfig(error)))?;
    // Whoever asks tries again in its own time. kube's own attempts go on for minutes, at ever longer intervals, while the API
    // server or something on the way is overloaded, and nothing would be decided meanwhile.
    config.default_retry = false;
    Ok(Client::try_from(config).map_err(Box::new)?)
}

async fn operator(args: OperatorArgs) -> Result<(), Error> {
    let pods = OperatorPods::new(&args.election.lease_namespace, &args.selector)?;
    let config = OperatorConfig {
        scope: Scope::of(&args.watch_namespaces)?,
        image: OperatorImage {
            name: args.image,
            pull_policy: args.image_pull_policy,
        },
        cluster_domain: args.cluster_domain,
        http: args.http_bind_address,
        interval: args.reconcile_interval,
        election: election(args.election)?,
        pods,
        requests: args.requests.rate(),
        keepsakes: args.keepsakes,
        traces: traces(&args.traces, "memgraph-operator")?,
        collector: args.traces.otlp_endpoint,
    };
    Ok(controller::run(client().await?, Neo4rsBolt::anonymous(), config).await?)
}

fn election(args: ElectionArgs) -> Result<Election, TimingError> {
    Ok(Election {
        namespace: args.lease_namespace,
        lease: args.lease_name,
        name: args.identity,
        timing: Timing::new(
            args.lease_duration.0,
            args.lease_renew_deadline.0,
            args.lease_retry_period.0,
        )?,
    })
}

async fn instance_init(args: InstanceInitArgs) -> Result<(), Error> {
    let instance = instance_init::Instance {
        cluster: args.cluster,
        namespace: args.namespace,
        name: args.instance,
        addresses: args.addresses,
        mount: args.mount,
        data: args.data_directory,
        authorities: args.instances_ca,
    };
    let client = client().await?;
    let bolt = Neo4rsBolt::signing_in(credentials());
    let volume = DataVolume::new(&instance.mount, &instance.data);
    let name = args
        .name_volume
        .then(|| volume.name(&format!("{:016x}", fastrand::u64(..))));
    let max_map_count = memory_maps::allowed();
    if let Some(shortage) = max_map_count.and_then(memory_maps::shortage) {
        tracing::warn!(shortage, "this instance may run out of memory maps");
    }
    let note = InitNote {
        boot_id: instance_init::boot_id(),
        max_map_count,
        volume: name.transpose()?.unwrap_or_default(),
        reset: instance_init::prepare(&instance, client, &bolt).await?,
    };
    tracing::info!(?note, "Memgraph may start");
    if let Err(error) = instance_init::tell(&note, &args.message) {
        tracing::warn!(%error, path = %args.message.display(), "cannot leave a message");
    }
    Ok(())
}

/// What Memgraph beside this process will be given too. No arguments: everybody may read those.
fn credentials() -> Option<Credentials> {
    let variable = |name| std::env::var(name).ok();
    let (user, password) = (variable(USER_VARIABLE)?, variable(PASSWORD_VARIABLE)?);
    Credentials::new(&user, &password).ok()
}

async fn probe(args: ProbeArgs) -> Result<(), Error> {
    let mut targets: Vec<_> = args.http.into_iter().map(Target::Http).collect();
    if let Some(address) = &args.bolt {
        let plain = Database::at(address, credentials())?;
        let database = match &args.ca {
            Some(authorities) => plain.known_by(authorities)?,
            None => plain,
        };
        targets.push(Target::Bolt(database));
    }
    for target in targets {
        println!("{}", target.answers(args.within.0).await?);
    }
    Ok(())
}

async fn gateway(args: GatewayArgs) -> Result<(), Error> {
    let config = GatewayConfig {
        client: client().await?,
        namespace: args.namespace,
        cluster: args.cluster,
        pod_uid: args.pod_uid,
        certificates: args.control_certificates,
        tls: args.tls_certificate,
        instances_ca: args.instances_ca,
        addresses: Addresses {
            read_write: args.bind_address,
            read: args.read_bind_address,
            http: args.http_bind_address,
            control: args.control_bind_address,
        },
        drain: Duration::from_secs(args.drain_seconds),
        traces: traces(&args.traces, "memgraph-gateway")?,
    };
    Ok(gateway::run(config).await?)
}
