//! What `kubectl memgraph` can be told.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::api::DurationString;

/// Looks at Memgraph clusters, and asks the operator to move MAIN, take an instance out, fill one anew, or change nothing for a while.
///
/// Exit codes: 0 done (status: clients can write), 1 the call failed, 2 it was not understood, 3 status: clients cannot write,
/// 4 the operator refused it or it failed, 5 it was not over in time and goes on.
#[derive(Debug, Parser)]
#[command(name = "kubectl-memgraph", bin_name = "kubectl memgraph", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) access: AccessArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Shows who is MAIN, who follows it and how closely, the last changes, and what to do next.
    Status(StatusArgs),
    /// Moves MAIN to another instance. No acknowledged write is lost; clients wait for a moment.
    Switchover(SwitchoverArgs),
    /// Sets the data of an instance aside and fills it anew from MAIN.
    Reset(ResetArgs),
    /// Takes an instance out: it gets no client and is never promoted. MAIN moves away from it first.
    Fence(FenceArgs),
    /// Lets an instance serve again.
    Unfence(FenceArgs),
    /// Has the operator change nothing: no object, no role, no failover. Clients are led to MAIN as before.
    Pause(PauseArgs),
    /// Has the operator go on.
    Resume(PauseArgs),
    /// Opens a console: mgconsole where it is installed, a small shell of its own where it is not. The end of the input ends it.
    Console(ConsoleArgs),
    /// Has MAIN take a snapshot, and copies it out of its pod into a folder of this machine. Prints the file.
    Backup(BackupArgs),
    /// Shows the status page of the operator process that leads in a browser of this machine, through the API server.
    Page(PageArgs),
    /// Writes a file for whoever is to help: the cluster, its objects, status, Events and logs, without the contents of Secrets.
    Report(ReportArgs),
    /// Prints a completion script for a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

/// How the Kubernetes cluster is reached.
#[derive(Args, Debug)]
pub(super) struct AccessArgs {
    /// Namespace of the cluster. Unset: that of the context.
    #[arg(short, long, global = true)]
    pub(super) namespace: Option<String>,
    /// Context of the kubeconfig. Unset: the current one.
    #[arg(long, global = true)]
    pub(super) context: Option<String>,
    /// The kubeconfig. Unset: KUBECONFIG, or .kube/config of the home folder.
    #[arg(long, global = true)]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Namespace of the operator, which tells lag and sessions.
    #[arg(
        long,
        global = true,
        env = "MEMGRAPH_OPERATOR_NAMESPACE",
        default_value = "memgraph-operator-system"
    )]
    pub(super) operator_namespace: String,
    /// Service of the operator there.
    #[arg(
        long,
        global = true,
        env = "MEMGRAPH_OPERATOR_SERVICE",
        default_value = "memgraph-operator"
    )]
    pub(super) operator_service: String,
}

#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// The cluster. Unset: every one of the namespace.
    pub(super) name: Option<String>,
    /// Those of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub(super) all_namespaces: bool,
    /// As text for people, or as the operator's HTTP API writes it (docs/openapi.json, ClusterStatus).
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
    /// Shows it again whenever something has changed, until it is interrupted.
    #[arg(short, long)]
    pub(super) watch: bool,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// As JSON.
    Json,
    /// As YAML.
    Yaml,
}

#[derive(Args, Debug)]
pub(super) struct SwitchoverArgs {
    /// The cluster.
    pub(super) name: String,
    /// The instance that is to be MAIN, such as demo-1. Unset: the replica that is best fit.
    #[arg(long)]
    pub(super) to: Option<String>,
    #[command(flatten)]
    pub(super) waiting: WaitArgs,
}

#[derive(Args, Debug)]
pub(super) struct ResetArgs {
    /// The instance, such as demo-1.
    pub(super) instance: String,
    /// Says that its data may be set aside: whatever it alone holds is in a folder on its volume from then on, or, with
    /// `storage.emptyDir`, deleted with its pod.
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) waiting: WaitArgs,
}

#[derive(Args, Debug)]
pub(super) struct FenceArgs {
    /// The instance, such as demo-1.
    pub(super) instance: String,
    #[command(flatten)]
    pub(super) waiting: WaitArgs,
}

#[derive(Args, Debug)]
pub(super) struct PauseArgs {
    /// The cluster.
    pub(super) name: String,
    #[command(flatten)]
    pub(super) waiting: WaitArgs,
}

#[derive(Args, Debug)]
pub(super) struct ConsoleArgs {
    /// The cluster.
    pub(super) name: String,
    /// Leads to a replica, by the gateway's address for readers.
    #[arg(long)]
    pub(super) read: bool,
    /// The user, whose password is in the variable MEMGRAPH_PASSWORD or is asked for. Unset: the user of the Secret that the
    /// operator writes for applications, where `spec.auth` is set.
    #[arg(long, env = "MEMGRAPH_USERNAME")]
    pub(super) username: Option<String>,
    /// Whether to speak TLS although neither `spec.tls` nor `spec.gateway.tls` asks for it. Certificates are not checked: the
    /// connection is the API server's.
    #[arg(long)]
    pub(super) tls: bool,
    /// The program that is started, with `--host` and `--port` as mgconsole takes them.
    #[arg(long, default_value = "mgconsole")]
    pub(super) program: String,
    /// Uses the own shell even if the program is there.
    #[arg(long)]
    pub(super) builtin: bool,
    /// Further arguments of the program, after `--`.
    #[arg(last = true)]
    pub(super) arguments: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct BackupArgs {
    /// The cluster.
    pub(super) name: String,
    /// The folder. The file goes to NAMESPACE/NAME in it, under the snapshot's own name, once it is whole.
    #[arg(long, default_value = "backups")]
    pub(super) folder: PathBuf,
    /// So many of the newest backups stay there; older ones are deleted once this one is whole. Unset: all stay.
    #[arg(long)]
    pub(super) keep: Option<NonZeroUsize>,
    /// The user, whose password is in the variable MEMGRAPH_PASSWORD. Unset: the user of the Secret that the operator writes for
    /// applications, where `spec.auth` is set.
    #[arg(long, env = "MEMGRAPH_USERNAME")]
    pub(super) username: Option<String>,
    /// For how long the snapshot may take, with one of MAIN's own that is under way.
    #[arg(long, default_value = "1h")]
    pub(super) timeout: DurationString,
}

#[derive(Args, Debug)]
pub(super) struct PageArgs {
    /// The port of this machine at which the page is to be found. 0: any that is free.
    #[arg(long, default_value_t = crate::api::names::HTTP_PORT)]
    pub(super) port: u16,
}

#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// The cluster.
    pub(super) name: String,
    /// The file, which must not be there yet. Unset: one in the present folder, named after cluster and time.
    #[arg(short, long)]
    pub(super) output: Option<PathBuf>,
}

/// Whether to wait until it is over.
#[derive(Args, Debug)]
pub(super) struct WaitArgs {
    /// Only asks for it.
    #[arg(long)]
    pub(super) no_wait: bool,
    /// For how long to wait.
    #[arg(long, default_value = "2m")]
    pub(super) timeout: DurationString,
}
