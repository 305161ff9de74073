//! Starts HAProxy.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{
    contender::Contender,
    process::{Process, Processors},
};

/// Starts it with one thread and room for so many sessions, further ones waiting in the backlog.
pub fn start(
    contender: Contender,
    folder: &Path,
    listen: SocketAddr,
    instance: SocketAddr,
    sessions: usize,
) -> Result<Process> {
    let (global, defaults) = match contender {
        Contender::HaproxyBuffers => ("tune.bufsize 65536", ""),
        Contender::HaproxySplice => ("", "option splice-auto"),
        _ => ("", ""),
    };
    let config = format!(
        "global\n nbthread 1\n maxconn {maximum}\n {global}\n\
         defaults\n mode tcp\n timeout connect 1s\n timeout client 1h\n timeout server 1h\n {defaults}\n\
         frontend clients\n bind {listen} backlog 4096\n maxconn {sessions}\n default_backend instances\n\
         backend instances\n server main {instance}\n",
        maximum = sessions + 10,
    );
    let path = folder.join(format!("haproxy-{}.cfg", listen.port()));
    fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-q").arg("-f").arg(&path);
    Process::start(&command, Processors::One)
}
