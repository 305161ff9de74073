//! The plugin against an API server in memory.

use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{access::Access, *};
use crate::controller::tests::fake_api::FakeApi;

const VERSION: &str = "memgraph.dev/v1alpha1";

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn demo() -> Value {
    let copy = |instance: &str| json!({"instance": instance, "incarnation": {"podUID": instance, "containerID": "c", "volume": "v"}, "generation": 1});
    json!({
        "apiVersion": VERSION, "kind": "MemgraphCluster",
        "metadata": {"name": "demo", "namespace": "graphs", "uid": "u", "generation": 2},
        "spec": {"replicas": 3, "fencedInstances": ["demo-2"]},
        "status": {
            "observedGeneration": 2, "phase": "Operational", "main": "demo-0",
            "replicas": 3, "readyReplicas": 3, "inSyncReplicas": 1, "version": "3.12.0",
            "gateway": {"readWrite": "demo-gateway.graphs.svc.cluster.local:7687"},
            "instances": [
                {"name": "demo-0", "role": "Main", "health": "Up"},
                {"name": "demo-1", "role": "Replica", "mode": "StrictSync", "health": "Up", "dataStatus": "ready", "inSync": true},
                {"name": "demo-2", "role": "Replica", "mode": "Async", "health": "Silent", "dataStatus": "invalid"},
            ],
            "history": [{
                "term": 3, "kind": "Failover", "from": "demo-1", "to": "demo-0", "cause": "MAIN is gone",
                "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:02Z",
                "steps": [{"step": "Fence", "took": "200ms"}],
            }],
            "conditions": [
                condition("Ready", "True", "AsExpected", ""),
                condition("ReplicationHealthy", "False", "ReplicasLagging", "demo-2 is not connected"),
            ],
            "ledger": {
                "lineage": "l1", "term": 3, "opened": true, "main": copy("demo-0"), "mainAddress": "10.0.0.1",
                "route": "Open", "inSync": [copy("demo-1")], "generation": 9,
            },
        },
    })
}

fn api() -> FakeApi {
    let api = FakeApi::default();
    api.put("memgraphclusters", demo());
    api
}

fn cluster(api: &FakeApi) -> Value {
    api.get(VERSION, "memgraphclusters", "graphs", "demo").unwrap()
}

/// What a call has answered: its outcome, and what was written to each of the two streams, without colours.
async fn call(api: &FakeApi, line: &str) -> (Result<Outcome, Error>, String, String) {
    let words = ["kubectl-memgraph"]
        .into_iter()
        .chain(line.split(' '))
        .chain(["-n", "graphs"]);
    let arguments = Arguments::try_parse_from(words).unwrap();
    let access = Access::of(api.client(), &arguments.access);
    let (mut out, mut progress) = (Vec::new(), Vec::new());
    let done = carry_out(arguments.command, &access, &mut out, &mut progress);
    let done = timeout(Duration::from_secs(60), done).await.expect("an end");
    let text = |bytes: Vec<u8>| anstream::adapter::strip_bytes(&bytes).into_vec();
    let text = |bytes| String::from_utf8(text(bytes)).unwrap();
    (done, text(out), text(progress))
}

#[tokio::test]
async fn status_shows_the_topology_and_what_to_do() {
    let (outcome, text, progress) = call(&api(), "status demo").await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    for line in [
        "MAIN      demo-0, term 3, route open",
        "INSTANCE         ROLE     MODE        HEALTH  DATA     IN-SYNC  LAG  ANSWERED",
        "demo-1           Replica  StrictSync  Up      ready    yes      -    -",
        "demo-2 (fenced)  Replica  Async       Silent  invalid  no       -    -",
        "ReplicationHealthy: demo-2 is not connected",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.contains("2.0 s  Fence 200 ms"), "{text}");
    let blind = "Lag and sessions are not shown, because the operator could not be asked: there is no services/memgraph-operator:http";
    assert!(progress.contains(blind), "{progress}");
    let next = "operator: it could not be asked";
    assert!(text.contains(next), "{text}");
}

