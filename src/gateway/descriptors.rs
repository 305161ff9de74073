//! The process's bound on open files, of which each session takes two.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use super::routes::Limits;
use crate::{control_channel, http};

/// Client and instance.
const PER_SESSION: u64 = 2;
/// Listeners, the connections to the API server, of operators, and of its own to MAIN and replicas, the runtime.
const OWN: u64 = 128;
/// Those, and the connections of whoever comes to the ports that are not for clients.
const OTHER: u64 = OWN + (http::CONNECTIONS + control_channel::UNKNOWN) as u64;

/// Raises the soft bound to the hard one, as a process may do by itself.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => info!(from = current, to = maximum, "raised the limit of open files"),
        Err(error) => {
            warn!(%error, limit = current, "cannot raise the limit of open files; it stays as it is")
        }
    }
}

/// Says so when the sessions that the spec allows would need more open files than the process may have.
pub fn warn_if_too_few(limits: &Limits) {
    let sessions = limits.read_write.saturating_add(limits.read);
    let needed = needed(u64::try_from(sessions).unwrap_or(u64::MAX));
    if let Some(allowed) = getrlimit(Resource::Nofile).current
        && allowed < needed
    {
        warn!(
            allowed,
            needed,
            "the limit of open files is too low for gateway.readWrite.maxConnections and \
             gateway.read.maxConnections together; lower them, or raise the node's limit for containers"
        );
    }
}

fn needed(sessions: u64) -> u64 {
    sessions.saturating_mul(PER_SESSION).saturating_add(OTHER)
}
