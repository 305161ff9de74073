use super::*;

fn parse(version: Version, arguments: &[&str]) -> Result<Flags, FlagErrors> {
    let mut flags = Flags::new(version);
    flags.parse(arguments.iter().map(|it| (*it).to_owned()))?;
    Ok(flags)
}

fn errors(version: Version, arguments: &[&str]) -> String {
    parse(version, arguments).unwrap_err().to_string()
}

#[test]
fn all_forms_of_gflags_are_taken() {
    let flags = parse(
        Version::V3_12,
        &[
            "--bolt-port=1",
            "-data_directory",
            "/d",
            "--storage-wal-enabled",
            "--notelemetry-enabled",
            "-log_file",
            "--odd-but-a-value",
        ],
    )
    .unwrap();
    assert_eq!(flags.port("bolt_port"), 1);
    assert_eq!(flags.text("data_directory"), "/d");
    assert!(flags.is_set("storage_wal_enabled"));
    assert!(!flags.is_set("telemetry_enabled"));
    assert!(flags.is_given("telemetry_enabled"), "although it is the default");
    assert!(!flags.is_given("init_file"));
    assert_eq!(flags.text("log_file"), "--odd-but-a-value");
}

#[test]
fn what_belongs_to_no_flag_is_a_word() {
    let flags = parse(
        Version::V3_12,
        &["--storage-wal-enabled", "false", "-", "--", "--x"],
    )
    .unwrap();
    assert!(flags.is_set("storage_wal_enabled"), "the flag is on");
    assert_eq!(flags.words(), ["false", "-", "--x"]);
}

#[test]
fn unknown_and_removed_flags_stop_the_start() {
    let unknown = errors(Version::V3_12, &["--nope=1", "--bolt-port=2", "--also-not"]);
    assert_eq!(
        unknown,
        "ERROR: unknown command line flag 'also-not'\nERROR: unknown command line flag 'nope'"
    );
    let removed = ["--bolt-session-inactivity-timeout=1"];
    assert!(parse(Version::V3_6, &removed).is_ok());
    assert!(parse(Version::V3_8, &removed).is_err());
    assert!(parse(Version::V3_11, &["--storage-allow-recovery-failure"]).is_err());
    assert!(parse(Version::V3_12, &["--storage-allow-recovery-failure"]).is_ok());
    // Memgraph's gflags has no such flags, and another name for flag files.
    for flag in ["--fromenv=x", "--tryfromenv=x", "--undefok=x", "--flagfile=x"] {
        assert!(errors(Version::V3_12, &[flag]).contains("unknown"), "{flag}");
    }
}

#[test]
fn wrong_values_are_named_with_their_type() {
    let of = |argument| errors(Version::V3_12, &[argument]);
    assert_eq!(
        of("--bolt-port=x"),
        "ERROR: illegal value 'x' specified for int32 flag 'bolt_port'"
    );
    assert_eq!(
        of("--bolt-port=65536"),
        "Expected --bolt_port to be in range [0, 65535]\n\
         ERROR: failed validation of new value '65536' for flag 'bolt_port'"
    );
    assert_eq!(
        of("--bolt-port"),
        "ERROR: flag '--bolt-port' is missing its argument; flag description: \
         Port on which the Bolt server should listen."
    );
    assert_eq!(
        of("--nobolt-port"),
        "ERROR: boolean value (nobolt-port) specified for int32 command line flag"
    );
    assert!(of("--log-level=info").ends_with("of new value 'info' for flag 'log_level'"));
}

#[test]
fn files_hold_one_flag_a_line_and_nonsense_is_passed_over() {
    let mut flags = Flags::new(Version::V3_12);
    flags
        .parse_file(
            "# comment\n\n--log-level=TRACE\n  --storage-wal-enabled=true\n--nope=1\n--bolt-port 1\n\
             another-program\n--bolt-port=2\nmemgraph\n--metrics-port=3\n",
        )
        .unwrap();
    assert_eq!(flags.text("log_level"), "TRACE");
    assert!(flags.is_set("storage_wal_enabled"));
    assert_eq!(
        flags.port("bolt_port"),
        7687,
        "a space is no `=`, and the section is another program's"
    );
    assert_eq!(flags.port("metrics_port"), 3);
    assert!(flags.parse_file("--bolt-port=x").is_err());
}

#[test]
fn flag_files_can_be_named_on_the_command_line() {
    let path = std::env::temp_dir().join(format!("memgraph-sim-flags-{}", std::process::id()));
    fs::write(&path, "--bolt-port=5\n").unwrap();
    let file = format!("--flag-file={}", path.display());
    let flags = parse(Version::V3_12, &["--bolt-port=4", &file]).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(flags.port("bolt_port"), 5, "the last one wins");
    assert!(parse(Version::V3_12, &[&file]).is_err());
}

#[test]
fn the_table_is_sorted_and_its_defaults_are_allowed() {
    assert!(FLAGS.is_sorted_by_key(|flag| flag.name));
    for version in Version::ALL {
        let known: Vec<_> = FLAGS.iter().filter(|flag| flag.is_known_to(version)).collect();
        assert!(
            known.is_sorted_by(|a, b| a.name < b.name),
            "each once in {version}"
        );
        for flag in known {
            let default = flag.kind.normalize(flag.default);
            assert_eq!(default.as_deref(), Some(flag.default), "{}", flag.name);
            assert_eq!(flag.check.complaint(flag.name, flag.default), None);
        }
    }
}

#[test]
fn show_config_hides_hidden_flags_and_knows_what_flags_are_for() {
    let table = Flags::new(Version::V3_12).table();
    let port = table.iter().find(|[name, ..]| name == "bolt_port").unwrap();
    assert_eq!(port[1], "7687");
    assert_eq!(port[3], "Port on which the Bolt server should listen.");
    assert!(
        table
            .iter()
            .all(|[name, ..]| name != "also_log_to_stderr" && name != "help")
    );
}

#[test]
fn defaults_change_between_releases() {
    let snapshots = |version| Flags::new(version).number("storage_snapshot_interval_sec");
    assert_eq!([snapshots(Version::V3_5), snapshots(Version::V3_6)], [0, 300]);
}
