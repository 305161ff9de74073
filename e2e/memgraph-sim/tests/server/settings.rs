//! Run-time settings.

use std::time::{Duration, Instant};

use crate::instance::{Instance, PATIENCE};

async fn setting(instance: &Instance, name: &str) -> String {
    let rows = instance.must(&format!("SHOW DATABASE SETTING '{name}'")).await;
    rows[0].get("setting_value").unwrap()
}

async fn set(instance: &Instance, name: &str, value: &str) -> Result<(), String> {
    let statement = format!("SET DATABASE SETTING '{name}' TO '{value}'");
    instance
        .query(&statement)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn some_settings_outlive_a_restart() {
    let mut instance = Instance::new(&[]);
    assert_eq!(setting(&instance, "query.timeout").await, "600");
    set(&instance, "query.timeout", "5").await.unwrap();
    set(&instance, "server.name", "Another").await.unwrap();
    set(&instance, "storage.snapshot.interval", "77").await.unwrap();
    assert_eq!(setting(&instance, "query.timeout").await, "5");
    let rows = instance.must("SHOW CONFIG").await;
    let row = rows
        .iter()
        .find(|row| row.get::<String>("name").unwrap() == "storage_snapshot_interval");
    assert_eq!(row.unwrap().get::<String>("current_value").unwrap(), "77");
    instance.kill();
    instance.start();
    assert_eq!(setting(&instance, "server.name").await, "Another");
    assert_eq!(setting(&instance, "query.timeout").await, "600");
    assert_eq!(setting(&instance, "storage.snapshot.interval").await, "300");

    // A flag wins over what is stored, and is stored.
    instance.kill();
    instance.add_flag("--bolt-server-name-for-init=Flag");
    instance.start();
    assert_eq!(setting(&instance, "server.name").await, "Flag");
}

#[tokio::test]
async fn wrong_values_and_names_are_refused() {
    let instance = Instance::new(&[]);
    for (name, value, text) in [
        ("nope", "1", "Unknown setting name 'nope'"),
        (
            "log.level",
            "info",
            "Cannot update setting 'log.level': Unsupported log level. Log level must be defined as",
        ),
        (
            "log.to_stderr",
            "1",
            "Boolean value supports only 'false' or 'true' as the input.",
        ),
        (
            "storage.access_timeout_sec",
            "0",
            "storage.access_timeout_sec must be in range [1, 1000000]",
        ),
        (
            "storage.snapshot.interval",
            "* * * * * *",
            "a valid license is needed in order to use cron expressions.",
        ),
        (
            "timezone",
            "Mars",
            "Timezone names must follow the IANA standard.",
        ),
        (
            "query.timeout",
            "soon",
            "An unknown exception occurred, this is unexpected.",
        ),
    ] {
        let error = set(&instance, name, value).await.unwrap_err();
        assert!(error.contains(text), "{name}: {error}");
    }
    let old = Instance::with_environment(&[], &[("MEMGRAPH_SIM_VERSION", "3.8")]);
    let error = set(&old, "log.level", "info").await.unwrap_err();
    assert!(
        error.contains("'info' not valid for 'log.level': Unsupported"),
        "{error}"
    );
    assert!(
        old.query("SHOW DATABASE SETTING 'storage.access_timeout_sec'")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn all_settings_are_listed() {
    let instance = Instance::new(&["--log-level=ERROR"]);
    let rows = instance.must("SHOW DATABASE SETTINGS").await;
    let names: Vec<String> = rows.iter().map(|row| row.get("setting_name").unwrap()).collect();
    assert!(names.is_sorted());
    assert_eq!(names.len(), 21);
    assert_eq!(setting(&instance, "log.level").await, "ERROR");
}

#[tokio::test]
async fn snapshots_follow_their_interval() {
    let instance = Instance::new(&[]);
    instance.must("CREATE (:T)").await;
    set(&instance, "storage.snapshot.interval", "1").await.unwrap();
    let limit = Instant::now() + PATIENCE;
    let snapshots = instance.data().join("snapshots");
    while std::fs::read_dir(&snapshots).map_or(0, Iterator::count) == 0 {
        assert!(Instant::now() < limit, "there is no snapshot");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn long_transactions_are_aborted() {
    let instance = Instance::new(&[]);
    set(&instance, "query.timeout", "0.2").await.unwrap();
    let mut transaction = instance.graph().unwrap().start_txn().await.unwrap();
    let limit = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < limit, "it goes on for ever");
        if let Err(error) = transaction.run("RETURN 1").await {
            break error.to_string();
        }
    };
    assert!(
        error.contains("Transaction was asked to abort because of transaction timeout."),
        "{error}"
    );
}

#[tokio::test]
async fn the_log_level_changes_at_once() {
    let folder = crate::instance::Folder::new();
    let flag = format!("--log-file={}/memgraph.log", folder.path().display());
    let instance = Instance::new(&[&flag, "--log-level=CRITICAL"]);
    set(&instance, "log.level", "INFO").await.unwrap();
    // This connects anew, which is worth a line.
    instance.role().await;
    let entry = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
    let lines = std::fs::read_to_string(entry.path()).unwrap();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(lines.contains("[memgraph_log] [info] Accepted a connection from Bolt: 127.0.0.1:"));
}
