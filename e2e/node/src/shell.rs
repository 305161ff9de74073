//! Commands as people type them: in a shell, and at a terminal.

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::iter;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e_cluster::process;
use nix::pty::openpty;

use crate::node::Node;
use crate::wait::until;

impl Node {
    /// A script, to be run in a folder. Its search path begins with the cluster's `kubectl`, then come these folders.
    ///
    /// # Errors
    /// When there is no search path to put them on.
    pub fn shell(&self, script: &str, folder: &Path, programs: &[PathBuf]) -> Result<Command> {
        let path = env::var_os("PATH").context("there is no search path")?;
        let first = iter::once(&self.cluster.spec().binaries).chain(programs);
        let path = env::join_paths(first.cloned().chain(env::split_paths(&path)))?;
        let mut bash = process::command("bash", ["-euo", "pipefail", "-c", script]);
        bash.current_dir(folder)
            .env("PATH", path)
            .env("KUBECONFIG", self.cluster.kubeconfig());
        Ok(bash)
    }
}

/// A command at a terminal, and somebody who reads and types.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a command at a terminal of its own.
    ///
    /// # Errors
    /// When there is no terminal or the command cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let pair = openpty(None, None).context("cannot make a terminal")?;
        let mut reader = File::from(pair.master.try_clone()?);
        // The terminal is closed here when the command has started: what is read from it ends with the command.
        command
            .stdin(Stdio::from(pair.slave.try_clone()?))
            .stdout(Stdio::from(pair.slave.try_clone()?))
            .stderr(Stdio::from(pair.slave))
            .process_group(0);
        let child = command.spawn().context("cannot start a command at a terminal")?;
        drop(command);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The kernel reports the end as an error.
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                shown.extend_from_slice(&buffer[..read]);
            }
        });
        Ok(Self {
            child,
            keyboard: File::from(pair.master),
            screen,
        })
    }

    /// All that was shown so far.
    pub fn screen(&self) -> String {
        let shown = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until a text is shown.
    ///
    /// # Errors
    /// When it is not in time; the error has what is shown instead.
    pub async fn shows(&self, text: &str, limit: Duration) -> Result<()> {
        until(&format!("{text:?} to be shown"), limit, async || {
            let screen = self.screen();
            ensure!(screen.contains(text), "what is shown is {screen:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Types a line.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        // The key is "return".
        writeln!(self.keyboard, "{line}").context("cannot type at the terminal")
    }

    /// Waits until the command has ended, successfully.
    ///
    /// # Errors
    /// When it fails or goes on.
    pub async fn ends(&mut self, limit: Duration) -> Result<()> {
        let status = until("the command at the terminal to end", limit, async || {
            Ok(self.child.try_wait()?)
        })
        .await?;
        ensure!(status.success(), "it ended with {status}: {:?}", self.screen());
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
