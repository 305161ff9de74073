//! The commands of docs/operations.md, as they stand there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, condition, tokens};
use e2e_node::guide::Desk;
use e2e_node::scene::Scene;
use e2e_node::shell::Terminal;
use e2e_node::wait::until;
use memgraph_operator::api::{Health, InstanceRole, MemgraphCluster, RegistrationMode};
use serde_json::json;

use super::plugin;

const GUIDE: &str = "docs/operations.md";

/// How long a command that is typed at a terminal may take to show something: a pod may have to be started for it.
const TERMINAL_LIMIT: Duration = Duration::from_secs(180);

pub async fn every_command_of_the_guide_works(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    database.settled().await?;
    let desk = Desk::new(&scene, GUIDE)?;
    let tried = [
        "Health",
        "Health",
        "Queries from scripts",
        "A shell",
        "The gateway",
        "The gateway",
        // Tests of their own.
        "Two MAINs",
        "A strict replica that is lost",
        "Failovers by hand",
        "Removing everything",
    ];
    let there: Vec<_> = desk
        .guide()
        .boxes()
        .iter()
        .map(|(heading, _)| heading.to_string())
        .collect();
    ensure!(there == tried, "the boxes of {GUIDE} are {there:?}");

    health(&desk)?;
    let said = desk.run("Queries from scripts", 0)?;
    ensure!(said == "\"nodes\"\n\"1\"\n", "a query: {said}");
    a_shell(&desk).await?;
    the_gateway(&desk).await?;
    let written = tokens(database.gateway().await?).await?;
    ensure!(written.contains("at-a-terminal"), "there are {written:?}");
    let said = desk.run("Removing everything", 0)?;
    // The namespace takes along what the command for the volumes misses.
    let claim = "persistentvolumeclaim \"data-demo-0\" deleted";
    ensure!(
        said.contains(claim),
        "the claims are left to the namespace: {said}"
    );
    let left = scene
        .node
        .kubectl(&["get", "namespace", &scene.namespace, "--ignore-not-found"])?;
    ensure!(left.is_empty(), "the namespace is still there: {left}");
    let volumes = scene.node.kubectl(&["get", "persistentvolumes"])?;
    ensure!(!volumes.contains(&scene.namespace), "volumes are left: {volumes}");
    Ok(())
}

fn health(desk: &Desk) -> Result<()> {
    let said = desk.run("Health", 0)?;
    for expected in ["demo   Operational   demo-0", "Durable", "condition met"] {
        ensure!(said.contains(expected), "{expected:?} is not in {said}");
    }
    let said = desk.run("Health", 1)?;
    let count = |text: &str| said.matches(text).count();
    ensure!(
        (count("| \"main\""), count("| \"replica\""), count("\"ready\"")) == (1, 2, 2),
        "roles and replicas: {said}"
    );
    Ok(())
}

async fn a_shell(desk: &Desk) -> Result<()> {
    let mut console = desk.type_in("A shell", 0)?;
    console.shows("memgraph> ", TERMINAL_LIMIT).await?;
    console.type_line("MATCH (t:Token)")?;
    console.shows("       -> ", TERMINAL_LIMIT).await?;
    console.type_line("RETURN t.id AS id;")?;
    console.shows("| \"before\" |", TERMINAL_LIMIT).await?;
    console.shows("1 row in set", TERMINAL_LIMIT).await?;
    console.type_line(":quit")?;
    console.ends(TERMINAL_LIMIT).await
}

async fn the_gateway(desk: &Desk) -> Result<()> {
    let node = &desk.scene().node;
    // Of a run that was interrupted.
    let leftover = [
        "delete",
        "pod",
        "test-connection",
        "--namespace=default",
        "--ignore-not-found",
        "--force",
    ];
    node.kubectl(&leftover)?;
    let mut console = desk.type_in("The gateway", 0)?;
    let shown = async |console: &mut Terminal| {
        // kubectl may have been too late for the first one.
        console
            .shows(
                "If you don't see a command prompt, try pressing enter.",
                TERMINAL_LIMIT,
            )
            .await?;
        console.type_line("")?;
        console.shows("memgraph> ", TERMINAL_LIMIT).await?;
        console.type_line("CREATE (t:Token {id: 'at-a-terminal'}) RETURN t.id AS id;")?;
        console.shows("| \"at-a-terminal\" |", TERMINAL_LIMIT).await?;
        console.type_line("SHOW REPLICATION ROLE;")?;
        console.shows("| \"main\"", TERMINAL_LIMIT).await?;
        console.type_line(":quit")?;
        console.ends(TERMINAL_LIMIT).await
    };
    let result = shown(&mut console).await;
    if result.is_err() {
        node.kubectl(&leftover)?;
    }
    result?;
    until("--rm to remove the pod", TERMINAL_LIMIT, async || {
        let left = node.kubectl(&["get", "pods", "--namespace=default", "--output=name"])?;
        Ok((!left.contains("test-connection")).then_some(()))
    })
    .await?;
    let said = desk.run("The gateway", 1)?;
    ensure!(said.contains("\"\"\"main\"\"\""), "from a restricted pod: {said}");
    Ok(())
}

