//! The operator as a process of this machine, beside a cluster that runs no pods: the program as it was built, with the rights of
//! its ServiceAccount and a Lease in its namespace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e_cluster::audit::Request;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::node::{Node, OPERATOR_NAMESPACE};
use crate::scene::Scene;
use crate::wait::until;

/// How long a process may take to lead, or to end after it was told to.
const LIMIT: Duration = Duration::from_secs(60);

/// How many have been started: each has files of its own.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A process. When it is dropped it is told to end, so that the next test's need not wait for its Lease to run out.
pub struct Operator {
    child: Child,
    name: String,
    token: String,
    log: PathBuf,
}

/// Whose rights a process has, and what it is told.
pub struct Installed<'a> {
    /// Namespace of its ServiceAccount and its Lease.
    pub namespace: &'a str,
    /// Further arguments.
    pub arguments: &'a [&'a str],
}

impl Scene {
    /// Starts an operator process of the installation that all tests share. It is known as `name` in the Lease.
    ///
    /// # Errors
    /// When the program was not built, or cannot be started.
    pub fn operator(&self, name: &str) -> Result<Operator> {
        let shared = Installed {
            namespace: OPERATOR_NAMESPACE,
            arguments: &[],
        };
        self.operator_of(&shared, name)
    }

    /// As [`Self::operator`], of an installation of the test's own.
    ///
    /// # Errors
    /// As there.
    pub fn operator_of(&self, installed: &Installed<'_>, name: &str) -> Result<Operator> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = logs(&self.node);
        fs::create_dir_all(&folder)?;
        let file = |kind: &str| folder.join(format!("{}-{number}-{name}.{kind}", self.namespace));
        let token = self.node.kubectl(&[
            "--namespace",
            installed.namespace,
            "create",
            "token",
            "memgraph-operator",
            "--duration=2h",
        ])?;
        let kubeconfig = file("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_of(&self.node, token.trim()).to_string())?;
        let log = file("log");
        let output = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let child = Command::new(program()?)
            .args(["operator", "--http-bind-address=127.0.0.1:0"])
            .args(["--image", &self.node.images.operator])
            .args(["--lease-namespace", installed.namespace, "--identity", name])
            .args(installed.arguments)
            .env("KUBECONFIG", &kubeconfig)
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
            .context("cannot start the operator")?;
        Ok(Operator {
            child,
            name: name.to_owned(),
            token: token_id(token.trim()).context("the token's claims are not understood")?,
            log,
        })
    }

    /// Starts an operator process and waits until it leads.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn leader(&self, name: &str) -> Result<Operator> {
        let operator = self.operator(name)?;
        operator.leads(&self.node).await?;
        Ok(operator)
    }

    /// Prints the logs of this test's operator processes.
    pub(crate) fn tell_operators(&self) {
        let Ok(files) = fs::read_dir(logs(&self.node)) else {
            return;
        };
        let mut paths: Vec<_> = files.flatten().map(|file| file.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            if name.is_some_and(|name| name.starts_with(&self.namespace) && name.ends_with(".log")) {
                let said = fs::read_to_string(&path).unwrap_or_default();
                eprintln!("{}:\n{said}", path.display());
            }
        }
    }
}

impl Operator {
    /// Waits until it leads, and returns what it is called in the Lease.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn leads(&self, node: &Node) -> Result<String> {
        let prefix = format!("{}_", self.name);
        until(&format!("{} to lead", self.name), LIMIT, async || {
            Ok(node.leader().await?.filter(|holder| holder.starts_with(&prefix)))
        })
        .await
    }

    /// Whether a request is one of this process.
    pub fn sent(&self, request: &Request) -> bool {
        request.user.token() == Some(&self.token)
    }

    /// What it has logged.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(mut self) -> Result<()> {
        if !self.is_alive()? {
            bail!("{} has ended before", self.name);
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Tells it to end by SIGTERM, as the kubelet does, and waits for that.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        kill(self.pid()?, Signal::SIGTERM)?;
        let what = format!("{} to end", self.name);
        until(&what, LIMIT, async || Ok(self.child.try_wait()?)).await
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), self.pid()) {
            // It ends within a second, unless it hangs.
            let _ = kill(pid, Signal::SIGTERM);
            let begin = std::time::Instant::now();
            while begin.elapsed() < Duration::from_secs(5) && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the processes of a cluster log. It goes with the cluster.
fn logs(node: &Node) -> PathBuf {
    node.cluster.folder().path().join("operators")
}

/// The operator's program, which was built beside this test.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let candidate = own
        .ancestors()
        .nth(2)
        .map(|folder| folder.join("memgraph-operator"));
    candidate
        .filter(|candidate| candidate.is_file())
        .context("there is no program memgraph-operator: build it with `cargo build`")
}

fn kubeconfig_of(node: &Node, token: &str) -> Value {
    let authority: &Path = &node.cluster.folder().pki().join("ca.crt");
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "cluster",
            "cluster": {"server": node.cluster.spec().api_server(), "certificate-authority": authority},
        }],
        "users": [{"name": "operator", "user": {"token": token}}],
        "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "operator"}}],
        "current-context": "context",
    })
}

/// The identity of a token: its claim `jti`.
fn token_id(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims["jti"].as_str().map(str::to_owned)
}