#[tokio::test]
async fn status_says_what_keeps_a_pod_from_running_what_nodes_lack_and_which_terms_have_no_line() {
    let (api, mut sick) = (api(), demo());
    sick["status"]["instances"][2]["obstacle"] = json!("no node takes it: Insufficient memory");
    for instance in [0, 1] {
        sick["status"]["instances"][instance]["warning"] = json!("its node lacks maps");
    }
    let record = |term: i64| {
        let mut record = sick["status"]["history"][0].clone();
        record["term"] = json!(term);
        record
    };
    sick["status"]["history"] = json!([record(9), record(7), record(6), record(3)]);
    api.put("memgraphclusters", sick);
    let (_, text, _) = call(&api, "status demo").await;
    for line in [
        "demo-2: no node takes it: Insufficient memory",
        "demo-0, demo-1: its node lacks maps",
        "Terms 4-5, 8: begun, and taken over by the next change before clients were let in.",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn a_switchover_takes_two_terms_and_no_other_change_does() {
    let (api, mut moved) = (api(), demo());
    let record = |term: i64, kind: &str| {
        let mut record = moved["status"]["history"][0].clone();
        (record["term"], record["kind"]) = (json!(term), json!(kind));
        record
    };
    let history = json!([
        record(9, "Switchover"),
        record(6, "Failover"),
        record(5, "Switchover"),
        record(3, "Failover")
    ]);
    moved["status"]["history"] = history;
    api.put("memgraphclusters", moved);
    let (_, text, _) = call(&api, "status demo").await;
    assert!(text.contains("Terms 7: begun"), "{text}");
}

#[tokio::test]
async fn where_the_operator_alone_does_not_hear_main_it_is_not_said_that_nobody_can_write() {
    let (api, mut unheard) = (api(), demo());
    unheard["status"]["conditions"] = json!([condition("Ready", "Unknown", "MainUnreachable", "served")]);
    api.put("memgraphclusters", unheard);
    let (outcome, text, _) = call(&api, "status demo").await;
    assert_eq!(outcome.unwrap(), Outcome::NotReady);
    assert!(text.contains("Writes    unknown"), "{text}");
}

#[tokio::test]
async fn status_of_a_namespace_is_a_list_and_its_code_says_whether_clients_can_write() {
    let api = api();
    let mut other = demo();
    other["metadata"] = json!({"name": "other", "namespace": "graphs", "uid": "v"});
    other["status"] =
        json!({"phase": "Unavailable", "conditions": [condition("Ready", "False", "NoCandidate", "lost")]});
    api.put("memgraphclusters", other);
    let (outcome, text, _) = call(&api, "status").await;
    assert_eq!(outcome.unwrap(), Outcome::NotReady);
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    assert_eq!(
        lines[1],
        [
            "graphs",
            "demo",
            "Operational",
            "yes",
            "demo-0",
            "3/3",
            "1",
            "3",
            "-"
        ]
    );
    assert_eq!(lines[2][..4], ["graphs", "other", "Unavailable", "no"]);
}

#[tokio::test]
async fn status_can_be_read_by_programs() {
    let (_, text, _) = call(&api(), "status demo -o json").await;
    let read: crate::fleet::ClusterStatus = serde_json::from_str(&text).unwrap();
    assert_eq!(read.cluster_state.main.as_deref(), Some("demo-0"));
    let (_, yaml, _) = call(&api(), "status demo -o yaml").await;
    assert_eq!(
        serde_yaml::from_str::<crate::fleet::ClusterStatus>(&yaml).unwrap(),
        read
    );
}

#[tokio::test]
async fn a_cluster_that_there_is_not_is_an_error() {
    let (outcome, _, _) = call(&api(), "status nobody").await;
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "there is no MemgraphCluster nobody in graphs"
    );
}

/// Plays the operator: answers the request that stands in the spec, for ever, as a watch may begin at any time.
async fn answer_switchover(api: &FakeApi, state: &str, message: &str) {
    let asked = loop {
        let cluster = cluster(api);
        if let Some(id) = cluster["spec"]["switchover"]["requestId"].as_str() {
            break id.to_owned();
        }
        tokio::task::yield_now().await;
    };
    for number in 0.. {
        let mut cluster = cluster(api);
        let state = if number == 0 { "Running" } else { state };
        let message = format!("{message} {number}");
        cluster["status"]["switchover"] =
            json!({"requestId": asked, "target": "demo-1", "state": state, "message": message});
        api.put("memgraphclusters", cluster);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a call has answered while the operator answers like this.
async fn answered(
    api: &FakeApi,
    line: &str,
    state: &str,
    message: &str,
) -> (Result<Outcome, Error>, String, String) {
    tokio::select! {
        done = call(api, line) => done,
        () = answer_switchover(api, state, message) => unreachable!("it goes on for ever"),
    }
}

#[tokio::test]
async fn a_switchover_is_asked_for_and_waited_for() {
    let api = api();
    let done = answered(&api, "switchover demo --to demo-1", "Succeeded", "").await;
    assert_eq!(done.0.unwrap(), Outcome::Done);
    assert_eq!(cluster(&api)["spec"]["switchover"]["target"], "demo-1");
    assert!(done.2.ends_with("MAIN is demo-1\n"), "{}", done.2);
}

#[tokio::test]
async fn a_refused_switchover_says_why() {
    let api = api();
    let done = answered(&api, "switchover demo", "Refused", "no replica is in sync").await;
    assert_eq!(done.0.unwrap(), Outcome::Refused);
    assert!(done.2.contains("refused: no replica is in sync"), "{}", done.2);
}

#[tokio::test]
async fn what_is_not_over_in_time_goes_on() {
    let (outcome, _, progress) = call(&api(), "switchover demo --timeout 10ms").await;
    assert_eq!(outcome.unwrap(), Outcome::TimedOut);
    assert!(
        progress.contains("not over after 10 ms; it goes on"),
        "{progress}"
    );
}

#[tokio::test]
async fn fencing_keeps_what_others_have_fenced() {
    let api = api();
    let (outcome, _, progress) = call(&api, "fence demo-1").await;
    assert_eq!(outcome.unwrap(), Outcome::Done, "{progress}");
    assert_eq!(
        cluster(&api)["spec"]["fencedInstances"],
        json!(["demo-1", "demo-2"])
    );
    let (outcome, _, _) = call(&api, "unfence demo-2").await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(cluster(&api)["spec"]["fencedInstances"], json!(["demo-1"]));
}

#[tokio::test]
async fn fencing_main_waits_until_main_has_moved() {
    let api = api();
    let (outcome, _, progress) = call(&api, "fence demo-0 --timeout 200ms").await;
    assert_eq!(outcome.unwrap(), Outcome::TimedOut);
    assert!(progress.contains("demo-0 is still MAIN"), "{progress}");
}

#[tokio::test]
async fn fencing_main_is_not_done_before_there_is_another_one() {
    let api = api();
    let closed = async {
        while cluster(&api)["spec"]["fencedInstances"] != json!(["demo-0", "demo-2"]) {
            tokio::task::yield_now().await;
        }
        let mut moved = cluster(&api);
        moved["status"]["main"] = Value::Null;
        moved["status"]["ledger"]["route"] = json!("Closed");
        moved["status"]["ledger"]["main"]["instance"] = json!("demo-1");
        moved["status"]["conditions"] =
            json!([condition("Stalled", "True", "FencedInstance", "take one out")]);
        api.put("memgraphclusters", moved);
    };
    let ((outcome, _, progress), ()) = tokio::join!(call(&api, "fence demo-0 --timeout 500ms"), closed);
    assert_eq!(outcome.unwrap(), Outcome::TimedOut, "{progress}");
    assert!(
        progress.contains("nobody is MAIN yet: take one out"),
        "{progress}"
    );
}

#[tokio::test]
async fn git_is_named_where_it_writes_the_field() {
    let api = api();
    let mut owned = demo();
    owned["metadata"]["managedFields"] = json!([
        {"manager": "argocd-controller", "operation": "Apply", "fieldsV1": {"f:spec": {"f:fencedInstances": {}}}},
        {"manager": "other", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    ]);
    api.put("memgraphclusters", owned);
    let (_, _, progress) = call(&api, "fence demo-1 --no-wait").await;
    let note = "note: spec.fencedInstances is written by argocd-controller too";
    assert!(
        progress.contains(note) && !progress.contains("other too"),
        "{progress}"
    );
}

#[tokio::test]
async fn an_instance_that_is_relied_on_is_not_reset_and_no_other_one_without_a_word() {
    let api = api();
    for relied_on in ["demo-0", "demo-1"] {
        let (outcome, _, _) = call(&api, &format!("reset {relied_on} --yes")).await;
        assert!(
            outcome
                .unwrap_err()
                .to_string()
                .contains("is MAIN or holds every acknowledged write")
        );
    }
    let warned = async || call(&api, "reset demo-2").await.0.unwrap_err().to_string();
    let kept = warned().await;
    assert!(
        kept.contains("in a folder on its volume") && kept.contains("say --yes"),
        "{kept}"
    );
    let mut in_pods = demo();
    in_pods["spec"]["storage"] = json!({"emptyDir": {}});
    api.put("memgraphclusters", in_pods);
    let gone = warned().await;
    assert!(
        gone.contains("will be deleted with its pod") && gone.contains("say --yes"),
        "{gone}"
    );
    let asked = api.take_requests();
    assert!(
        asked.iter().all(|request| request.starts_with("GET")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_reset_annotates_the_pod() {
    let api = api();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "demo-2", "namespace": "graphs", "uid": "p"}});
    api.put("pods", pod);
    let (outcome, _, _) = call(&api, "reset demo-2 --yes --no-wait").await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    let pod = api.get("v1", "pods", "graphs", "demo-2").unwrap();
    assert!(
        pod["metadata"]["annotations"]["memgraph.dev/reset"].is_string(),
        "{pod}"
    );
}

/// Plays the operator: says of the cluster that it is paused or not, each time in other words, as a watch may begin at any time.
async fn answer_pause(api: &FakeApi) {
    for number in 0.. {
        let mut cluster = cluster(api);
        let paused = cluster["spec"]["paused"].as_bool().unwrap_or_default();
        let status = if paused { "True" } else { "False" };
        let message = format!("a failover is finished first {number}");
        cluster["status"]["conditions"] = json!([condition("Paused", status, "Paused", &message)]);
        api.put("memgraphclusters", cluster);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_pause_is_waited_for_and_ended() {
    let api = api();
    for (line, paused, said) in [
        (
            "pause demo",
            true,
            "demo is paused: a MAIN that is lost is not replaced",
        ),
        ("resume demo", false, "demo goes on"),
    ] {
        let (outcome, _, progress) = tokio::select! {
            done = call(&api, line) => done,
            () = answer_pause(&api) => unreachable!("it goes on for ever"),
        };
        assert_eq!(outcome.unwrap(), Outcome::Done, "{progress}");
        assert_eq!(cluster(&api)["spec"]["paused"], paused);
        assert!(progress.contains(said), "{progress}");
    }
    let mut busy = demo();
    busy["status"]["conditions"] = json!([condition(
        "Paused",
        "False",
        "FailingOver",
        "a failover is finished first"
    )]);
    api.put("memgraphclusters", busy);
    let (outcome, _, progress) = call(&api, "pause demo --timeout 50ms").await;
    assert_eq!(outcome.unwrap(), Outcome::TimedOut);
    assert!(
        progress.contains("the operator waits: a failover is finished first"),
        "{progress}"
    );
}

#[tokio::test]
async fn a_console_needs_a_gateway_that_is_ready() {
    let (outcome, _, _) = call(&api(), "console demo").await;
    assert_eq!(outcome.unwrap_err().to_string(), "no pod of the gateway is ready");
}

/// The files of an archive, by their names without its folder.
fn unpacked(path: &std::path::Path) -> std::collections::BTreeMap<String, String> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut file = archive.by_index(index).unwrap();
            let name = file.name().unwrap().split_once('/').unwrap().1.to_owned();
            let mut content = String::new();
            io::Read::read_to_string(&mut file, &mut content).unwrap();
            (name, content)
        })
        .collect()
}

#[tokio::test]
async fn a_report_holds_all_but_secrets() {
    let api = api();
    let labels = json!({"memgraph.dev/cluster": "demo"});
    let put = |plural: &str, kind: &str, name: &str, more: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "graphs", "labels": labels}});
        for (field, value) in more.as_object().unwrap() {
            object[field] = value.clone();
        }
        api.put(plural, object);
    };
    put(
        "secrets",
        "Secret",
        "demo-application",
        json!({"data": {"password": "aHVzaC1odXNo"}}),
    );
    let environment =
        json!([{"name": "SOME_TOKEN", "value": "hush-hush"}, {"name": "LEVEL", "value": "info"}]);
    let mut asked = cluster(&api);
    asked["spec"]["podTemplate"] = json!({"container": {"env": environment}});
    asked["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": asked.to_string()});
    api.put("memgraphclusters", asked);
    put(
        "pods",
        "Pod",
        "demo-0",
        json!({
            "spec": {"containers": [{"name": "memgraph", "env": environment}]},
            "status": {"containerStatuses": [
                {"name": "memgraph", "restartCount": 1, "ready": true, "image": "i", "imageID": "i"},
            ]},
        }),
    );
    put(
        "events",
        "Event",
        "e1",
        json!({"involvedObject": {"name": "demo-0"}, "reason": "Killing"}),
    );
    put(
        "events",
        "Event",
        "e2",
        json!({"involvedObject": {"name": "demos"}, "reason": "Other"}),
    );
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let path = folder.join("report.zip");
    let line = format!("report demo --output {}", path.display());
    let (outcome, _, progress) = call(&api, &line).await;
    assert_eq!(outcome.unwrap(), Outcome::Done, "{progress}");
    assert!(progress.contains("Secrets are left out"), "{progress}");
    let files = unpacked(&path);
    assert!(files["cluster.yaml"].contains("demo-2"));
    assert!(files["status.txt"].contains("MAIN      demo-0, term 3, route open"));
    assert!(files["objects/secrets/demo-application.yaml"].contains("password: left out"));
    assert!(files["objects/pods/demo-0.yaml"].contains("value: info"));
    assert!(files["events.yaml"].contains("Killing") && !files["events.yaml"].contains("Other"));
    assert!(files["logs/demo-0/memgraph.log"].contains("log of demo-0"));
    assert!(files.contains_key("logs/demo-0/memgraph.previous.log"));
    assert!(
        files["unread.txt"].contains("the operator's status"),
        "{}",
        files["unread.txt"]
    );
    for (name, content) in &files {
        assert!(
            !content.contains("hush-hush") && !content.contains("aHVzaC1odXNo"),
            "{name}"
        );
    }
    // What is there stays, and nothing else is left.
    let (outcome, _, _) = call(&api, &line).await;
    assert!(outcome.unwrap_err().to_string().starts_with("cannot write"));
    assert_eq!(unpacked(&path), files);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
}