/// Somebody promotes a replica behind the operator's back.
pub async fn a_second_main_is_demoted_and_the_log_says_so(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    database.settled().await?;
    let desk = Desk::new(&scene, GUIDE)?;
    let before = desk.run("Two MAINs", 0);
    ensure!(
        before
            .as_ref()
            .map_or(true, |said| !said.contains(&scene.namespace)),
        "there is one before it was made: {before:?}"
    );
    let promote = "echo 'SET REPLICATION ROLE TO MAIN;' | mgconsole";
    let begin = Instant::now();
    scene.kubectl(&["exec", "demo-2", "--", "bash", "-c", promote])?;
    let told = until("the log to tell of the split-brain", SETTLE_LIMIT, async || {
        let said = desk.run("Two MAINs", 0)?;
        Ok((said.contains("SplitBrainResolved") && said.contains("demo-2")).then_some(said))
    })
    .await?;
    eprintln!(
        "          a second MAIN was demoted and reported after {:.2} s",
        begin.elapsed().as_secs_f64()
    );
    let line = told.lines().find(|line| line.contains("split-brain resolved"));
    ensure!(
        line.is_some_and(|line| line.contains("\"instance\":\"demo-2\"") && line.contains("\"WARN\"")),
        "the log says {told}"
    );
    let ask = "echo 'SHOW REPLICATION ROLE;' | mgconsole --output-format csv";
    let role = scene.kubectl(&["exec", "demo-2", "--", "bash", "-c", ask])?;
    ensure!(role.contains("replica"), "demo-2 is {role}");
    database.settled().await?;
    let main = database.main().await?;
    ensure!(main == "demo-0", "MAIN has moved to {main}");
    database.write("after").await?;
    database.expect_everywhere(&["before", "after"]).await
}

/// The strict replica hangs: writes wait until another one is strict in its place.
pub async fn a_lost_strict_replica_is_replaced_and_the_status_says_so(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    database.settled().await?;
    let desk = Desk::new(&scene, GUIDE)?;
    let seen = |said: &str, lines: &[&str]| {
        lines
            .iter()
            .all(|line| said.lines().any(|l| l.trim_end() == *line))
    };
    let said = desk.run("A strict replica that is lost", 0)?;
    let healthy = [
        "demo-0 Main  Up",
        "demo-1 Replica StrictSync Up",
        "demo-2 Replica Async Up",
    ];
    ensure!(seen(&said, &healthy), "of a healthy cluster: {said}");
    ensure!(said.contains("True AsExpected"), "not durable: {said}");
    ensure!(
        said.lines().filter(|line| line.contains("Running")).count() >= 3,
        "pods: {said}"
    );

    scene.freeze("demo-1")?;
    let replaced = the_replacement(&desk, &database).await;
    scene.thaw()?;
    replaced?;
    database.settled().await?;
    database.expect_everywhere(&["before", "while"]).await?;
    let said = desk.run("A strict replica that is lost", 0)?;
    ensure!(said.contains("True AsExpected"), "not durable: {said}");
    Ok(())
}

async fn the_replacement(desk: &Desk, database: &Database) -> Result<()> {
    let begin = Instant::now();
    let in_place = |cluster: &MemgraphCluster| {
        cluster.status.as_ref().is_some_and(|status| {
            let instance = status.instances.iter().find(|i| i.name == "demo-2");
            let seen = instance.map(|i| (i.role, i.mode, i.health));
            status.in_sync_replicas == 1
                && seen
                    == Some((
                        InstanceRole::Replica,
                        Some(RegistrationMode::StrictSync),
                        Health::Up,
                    ))
        })
    };
    database
        .wait("demo-2 to be strict instead", SETTLE_LIMIT, in_place)
        .await?;
    let strict = begin.elapsed();
    database.write("while").await?;
    eprintln!(
        "          the strict replica hung: another one is strict after {:.2} s, a write acknowledged after {:.2} s",
        strict.as_secs_f64(),
        begin.elapsed().as_secs_f64()
    );
    let said = desk.run("A strict replica that is lost", 0)?;
    ensure!(
        said.contains("demo-2 Replica StrictSync Up") && !said.contains("demo-1 Replica StrictSync Up"),
        "while one is lost: {said}"
    );
    Ok(())
}

/// Nobody is promoted before somebody asks for it, and one failover is all that a request is good for.
pub async fn a_failover_waits_for_a_word_and_then_loses_nothing(scene: Arc<Scene>) -> Result<()> {
    let database = scene
        .start("demo", json!({"failover": {"mode": "Manual"}}))
        .await?;
    database.write("before").await?;
    database.settled().await?;
    let term = database.ledger().await?.term;
    let desk = Desk::new(&scene, GUIDE)?.with_programs(&plugin::folder()?);
    scene.freeze("demo-0")?;
    let replaced = by_hand(&desk, &database, term).await;
    scene.thaw()?;
    replaced?;
    database.settled_after(term).await?;
    database.expect_everywhere(&["before", "while"]).await?;

    let main = database.main().await?;
    ensure!(main == "demo-1", "MAIN is {main}");
    scene.freeze(&main)?;
    let waits = waits_for_a_word(&database).await;
    let next = database.ledger().await.map(|ledger| ledger.term);
    scene.thaw()?;
    waits?;
    ensure!(next? == term + 1, "one request has replaced two MAINs");
    database.write("after").await?;
    database.settled().await?;
    database.expect_everywhere(&["before", "while", "after"]).await
}

async fn waits_for_a_word(database: &Database) -> Result<MemgraphCluster> {
    database
        .wait("the status to ask for a word", SETTLE_LIMIT, |cluster| {
            condition(cluster, "Stalled") == Some(("True", "ManualFailover"))
        })
        .await
}

async fn by_hand(desk: &Desk, database: &Database, term: i64) -> Result<()> {
    waits_for_a_word(database).await?;
    let found = database.ledger().await?.term;
    ensure!(found == term, "MAIN was replaced in term {found} without a word");
    let begin = Instant::now();
    desk.run("Failovers by hand", 0)?;
    database.write("while").await?;
    eprintln!(
        "          a write was acknowledged {:.2} s after somebody had asked for a failover",
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}
