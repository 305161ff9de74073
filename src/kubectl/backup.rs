//! A backup: a snapshot that MAIN takes for it, copied out of its pod through the API server.
//!
//! It counts only if the same life of the same instance was MAIN, with the route open, in one term before it was asked for it and after
//! it had taken it: a MAIN that is being replaced may hold what was never acknowledged.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{Api, ResourceExt, api::AttachParams};
use mgconsole::{Failure, Rows, Server};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpListener,
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    Error, Outcome,
    access::{Access, failed},
    args::BackupArgs,
    console::{by_instances, credentials, forward, stream_to},
    render,
    shelf::{Part, Shelf},
};
use crate::api::{
    MemgraphCluster,
    ledger::{DataCopy, Route},
    names,
};

/// How soon MAIN is asked again that takes a snapshot of its own.
const AGAIN: Duration = Duration::from_secs(5);
/// In the words of such a MAIN (Memgraph's `query/interpreter.cpp`).
const UNDER_WAY: &str = "Another snapshot creation is already in progress";
/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// Who was MAIN when.
#[derive(Debug, PartialEq)]
struct Reign {
    cluster: Option<String>,
    term: i64,
    main: DataCopy,
}

impl Reign {
    /// The present one.
    ///
    /// # Errors
    /// While clients may not reach MAIN.
    fn of(cluster: &MemgraphCluster) -> Result<Self, Error> {
        let name = cluster.name_any();
        let none = |why: &str| {
            Err(Error::Usage(format!(
                "{why}: a backup is of a MAIN that serves. `kubectl memgraph status {name}` says more; ask again later"
            )))
        };
        let status = cluster.status.as_ref();
        let Some(ledger) = status.and_then(|status| status.ledger.as_ref()) else {
            return none(&format!("{name} has no MAIN yet"));
        };
        if ledger.route == Route::Closed || ledger.operation.is_some() {
            return none(&format!("MAIN of {name} is being changed"));
        }
        if status.is_none_or(|status| status.main.is_none()) {
            return none(&format!("{name} has no MAIN now"));
        }
        Ok(Self {
            cluster: cluster.uid(),
            term: ledger.term,
            main: ledger.main.clone(),
        })
    }
}

pub(super) async fn take(
    asked: &BackupArgs,
    access: &Access,
    out: &mut dyn io::Write,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    let cluster = access.get(&asked.name).await?;
    let reign = Reign::of(&cluster)?;
    // What cannot be written is known before MAIN has any work.
    let shelf = Shelf::open(asked.folder.join(&access.namespace).join(&asked.name))?;
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    let main = &reign.main.instance;
    writeln!(
        progress,
        "{main}, which is MAIN in term {}, takes a snapshot",
        reign.term
    )?;
    let (username, password) = credentials(asked.username.as_deref(), access, &cluster).await?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let server = Server {
        host: Ipv4Addr::LOCALHOST.to_string(),
        port: listener.local_addr()?.port(),
        tls: by_instances(&cluster, false).is_some(),
        username,
        password,
        patience: Duration::ZERO,
    };
    let limit = asked.timeout.0;
    let taken = timeout(limit, snapshot(&pods, main, &listener, &server, progress)).await;
    let path = taken.unwrap_or_else(|_| {
        let limit = render::time(limit);
        Err(Error::Usage(format!(
            "{main} has no snapshot after {limit}; --timeout allows for more"
        )))
    })?;
    let now = access.get(&asked.name).await?;
    if Reign::of(&now).ok().as_ref() != Some(&reign) {
        return Err(Error::Usage(format!(
            "MAIN of {} has changed while {main} took the snapshot: it is not kept; ask again",
            asked.name
        )));
    }
    let (kept, size) = copy(&pods, main, &path, &shelf).await?;
    writeln!(progress, "{}: {size} bytes", kept.display())?;
    writeln!(out, "{}", kept.display())?;
    if let Some(count) = asked.keep {
        for name in shelf.keep_newest(count)? {
            writeln!(progress, "{name} is deleted, as --keep {count} says")?;
        }
    }
    Ok(Outcome::Done)
}