#[tokio::test]
async fn a_report_finds_the_operator_by_what_its_service_selects() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let report = async |api: &FakeApi, name: &str| {
        let path = folder.join(name);
        let line = format!(
            "report demo --operator-service graph-operator --output {}",
            path.display()
        );
        let (outcome, _, progress) = call(api, &line).await;
        assert_eq!(outcome.unwrap(), Outcome::Done, "{progress}");
        unpacked(&path)
    };
    let api = api();
    let there = json!({"name": "graph-operator", "namespace": "memgraph-operator-system", "labels": {"app.kubernetes.io/name": "graph"}});
    let status = json!({"containerStatuses": [{"name": "operator", "restartCount": 0, "ready": true, "image": "i", "imageID": "i"}]});
    api.put(
        "pods",
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": there, "status": status}),
    );
    let files = report(&api, "without.zip").await;
    let none = "no pod in memgraph-operator-system has app.kubernetes.io/name=memgraph-operator; --operator-namespace and --operator-service";
    assert!(files["unread.txt"].contains(none), "{}", files["unread.txt"]);

    api.put(
        "services",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": there, "spec": {"selector": {"app.kubernetes.io/name": "graph"}}}),
    );
    let files = report(&api, "with.zip").await;
    assert!(files.contains_key("operator/pods/graph-operator.yaml"));
    assert!(files["operator/logs/graph-operator/operator.log"].contains("log of graph-operator"));
    assert!(!files["unread.txt"].contains("no pod"), "{}", files["unread.txt"]);
}

