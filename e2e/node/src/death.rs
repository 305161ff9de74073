//! The end of the leading operator process at a chosen point of what it does.
//!
//! The process is traced as by a debugger (ptrace(2)): each of its threads stops before each system call, and so before
//! it writes a line of its log. It is killed there, before it can do anything that comes after what the line tells.
//! Nothing in the operator is there for this.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::node::{Node, OPERATOR_NAMESPACE};
use crate::wait::until;

/// Number of the system call write(2) on x86_64.
const WRITE: u64 = 1;
/// Where the operator writes its log.
const STANDARD_ERROR: u64 = 2;
/// What stands in the place of a system call's result before the call: `-ENOSYS`.
const NO_RESULT: i64 = -38;
/// No more of a line is read.
const LONGEST_LINE: u64 = 64 * 1024;

/// How long it may take until another process leads: one that was killed holds the Lease for some seconds more.
const NEXT_LEADER: Duration = Duration::from_secs(60);
/// How long a step may be under way whose effect can be seen already: a write is, before its line of the log is written.
const UNDER_WAY: Duration = Duration::from_secs(3);

/// A leader that is to be killed at a point of what it does.
pub struct Doomed<'a> {
    node: &'a Node,
    pod: Pod,
    spared: Arc<AtomicBool>,
    ended: oneshot::Receiver<()>,
    tracer: JoinHandle<Result<Option<String>>>,
}

impl Node {
    /// Has the process that leads killed right after a step for clusters of this name, an action or a write of the ledger:
    /// after the first one that none of `before` is, each of which stands for one step of its kind.
    ///
    /// # Errors
    /// When nobody leads, or its process cannot be traced.
    pub async fn doom_leader(&self, cluster: &str, before: &[String]) -> Result<Doomed<'_>> {
        // The Lease may still name one that was killed a moment ago.
        let pod = until("an operator process to lead", NEXT_LEADER, async || {
            self.leading_pod().await.map(Some)
        })
        .await?;
        let process = Pid::from_raw(self.process(&pod)?);
        let spared = Arc::new(AtomicBool::new(false));
        let (traced, begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (until, cluster) = (Arc::clone(&spared), cluster.to_owned());
        let mut survived = before.to_vec();
        let tracer = thread::spawn(move || {
            // It is dropped when this ends, which tells so.
            let _end: oneshot::Sender<()> = end;
            seize(process)?;
            // Whoever waits for it may have gone.
            let _ = traced.send(());
            trace(process, &until, |line| {
                let step = step(line, &cluster)?;
                match survived.iter().position(|before| *before == step) {
                    Some(known) => {
                        survived.swap_remove(known);
                        None
                    }
                    None => Some(step),
                }
            })
        });
        let doomed = Doomed {
            node: self,
            pod,
            spared,
            ended,
            tracer,
        };
        if begun.await.is_err() {
            doomed.end()?;
            bail!("the leader has ended by itself");
        }
        Ok(doomed)
    }
}

impl Doomed<'_> {
    /// Waits until it has been killed, or until `over`: soon after that it is left alone. Returns the step that was its last
    /// one. Its pod goes, too, since the kubelet would start a container that has ended often ever later.
    ///
    /// # Errors
    /// When `over` ends with an error, or the pod cannot be deleted.
    pub async fn dies_before<T>(mut self, over: impl Future<Output = Result<T>>) -> Result<Option<String>> {
        let over = tokio::select! {
            _ = &mut self.ended => Ok(()),
            over = over => {
                if over.is_ok() {
                    let _still_alive = timeout(UNDER_WAY, &mut self.ended).await;
                }
                over.map(drop)
            }
        };
        let (node, pod) = (self.node, self.pod.name_any());
        let last = tokio::task::block_in_place(|| self.end())?;
        if last.is_some() {
            let pods: Api<Pod> = Api::namespaced(node.client.clone(), OPERATOR_NAMESPACE);
            let at_once = DeleteParams::default().grace_period(0);
            pods.delete(&pod, &at_once).await?;
        }
        over.map(|()| last)
    }

    /// Ends tracing. Returns the step after which the process was killed.
    fn end(self) -> Result<Option<String>> {
        self.spared.store(true, Ordering::Relaxed);
        let ended = self.tracer.join();
        ended.unwrap_or_else(|_| bail!("the thread that traces the leader has panicked"))
    }
}