/// Has MAIN take a snapshot. Returns its path there.
async fn snapshot(
    pods: &Api<Pod>,
    main: &str,
    listener: &TcpListener,
    server: &Server,
    progress: &mut dyn io::Write,
) -> Result<String, Error> {
    let (troubles, mut told) = mpsc::unbounded_channel();
    let connect = || {
        let (pods, main) = (pods.clone(), main.to_owned());
        async move { stream_to(&pods, &main, names::BOLT_PORT).await }
    };
    let taken = tokio::select! {
        taken = ask_for_one(main, server, progress) => taken,
        Err(error) = forward(listener, connect, troubles) => return Err(error),
    };
    taken.map_err(|failure| match (failure, told.try_recv()) {
        (Refusal::Failure(Failure::Connection(said)), trouble) => Error::Usage(format!(
            "cannot ask {main} for a snapshot: {}",
            trouble.unwrap_or(said)
        )),
        (Refusal::Failure(Failure::Query(said)), _) => {
            Error::Usage(format!("{main} takes no snapshot: {said}"))
        }
        (Refusal::Other(error), _) => error,
    })
}

/// Why there is no snapshot.
enum Refusal {
    /// The server, or the way to it.
    Failure(Failure),
    /// Anything else.
    Other(Error),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

async fn ask_for_one(main: &str, server: &Server, progress: &mut dyn io::Write) -> Result<String, Refusal> {
    let role = ask(server, "SHOW REPLICATION ROLE").await?;
    let role = first(&role, "replication role").unwrap_or_default();
    if role != "main" {
        let said = format!("{main} says that its role is {role:?}, and not main: ask again");
        return Err(Refusal::Other(Error::Usage(said)));
    }
    let mut waits = false;
    loop {
        match ask(server, "CREATE SNAPSHOT").await {
            Ok(rows) => {
                return first(&rows, "path").map(str::to_owned).ok_or_else(|| {
                    let said =
                        format!("{main} does not say where its snapshot is: Memgraph 3.5 and newer do");
                    Refusal::Other(Error::Usage(said))
                });
            }
            Err(Refusal::Failure(Failure::Query(said))) if said.contains(UNDER_WAY) => {
                if !waits {
                    writeln!(progress, "{main} takes one of its own first")
                        .map_err(|error| Refusal::Other(error.into()))?;
                    waits = true;
                }
                sleep(AGAIN).await;
            }
            Err(refused) => return Err(refused),
        }
    }
}

/// What the first row has in a column.
fn first<'a>(rows: &'a Rows, column: &str) -> Option<&'a str> {
    rows.first()?.get(column)?.as_str()
}

async fn ask(server: &Server, statement: &'static str) -> Result<Rows, Refusal> {
    let server = server.clone();
    // A call that is broken off ends with its connection.
    let asked = tokio::task::spawn_blocking(move || mgconsole::ask(&server, statement)).await;
    Ok(asked.map_err(|error| Refusal::Other(Error::Write(io::Error::other(error))))??)
}

/// Copies a file out of MAIN's pod. Returns where it is, and its size.
async fn copy(pods: &Api<Pod>, main: &str, path: &str, shelf: &Shelf) -> Result<(PathBuf, u64), Error> {
    let mut text = Vec::new();
    let stat = ["stat", "--format=%s", "--", path];
    run(pods, main, &stat, |bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })
    .await?;
    let text = String::from_utf8_lossy(&text);
    let size = text
        .trim()
        .parse()
        .map_err(|_| Error::Usage(format!("{main} says that {path} has {:?} bytes", text.trim())))?;
    let mut part: Part = shelf.begin()?;
    run(pods, main, &["cat", "--", path], |bytes| part.write(bytes)).await?;
    let name = path.rsplit('/').next().unwrap_or_default();
    Ok((shelf.keep(part, name, size)?, size))
}

/// Runs a program beside Memgraph, and gives what it prints to `sink`.
async fn run(
    pods: &Api<Pod>,
    pod: &str,
    command: &[&str],
    sink: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = command.join(" ");
    let parameters = AttachParams::default()
        .container(names::INSTANCE_CONTAINER)
        .max_stdout_buf_size(CHUNK);
    let started = pods.exec(pod, command.iter().copied(), &parameters).await;
    let mut process = started.map_err(failed(format!("run {line} in the pod {pod}")))?;
    let (printed, said) = (process.stdout(), process.stderr());
    let mut complaint = Vec::new();
    let complaining = async {
        if let Some(mut said) = said {
            said.read_to_end(&mut complaint).await?;
        }
        Ok::<_, Error>(())
    };
    let printing = async {
        match printed {
            Some(printed) => pass(printed, sink).await,
            None => Ok(()),
        }
    };
    tokio::try_join!(printing, complaining)?;
    let status = match process.take_status() {
        Some(status) => status.await,
        None => None,
    };
    judge(status, &String::from_utf8_lossy(&complaint))
        .map_err(|why| Error::Usage(format!("{line} in the pod {pod} has failed: {why}")))
}

