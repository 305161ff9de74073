//! The whole of it, against an API server that answers or does not.

use std::{
    convert::Infallible,
    fs,
    io::Read,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use http_body_util::Full;
use hyper::{Request, Response, body::Bytes};
use kube::{Client, client::Body};
use serde_json::json;

use super::{
    super::{Instance, boot_id, prepare, tell},
    decision::ledger,
    volume::Scratch,
};
use crate::{
    api::{InitNote, ResetNote, ResetOutcome},
    memgraph::{Bolt, BoltError, Credentials, Row, Session},
};

/// Nobody answers.
struct Nowhere;

impl Bolt for Nowhere {
    type Session = Nowhere;
    type Knock = ();

    fn session_as(&self, _: SocketAddr, _: Option<&Credentials>) -> Nowhere {
        Nowhere
    }

    async fn handshake(&self, at: SocketAddr, _: Duration) -> Result<(), BoltError> {
        Err(BoltError::Refused { at })
    }

    async fn knock(&self, _: SocketAddr, _: Duration) -> Option<()> {
        None
    }

    async fn reaches(&self, _: &str, _: Duration) -> bool {
        false
    }
}

impl Session for Nowhere {
    async fn run(&mut self, _: &str, deadline: Duration) -> Result<Vec<Row>, BoltError> {
        Err(BoltError::Deadline {
            at: ([127, 0, 0, 1], 7687).into(),
            deadline,
        })
    }

    async fn watch(&mut self, deadline: Duration) -> Result<(), BoltError> {
        self.run("", deadline).await.map(drop)
    }
}

fn instance(scratch: &Scratch) -> Instance {
    Instance {
        cluster: "demo".into(),
        namespace: "db".into(),
        name: "demo-2".into(),
        authorities: None,
        addresses: vec!["fd00::2".parse().unwrap(), [10, 0, 0, 2].into()],
        mount: scratch.0.clone(),
        data: scratch.data(),
    }
}

/// An API server that gives this answer, or none at all.
fn server(answer: Option<(u16, serde_json::Value)>) -> Client {
    let service = tower::service_fn(move |_: Request<Body>| {
        let answer = answer.clone();
        async move {
            let Some((code, body)) = answer else {
                return std::future::pending().await;
            };
            let body = Full::new(Bytes::from(body.to_string()));
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    Client::new(service, "db")
}

fn cluster() -> serde_json::Value {
    json!({
        "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster",
        "metadata": {"name": "demo", "namespace": "db"},
        "spec": {},
        "status": {"ledger": ledger()},
    })
}

fn refusal(code: u16) -> serde_json::Value {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code,
    })
}

/// Whether Memgraph is let start within an hour.
async fn starts(answer: Option<(u16, serde_json::Value)>) -> bool {
    let scratch = Scratch::new();
    scratch.fill("old");
    let instance = instance(&scratch);
    let prepared = prepare(&instance, server(answer), &Nowhere);
    let done = tokio::time::timeout(Duration::from_secs(3600), prepared).await;
    assert!(scratch.data().join("wal/2_current").exists());
    done.is_ok_and(|note| note.is_ok())
}

#[tokio::test(start_paused = true)]
async fn memgraph_does_not_start_before_the_ledger_was_read() {
    assert!(!starts(None).await);
    assert!(!starts(Some((403, refusal(403)))).await);
    assert!(starts(Some((200, cluster()))).await);
}

#[tokio::test(start_paused = true)]
async fn memgraph_starts_where_there_is_no_cluster_any_more() {
    assert!(starts(Some((404, refusal(404)))).await);
}

#[tokio::test(start_paused = true)]
async fn memgraph_does_not_start_at_an_address_that_the_ledger_has_another_instance_at() {
    let at = |instance: &str, address: &str| {
        let mut cluster = cluster();
        cluster["status"]["ledger"]["addresses"] =
            json!([{"instance": instance, "address": address, "since": 1}]);
        Some((200, cluster))
    };
    assert!(!starts(at("demo-1", "10.0.0.2:10000")).await);
    assert!(starts(at("demo-2", "10.0.0.2:10000")).await);
    assert!(starts(at("demo-1", "10.0.0.22:10000")).await);
}

#[tokio::test]
async fn without_main_nothing_is_moved() {
    let scratch = Scratch::new();
    scratch.fill("old");
    let client = server(Some((200, cluster())));
    let note = prepare(&instance(&scratch), client, &Nowhere).await.unwrap();
    assert_eq!(
        (note.outcome, note.token.as_str()),
        (ResetOutcome::Later, "t4-r9")
    );
    assert!(scratch.data().join("wal/2_current").exists());
}

#[tokio::test]
async fn a_recorded_order_is_not_obeyed_again() {
    let scratch = Scratch::new();
    scratch.fill("old");
    scratch.volume().set_aside(&ledger().resets[0]).unwrap();
    scratch.fill("new");
    let client = server(Some((200, cluster())));
    let note = prepare(&instance(&scratch), client, &Nowhere).await.unwrap();
    assert_eq!(note.outcome, ResetOutcome::Done);
    assert!(scratch.data().join("wal/2_current").exists());
}

/// Holds Memgraph's lock in a process of its own, until its input ends. Locks of one process do not keep itself out.
const HOLDER: &str = "import fcntl,sys\nf=open(sys.argv[1],'w')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\nsys.stdin.read()";

#[tokio::test]
async fn data_that_another_process_has_open_stays() {
    let scratch = Scratch::new();
    scratch.fill("old");
    let mut holder = Command::new("python3")
        .args(["-c", HOLDER])
        .arg(scratch.data().join(".lock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 4];
    holder.stdout.as_mut().unwrap().read_exact(&mut held).unwrap();
    assert!(scratch.volume().lock().unwrap().is_none());
    let client = server(Some((200, cluster())));
    let note = prepare(&instance(&scratch), client, &Nowhere).await.unwrap();
    assert_eq!(note.outcome, ResetOutcome::Later);
    assert!(note.detail.contains("another process"), "{note:?}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(scratch.volume().lock().unwrap().is_some());
}

#[test]
fn the_message_is_read_as_it_was_written() {
    let scratch = Scratch::new();
    let path = scratch.0.join("message");
    let note = ResetNote {
        token: "t4-r9".into(),
        outcome: ResetOutcome::Refused,
        detail: "no room".into(),
    };
    let note = InitNote {
        boot_id: boot_id(),
        max_map_count: Some(65_530),
        volume: String::new(),
        reset: note,
    };
    assert!(!note.boot_id.is_empty());
    tell(&note, &path).unwrap();
    assert_eq!(
        serde_json::from_slice::<InitNote>(&fs::read(&path).unwrap()).unwrap(),
        note
    );
}