#[tokio::test]
async fn a_backup_of_a_cluster_without_a_main_that_serves_is_refused_before_anything_is_made() {
    let (api, mut closed) = (api(), demo());
    closed["status"]["ledger"]["route"] = json!("Closed");
    api.put("memgraphclusters", closed);
    let folder = tempfile::tempdir().unwrap();
    let line = format!("backup demo --folder {}", folder.path().display());
    let (outcome, out, _) = call(&api, &line).await;
    let refused = outcome.unwrap_err().to_string();
    assert!(refused.starts_with("MAIN of demo is being changed"), "{refused}");
    assert_eq!(out, "");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let writes = api.take_requests();
    assert!(
        writes.iter().all(|request| request.starts_with("GET")),
        "{writes:?}"
    );
}

#[tokio::test]
async fn a_shell_is_given_its_completion_without_a_cluster() {
    let arguments = Arguments::try_parse_from(["kubectl-memgraph", "completion", "bash"]).unwrap();
    let mut script = Vec::new();
    let done = run(arguments, &mut script, &mut Vec::new()).await;
    assert_eq!(done.unwrap(), Outcome::Done);
    assert!(String::from_utf8(script).unwrap().contains("switchover"));
}

#[test]
fn calls_are_understood() {
    use clap::CommandFactory;
    Arguments::command().debug_assert();
    assert!(Arguments::try_parse_from(["kubectl-memgraph", "status", "demo", "-A"]).is_err());
    assert!(Arguments::try_parse_from(["kubectl-memgraph", "fence", "demo-1", "--timeout", "5s"]).is_ok());
}
