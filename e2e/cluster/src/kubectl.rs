//! Calls `kubectl`: the one that was built with the cluster, never another.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process;

/// `kubectl` for one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// With the binaries of a folder and a kubeconfig.
    pub fn new(binaries: &Path, kubeconfig: &Path) -> Self {
        Self {
            program: binaries.join("kubectl"),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// A command that the caller may extend and run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        command
    }

    /// Runs it and returns its standard output.
    ///
    /// # Errors
    /// When it does not exit with 0; the error holds what it said.
    pub fn output(&self, args: &[&str]) -> Result<String> {
        process::output(&mut self.command(args))
    }

    /// Creates or changes objects by server-side apply.
    ///
    /// # Errors
    /// As [`Self::output`].
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let mut command = self.command(&["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        process::output_with_input(&mut command, manifests).map(drop)
    }

    /// Whether it exits with 0.
    pub fn succeeds(&self, args: &[&str]) -> bool {
        process::succeeds(&mut self.command(args))
    }
}