/// Gives all that can be read to `sink`.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut sink: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(()),
            length => sink(&buffer[..length])?,
        }
    }
}

/// Whether the program has ended well. That nothing more comes does not tell: a connection that breaks looks the same.
fn judge(status: Option<Status>, complaint: &str) -> Result<(), String> {
    let Some(status) = status else {
        return Err("the connection has ended before the program".to_owned());
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let complaint = complaint.trim();
    Err(match status.message {
        _ if !complaint.is_empty() => complaint.to_owned(),
        Some(message) => message,
        None => "nobody says why".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cluster(change: impl FnOnce(&mut Value)) -> MemgraphCluster {
        let life = json!({"podUID": "p", "containerID": "c", "volume": "v"});
        let mut cluster = json!({
            "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster",
            "metadata": {"name": "demo", "namespace": "graphs", "uid": "u"}, "spec": {},
            "status": {"main": "demo-2", "ledger": {
                "lineage": "l", "term": 3, "opened": true, "main": {"instance": "demo-2", "incarnation": life},
                "route": "Open", "generation": 9,
            }},
        });
        change(&mut cluster);
        serde_json::from_value(cluster).unwrap()
    }

    #[test]
    fn no_backup_is_of_a_main_that_is_being_changed() {
        let operation = json!({"kind": "Switchover", "target": "demo-1", "cause": "", "startedAt": "2026-01-01T00:00:00Z"});
        let closed = cluster(|c| c["status"]["ledger"]["route"] = json!("Closed"));
        let busy = cluster(|c| c["status"]["ledger"]["operation"] = operation);
        let asleep = cluster(|c| c["status"]["main"] = Value::Null);
        let new = cluster(|c| c["status"]["ledger"] = Value::Null);
        for (cluster, why) in [
            (closed, "MAIN of demo is being changed"),
            (busy, "MAIN of demo is being changed"),
            (asleep, "demo has no MAIN now"),
            (new, "demo has no MAIN yet"),
        ] {
            let refused = Reign::of(&cluster).unwrap_err().to_string();
            assert!(refused.starts_with(why), "{refused}");
        }
        assert_eq!(Reign::of(&cluster(|_| {})).unwrap().main.instance, "demo-2");
    }

    #[test]
    fn another_term_life_or_cluster_is_another_reign() {
        let reign = |change: fn(&mut Value)| Reign::of(&cluster(change)).unwrap();
        let now = reign(|_| {});
        assert_eq!(now, reign(|c| c["status"]["ledger"]["generation"] = json!(10)));
        assert_ne!(now, reign(|c| c["status"]["ledger"]["term"] = json!(4)));
        assert_ne!(now, reign(|c| c["metadata"]["uid"] = json!("another")));
        assert_ne!(
            now,
            reign(|c| c["status"]["ledger"]["main"]["incarnation"]["containerID"] = json!("another"))
        );
    }

    #[test]
    fn a_program_has_ended_well_only_if_it_says_so() {
        let status = |status: &str| -> Option<Status> {
            serde_json::from_value(json!({"status": status, "message": "exit code 1"})).ok()
        };
        assert_eq!(judge(status("Success"), ""), Ok(()));
        let broken = judge(None, "").unwrap_err();
        assert_eq!(broken, "the connection has ended before the program");
        assert_eq!(judge(status("Failure"), "").unwrap_err(), "exit code 1");
        let told = judge(status("Failure"), "cat: no such file\n").unwrap_err();
        assert_eq!(told, "cat: no such file");
    }

    #[tokio::test]
    async fn all_that_is_printed_arrives() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 7).map(|n| (n % 251) as u8).collect();
        let mut arrived = Vec::new();
        pass(&bytes[..], |part| {
            arrived.extend_from_slice(part);
            Ok(())
        })
        .await
        .unwrap();
        assert!(arrived == bytes);
        let full = pass(&bytes[..], |_| Err(Error::Usage("full".to_owned()))).await;
        assert_eq!(full.unwrap_err().to_string(), "full");
    }
}
