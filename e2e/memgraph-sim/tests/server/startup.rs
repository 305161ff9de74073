//! Command line, environment, exit codes.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::{
    instance::{Folder, Instance},
    ports::ReservedPort,
};

/// Runs a server that is expected to end by itself.
pub fn run(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let port = ReservedPort::new();
    Command::new(env!("CARGO_BIN_EXE_memgraph-sim"))
        .arg(format!("--bolt-port={}", port.number()))
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

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const OLD: &str = "MEMGRAPH_SIM_VERSION";

#[test]
fn unknown_flags_stop_the_start() {
    let folder = Folder::new();
    let output = run(&folder, &["--no-such-flag=1", "--bolt-port=x"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "ERROR: illegal value 'x' specified for int32 flag 'bolt_port'\n\
         ERROR: unknown command line flag 'no-such-flag'\n"
    );
    // Removed in 3.8.
    let output = run(&folder, &["--bolt-session-inactivity-timeout=1"], &[(OLD, "3.8")]);
    assert_eq!(output.status.code(), Some(1));
    let output = run(&folder, &[], &[(OLD, "2.18")]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn words_that_belong_to_no_flag_stop_the_start_since_3_10() {
    let folder = Folder::new();
    // Whatever comes next is wrong, too, so that no server starts.
    let arguments = [
        "--storage-wal-enabled",
        "false",
        "--storage-snapshot-interval-sec=0",
    ];
    let output = run(&folder, &arguments, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("Unexpected positional argument(s): 'false'. This is likely caused by writing"),
        "{text}"
    );
    for (version, flag) in [("3.8", None), ("3.12", Some("--strict-flag-check=false"))] {
        let arguments: Vec<&str> = arguments.into_iter().chain(flag).collect();
        let output = run(&folder, &arguments, &[(OLD, version)]);
        assert_eq!(output.status.code(), Some(134));
        assert!(
            stderr(&output)
                .contains("In order to use write-ahead-logging you must enable periodic snapshots")
        );
    }
}

#[test]
fn version_and_help_are_told() {
    let folder = Folder::new();
    let output = run(&folder, &["--version"], &[(OLD, "3.8")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout(&output).starts_with("memgraph version 3.8."),
        "{}",
        stdout(&output)
    );
    let output = run(&folder, &["--help"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("    --bolt-port (Port on which the Bolt server should listen.)"));
}

#[test]
fn configuration_files_are_overridden_by_what_is_more_special() {
    let folder = Folder::new();
    let home = folder.path().join("home");
    std::fs::create_dir_all(home.join(".memgraph")).unwrap();
    std::fs::write(
        home.join(".memgraph/config"),
        "# of the user\n--log-level=INFO\n--metrics-format=nonsense\n",
    )
    .unwrap();
    let named = folder.path().join("named.conf");
    std::fs::write(&named, "--log-level=TRACE\n--unknown=1\n").unwrap();
    let home = home.display().to_string();
    let output = run(&folder, &[], &[("HOME", &home)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("failed validation of new value 'nonsense' for flag 'metrics_format'"));

    let named = named.display().to_string();
    let output = run(&folder, &["--help"], &[("MEMGRAPH_CONFIG", &named)]);
    let text = stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("default: \"WARNING\" currently: \"TRACE\""),
        "{text}"
    );
    let output = run(
        &folder,
        &["--help", "--log-level=ERROR"],
        &[("MEMGRAPH_CONFIG", &named)],
    );
    let text = stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("currently: \"ERROR\""),
        "the command line wins: {text}"
    );

    let output = run(&folder, &[], &[("MEMGRAPH_CONFIG", "/nowhere/memgraph.conf")]);
    assert_eq!(output.status.code(), Some(134));
    assert!(stderr(&output).contains("environment variable set to nonexisting path: /nowhere/memgraph.conf"));
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
    let output = run(&folder, &[], &[]);
    assert_eq!(output.status.code(), Some(12));
    assert!(stderr(&output).contains("is owned by user 4242. Please start the process as user 4242!"));
    assert!(
        stdout(&output).starts_with("You are running Memgraph v3.12."),
        "that comes first"
    );
    assert_eq!(run(&folder, &[], &[(OLD, "3.10")]).status.code(), Some(134));
}

#[test]
fn a_log_file_that_cannot_be_written_is_refused() {
    let folder = Folder::new();
    let blocker = folder.path().join("file");
    std::fs::write(&blocker, "").unwrap();
    let file = format!("--log-file={}/memgraph.log", blocker.display());
    let output = run(&folder, &[&file], &[]);
    assert_eq!(output.status.code(), Some(13));
    assert!(stderr(&output).contains("Failed to open log file '"));
    assert_eq!(run(&folder, &[&file], &[(OLD, "3.10")]).status.code(), Some(134));
}

#[tokio::test]
async fn analytical_mode_needs_no_log_and_what_is_not_simulated_is_refused() {
    let instance = Instance::new(&[
        "--storage-mode=IN_MEMORY_ANALYTICAL",
        "--storage-snapshot-interval-sec=0",
    ]);
    let rows = instance.must("SHOW STORAGE INFO ON CURRENT DATABASE").await;
    let modes = rows.iter().filter(|row| {
        row.get::<String>("value")
            .is_ok_and(|value| value == "IN_MEMORY_ANALYTICAL")
    });
    assert_eq!(modes.count(), 1);
    let folder = Folder::new();
    for flag in ["--storage-mode=ON_DISK_TRANSACTIONAL", "--management-port=10001"] {
        let output = run(&folder, &[flag], &[]);
        assert_eq!(output.status.code(), Some(134));
        assert!(stderr(&output).contains("not supported by the simulator: "));
    }
}

/// The lines of the only file in a folder.
fn log_lines(folder: &Path) -> Vec<String> {
    let mut files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let file = files.next().unwrap();
    assert!(files.next().is_none());
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let date = name
        .strip_prefix("memgraph_")
        .unwrap()
        .strip_suffix(".log")
        .unwrap();
    assert_eq!(date.len(), "2026-01-31".len(), "{date}");
    let lines = std::fs::read_to_string(file).unwrap();
    lines.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_log_has_a_file_a_day_and_the_form_of_spdlog() {
    let logs = Folder::new();
    let missing = logs.path().join("made/as/needed");
    let flag = format!("--log-file={}/memgraph.log", missing.display());
    let mut instance = Instance::new(&[&flag, "--log-level=TRACE"]);
    instance.role().await;
    assert_eq!(instance.terminate().code(), Some(0));
    let lines = log_lines(&missing);
    for line in &lines {
        // [2026-01-31 12:34:56.789] [memgraph_log] [info] ..
        let rest = line.get(25..).unwrap_or_else(|| panic!("{line}"));
        assert!(
            line.starts_with("[20") && rest.starts_with(" [memgraph_log] ["),
            "{line}"
        );
    }
    for text in [
        "[info] Memgraph successfully started!",
        "[warning] Using non-secure Bolt connection (without SSL). For more details, visit https://memgr.ph/ssl.",
        "[info] Received signal 15, shutting down...",
    ] {
        assert!(
            lines.iter().any(|line| line.ends_with(text)),
            "{text}: {lines:#?}"
        );
    }
}

#[tokio::test]
async fn statements_run_before_and_after_bolt_opens() {
    let folder = Folder::new();
    let (init, data) = (folder.path().join("init"), folder.path().join("data"));
    std::fs::write(&init, "CREATE (:First);\nNONSENSE;\n\nCREATE (:First);\n").unwrap();
    std::fs::write(&data, "MATCH (n:First) CREATE (:Second);").unwrap();
    let flags = [
        format!("--init-file={}", init.display()),
        format!("--init-data-file={}", data.display()),
    ];
    let instance = Instance::new(&[&flags[0], &flags[1]]);
    // The second file may still be at work.
    while instance.count().await < 4 {}
    assert_eq!(instance.count().await, 4);
}

#[tokio::test]
async fn an_interrupt_stops_the_server_like_sigterm() {
    let mut instance = Instance::new(&["--storage-snapshot-on-exit"]);
    instance.must("CREATE (:T)").await;
    assert_eq!(instance.interrupt().code(), Some(0));
    assert!(
        instance
            .data()
            .join("snapshots")
            .read_dir()
            .unwrap()
            .next()
            .is_some()
    );
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
    let port = ReservedPort::new();
    std::fs::write(
        &file,
        format!("SET REPLICATION ROLE TO REPLICA WITH PORT {};\n", port.number()).repeat(5),
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
