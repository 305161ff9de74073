//! `devcluster`: Kubernetes clusters on this machine, for tests and for development.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use e2e_cluster::binaries;
use e2e_cluster::cluster::{self, Cluster};
use e2e_cluster::faults::Container;
use e2e_cluster::firewall::Cut;
use e2e_cluster::folders::Folders;
use e2e_cluster::image;
use e2e_cluster::image::spec::{Architecture, ImageSpec};
use e2e_cluster::interrupt::Interrupt;
use e2e_cluster::node;
use e2e_cluster::preflight;
use e2e_cluster::process::{self, command};
use e2e_cluster::progress::Progress;
use e2e_cluster::release::Release;
use e2e_cluster::spec::Options;

/// Kubernetes clusters on this machine, for tests: no container engine, no registry, no network.
#[derive(Parser)]
#[command(name = "devcluster", version)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

/// Which cluster a command is about.
#[derive(Args)]
struct Name {
    /// Name of the cluster
    #[arg(long, default_value = "e2e", env = "DEVCLUSTER_NAME")]
    name: String,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Build the Kubernetes binaries into the cache, unless they are there (KUBERNETES=1.33: of the oldest release, as for `up`)
    Build,
    /// Start a cluster and wait until it can run pods
    Up {
        #[command(flatten)]
        name: Name,
        /// Number of nodes
        #[arg(long, default_value_t = 1)]
        nodes: u8,
        /// Only the API server and controllers, no nodes
        #[arg(long, conflicts_with = "nodes")]
        control_plane_only: bool,
        /// Give a dead node up after 8 s and evict its pods 5 s later
        #[arg(long)]
        fast_node_monitoring: bool,
    },
    /// Remove a cluster and everything that belongs to it
    Down {
        #[command(flatten)]
        name: Name,
    },
    /// List the clusters
    List,
    /// Print the path of the administrator's kubeconfig
    Kubeconfig {
        #[command(flatten)]
        name: Name,
    },
    /// Print the path of the API server's audit log
    AuditLog {
        #[command(flatten)]
        name: Name,
    },
    /// Print the folder of the cluster's binaries, kubectl among them
    Bin {
        #[command(flatten)]
        name: Name,
    },
    /// Run kubectl
    Kubectl {
        #[command(flatten)]
        name: Name,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Make an image archive from a specification; prints the image's name
    ImageBuild {
        /// The specification, in YAML
        #[arg(long)]
        spec: PathBuf,
        /// The archive to write
        #[arg(long)]
        output: PathBuf,
        /// Value for a ${NAME} in the specification
        #[arg(long = "define", value_name = "NAME=VALUE")]
        definitions: Vec<String>,
        /// What its programs are made for, in place of what the specification says
        #[arg(long)]
        architecture: Option<Architecture>,
    },
    /// Load image archives into all nodes; prints the images' names
    LoadImage {
        #[command(flatten)]
        name: Name,
        /// Archives made by image-build
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run a command inside a machine (cp, node1, ..)
    Exec {
        #[command(flatten)]
        name: Name,
        /// The machine
        machine: String,
        /// The command; a shell if there is none
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// End all processes of a machine at once
    PowerCut {
        #[command(flatten)]
        name: Name,
        /// The machine
        machine: String,
    },
    /// Switch a machine on again
    PowerOn {
        #[command(flatten)]
        name: Name,
        /// The machine
        machine: String,
    },
    /// Drop the packets of a machine
    Partition {
        #[command(flatten)]
        name: Name,
        /// The machine
        machine: String,
        /// Only those to and from this other machine
        #[arg(long)]
        from: Option<String>,
        /// Only those of TCP connections to this port
        #[arg(long)]
        port: Option<u16>,
    },
    /// Undo all partitions
    Heal {
        #[command(flatten)]
        name: Name,
    },
    /// Freeze a machine, or a container
    Freeze {
        #[command(flatten)]
        name: Name,
        /// cp, node1, .., or NAMESPACE/POD[/CONTAINER]
        target: String,
    },
    /// Thaw all that is frozen
    Thaw {
        #[command(flatten)]
        name: Name,
    },
    /// Kill a program of a machine (kubelet, kube-apiserver, ..) and keep it away
    Hold {
        #[command(flatten)]
        name: Name,
        /// The machine
        machine: String,
        /// The program
        program: String,
    },
    /// Let a held program be started again
    Release {
        #[command(flatten)]
        name: Name,
        /// The machine
        machine: String,
        /// The program
        program: String,
    },
    /// The first process of a machine
    #[command(hide = true)]
    BoxInit {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long = "box")]
        machine: String,
    },
    /// Succeeds if the API server is ready
    #[command(hide = true)]
    WaitApi {
        address: SocketAddr,
        kubectl: PathBuf,
        kubeconfig: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("devcluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(subcommand: Subcommands) -> Result<ExitCode> {
    let folders = Folders::of_user;
    let open = |name: &Name| Cluster::open(&name.name, &folders()?);
    match subcommand {
        Subcommands::Build => build(&folders()?)?,
        Subcommands::Up {
            name,
            nodes,
            control_plane_only,
            fast_node_monitoring,
        } => {
            let options = Options {
                name: name.name,
                nodes,
                control_plane_only,
                fast_node_monitoring,
                kubernetes: Release::of_environment()?,
            };
            let cluster = Cluster::up(
                &options,
                &folders()?,
                &mut Progress::on_stderr(),
                &Interrupt::on_signals()?,
            )?;
            println!("export KUBECONFIG={}", cluster.kubeconfig().display());
        }
        Subcommands::Down { name } => {
            let interrupt = Interrupt::on_signals()?;
            Cluster::down(&name.name, &folders()?, &mut Progress::on_stderr(), &interrupt)?;
        }
        Subcommands::List => cluster::names(&folders()?)?
            .iter()
            .for_each(|name| println!("{name}")),
        Subcommands::Kubeconfig { name } => println!("{}", open(&name)?.kubeconfig().display()),
        Subcommands::AuditLog { name } => println!("{}", open(&name)?.audit_log().display()),
        Subcommands::Bin { name } => println!("{}", open(&name)?.spec().binaries.display()),
        Subcommands::Kubectl { name, arguments } => {
            let error = open(&name)?.kubectl().command(&[]).args(arguments).exec();
            return Err(error).context("cannot start kubectl");
        }
        Subcommands::ImageBuild {
            spec,
            output,
            definitions,
            architecture,
        } => {
            let mut spec = ImageSpec::read(&spec, &parse_definitions(&definitions)?)?;
            spec.architecture = architecture.unwrap_or(spec.architecture);
            println!("{}", image::build(&spec, &folders()?, &output)?.reference);
        }
        Subcommands::LoadImage { name, files } => {
            let cluster = open(&name)?;
            for file in files {
                println!("{}", cluster.load_image(&file)?.reference);
            }
        }
        Subcommands::Exec {
            name,
            machine,
            command,
        } => return exec(&open(&name)?, &machine, &command),
        Subcommands::PowerCut { name, machine } => on(&open(&name)?, &machine, Cluster::power_cut)?,
        Subcommands::PowerOn { name, machine } => on(&open(&name)?, &machine, Cluster::power_on)?,
        Subcommands::Partition {
            name,
            machine,
            from,
            port,
        } => {
            let cluster = open(&name)?;
            let from = from.map(|other| cluster.spec().find_box(&other)).transpose()?;
            cluster.partition(Cut {
                machine: cluster.spec().find_box(&machine)?,
                from,
                port,
            })?;
        }
        Subcommands::Heal { name } => open(&name)?.heal()?,
        Subcommands::Freeze { name, target } => freeze(&open(&name)?, &target)?,
        Subcommands::Thaw { name } => open(&name)?.thaw()?,
        Subcommands::Hold {
            name,
            machine,
            program,
        } => {
            on(&open(&name)?, &machine, |cluster, machine| {
                cluster.hold_program(machine, &program)
            })?;
        }
        Subcommands::Release {
            name,
            machine,
            program,
        } => {
            on(&open(&name)?, &machine, |cluster, machine| {
                cluster.release_program(machine, &program)
            })?;
        }
        Subcommands::BoxInit { folder, machine } => match node::init::run(&folder, &machine)? {},
        Subcommands::WaitApi {
            address,
            kubectl,
            kubeconfig,
        } => return Ok(wait_api(address, &kubectl, &kubeconfig)),
    }
    Ok(ExitCode::SUCCESS)
}

fn build(folders: &Folders) -> Result<()> {
    preflight::check_machine()?;
    preflight::install_packages()?;
    let bin = binaries::ensure(
        Release::of_environment()?,
        folders,
        &mut Progress::on_stderr(),
        &Interrupt::on_signals()?,
    )?;
    println!("{}", bin.display());
    Ok(())
}

fn on(
    cluster: &Cluster,
    machine: &str,
    action: impl FnOnce(&Cluster, e2e_cluster::address::BoxName) -> Result<()>,
) -> Result<()> {
    action(cluster, cluster.spec().find_box(machine)?)
}

fn freeze(cluster: &Cluster, target: &str) -> Result<()> {
    if target.contains('/') {
        return cluster.freeze_container(&target.parse::<Container>()?);
    }
    on(cluster, target, Cluster::freeze_machine)
}

fn exec(cluster: &Cluster, machine: &str, words: &[OsString]) -> Result<ExitCode> {
    let mut inside = cluster.command_in(cluster.spec().find_box(machine)?)?;
    if words.is_empty() {
        inside.arg("bash");
    }
    let status = inside
        .args(words)
        .status()
        .context("cannot start `nsenter` (Debian package util-linux)")?;
    // As a shell says it: 128 and the signal's number.
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn wait_api(address: SocketAddr, kubectl: &Path, kubeconfig: &Path) -> ExitCode {
    let mut ready = command(
        &kubectl.to_string_lossy(),
        ["get", "--raw=/readyz", "--kubeconfig"],
    );
    ready.arg(kubeconfig);
    if cluster::api_answers(address, || process::succeeds(&mut ready)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn parse_definitions(definitions: &[String]) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for definition in definitions {
        let Some((name, value)) = definition.split_once('=') else {
            bail!("--define {definition}: write NAME=VALUE");
        };
        values.insert(name.to_owned(), value.to_owned());
    }
    Ok(values)
}