/// Makes this thread the tracer of all threads of a process. They stop soon.
fn seize(process: Pid) -> Result<()> {
    let mut known = BTreeSet::new();
    loop {
        let mut all = BTreeSet::new();
        for entry in fs::read_dir(format!("/proc/{process}/task")).context("the leader does not run")? {
            all.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<i32>().ok()),
            );
        }
        // Those that come meanwhile are traced like those that have made them, or are met in the next round.
        if all.is_subset(&known) {
            return Ok(());
        }
        for thread in all.difference(&known).copied().map(Pid::from_raw) {
            let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
            match ptrace::seize(thread, options).and_then(|()| ptrace::interrupt(thread)) {
                // It is traced already, or has ended.
                Ok(()) | Err(Errno::EPERM | Errno::ESRCH) => {}
                Err(error) => return Err(error).context("cannot trace the leader"),
            }
        }
        known = all;
    }
}

/// Lets a process go on that this thread traces. When it is about to log a line of which `last` makes something, kills it.
/// None: it was spared, or has ended by itself. Tracing ends with this thread.
fn trace(
    process: Pid,
    spared: &AtomicBool,
    mut last: impl FnMut(&str) -> Option<String>,
) -> Result<Option<String>> {
    let memory = File::open(format!("/proc/{process}/mem")).context("cannot read the leader's memory")?;
    let mut killed = None;
    while killed.is_some() || !spared.load(Ordering::Relaxed) {
        // Only what this thread traces: other threads have children, too.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let going_on = match waitpid(None, Some(flags)) {
            Err(Errno::ECHILD) => break,
            Err(error) => return Err(error).context("cannot wait for the leader"),
            Ok(WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..)) if thread == process => {
                break;
            }
            Ok(WaitStatus::PtraceSyscall(thread)) if killed.is_none() => {
                killed = line_to_be_logged(thread, &memory).and_then(|line| last(&line));
                match killed {
                    Some(_) => kill(process, Signal::SIGKILL),
                    None => ptrace::syscall(thread, None),
                }
            }
            Ok(WaitStatus::PtraceSyscall(thread) | WaitStatus::PtraceEvent(thread, ..)) => {
                ptrace::syscall(thread, None)
            }
            Ok(WaitStatus::Stopped(thread, signal)) => ptrace::syscall(thread, signal),
            Ok(_) => Ok(()),
        };
        match going_on {
            // It has ended meanwhile.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("cannot let the leader go on"),
        }
    }
    Ok(killed)
}

/// What a thread is about to write to its log, if that is what it is about to do.
fn line_to_be_logged(thread: Pid, memory: &File) -> Option<String> {
    let registers = ptrace::getregs(thread).ok()?;
    let begins = registers.rax.cast_signed() == NO_RESULT;
    if !(begins && registers.orig_rax == WRITE && registers.rdi == STANDARD_ERROR) {
        return None;
    }
    let mut line = vec![0; usize::try_from(registers.rdx.min(LONGEST_LINE)).ok()?];
    memory.read_exact_at(&mut line, registers.rsi).ok()?;
    String::from_utf8(line).ok()
}

/// The step for clusters of this name that a line of the operator's log tells of.
fn step(line: &str, cluster: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let ours = line["cluster"] == cluster;
    match line["message"].as_str().filter(|_| ours)? {
        "done" => line["action"]
            .as_str()?
            .split_whitespace()
            .next()
            .map(str::to_owned),
        "ledger written" => Some(format!("Write{}", line["route"].as_str()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_known_by_cluster_and_kind() {
        let line = r#"{"level":"INFO","message":"done","cluster":"demo","action":"Fence { term: 2 }","elapsed":"4ms"}"#;
        assert_eq!(step(line, "demo").as_deref(), Some("Fence"));
        assert_eq!(step(line, "other"), None);
        let alone = line.replace("Fence { term: 2 }", "ReachGateways");
        assert_eq!(step(&alone, "demo").as_deref(), Some("ReachGateways"));
        let write =
            r#"{"level":"INFO","message":"ledger written","cluster":"demo","term":2,"route":"Closed"}"#;
        assert_eq!(step(write, "demo").as_deref(), Some("WriteClosed"));
        assert_eq!(step("no JSON", "demo"), None);
    }
}
