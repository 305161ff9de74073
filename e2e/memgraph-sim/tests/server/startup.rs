//! Command line, environment, exit codes.

use std::process::{Command, Output, Stdio};

use crate::instance::{Folder, Instance, free_port};

/// Runs a server that is expected to end by itself.
fn run(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memgraph-sim"))
        .arg(format!("--bolt-port={}", free_port()))
        .arg(format!(
            "--data-directory={}",
            folder.path().join("data").display()
        ))
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn unknown_flags_stop_the_start() {
    let folder = Folder::new();
    let output = run(&folder, &["--no-such-flag=1"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown command line flag 'no-such-flag'"));
    // Removed in 3.8.
    let output = run(
        &folder,
        &["--bolt-session-inactivity-timeout=1"],
        &[("MEMGRAPH_SIM_VERSION", "3.8")],
    );
    assert_eq!(output.status.code(), Some(1));
    let output = run(&folder, &[], &[("MEMGRAPH_SIM_VERSION", "2.18")]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_data_directory_of_somebody_else_is_refused() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    if std::os::unix::fs::chown(&data, Some(4242), None).is_err() {
        eprintln!("only root can give a folder away: not tested");
        return;
    }
    assert_eq!(run(&folder, &[], &[]).status.code(), Some(12));
}

#[test]
fn a_log_file_that_cannot_be_written_is_refused() {
    let folder = Folder::new();
    let file = format!("--log-file={}/none/memgraph.log", folder.path().display());
    assert_eq!(run(&folder, &[&file], &[]).status.code(), Some(13));
}

#[tokio::test]
async fn a_data_directory_is_used_by_one_process() {
    let instance = Instance::new(&[]);
    let data = format!("--data-directory={}", instance.data().display());
    let output = run(
        &instance.folder,
        &[&data, "--data-dir-lock-acquisition-timeout-sec=1"],
        &[],
    );
    assert_eq!(output.status.code(), Some(134));
    assert_eq!(instance.count().await, 0);
}

#[tokio::test]
async fn the_init_file_makes_a_replica_before_bolt_opens() {
    let folder = Folder::new();
    let file = folder.path().join("init.cypherl");
    let port = free_port();
    std::fs::write(
        &file,
        format!("SET REPLICATION ROLE TO REPLICA WITH PORT {port};\n").repeat(5),
    )
    .unwrap();
    let mut instance = Instance::new(&[&format!("--init-file={}", file.display())]);
    assert_eq!(instance.role().await, "replica");
    instance.kill();
    instance.start();
    assert_eq!(instance.role().await, "replica");
}

#[tokio::test]
async fn a_last_snapshot_is_made_if_so_configured() {
    let mut instance = Instance::new(&["--storage-snapshot-on-exit=true", "--log-level=TRACE"]);
    instance.must("CREATE (:T)").await;
    assert_eq!(instance.terminate().code(), Some(0));
    assert_eq!(
        std::fs::read_dir(instance.data().join("snapshots"))
            .unwrap()
            .count(),
        1
    );
    instance.start();
    assert_eq!(instance.count().await, 1);
}
