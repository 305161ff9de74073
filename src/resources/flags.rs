//! The command line of an instance.
//!
//! Every flag is there in Memgraph 3.5 to 3.12: one that a version does not know stops it at start. Each is
//! written `--flag=value`, since `--flag false` would set a boolean flag to true.

use std::collections::BTreeMap;

use super::{Error, start_gate, tls};
use crate::api::{FlagValue, MemgraphClusterSpec, ReplicationMode, names};

/// Flags on which replication and recovery rest, or that would keep an instance from starting at all.
const OWNED: [&str; 35] = [
    "also-log-to-stderr",
    "bolt-address",
    "bolt-cert-file",
    "bolt-key-file",
    "bolt-port",
    // From 3.11 on they encrypt the port for replication as well: while instances are replaced one by one, some would and some would not.
    "cluster-ca-file",
    "cluster-cert-file",
    "cluster-key-file",
    "coordinator-hostname",
    "coordinator-id",
    "coordinator-port",
    "data-directory",
    "data-recovery-on-startup",
    "flag-file",
    "flagfile",
    "fromenv",
    "help",
    "init-data-file",
    "init-file",
    // Whoever may see a pod may read its arguments: `license` names a Secret.
    "license-key",
    "log-file",
    "management-port",
    "organization-name",
    "replication-replica-check-frequency-sec",
    "replication-restore-state-on-startup",
    // It lets an instance whose data cannot be read start empty, as if it had none.
    "storage-allow-recovery-failure",
    "storage-mode",
    "storage-snapshot-interval",
    "storage-snapshot-on-exit",
    "storage-wal-enabled",
    "storage-wal-file-flush-every-n-tx",
    "telemetry-enabled",
    "tryfromenv",
    "undefok",
    "version",
];

/// Seconds between two snapshots, unless the spec says otherwise.
const SNAPSHOT_INTERVAL: &str = "storage-snapshot-interval-sec";

/// The arguments of an instance with this spec, whose container may use so many MiB of memory.
///
/// First come defaults, then the spec's own flags, then those that belong to the operator: of a flag that is
/// given twice, Memgraph takes the last.
///
/// # Errors
/// When `config` has flags that belong to the operator, or switches snapshots off.
pub(super) fn args(spec: &MemgraphClusterSpec, memory_limit: Option<u64>) -> Result<Vec<String>, Error> {
    check(&spec.config)?;
    let user = spec
        .config
        .iter()
        // Kubernetes replaces `$(NAME)` in arguments; `$$` stands for a plain dollar sign.
        .map(|(flag, value)| format!("--{flag}={}", value.replace('$', "$$")));
    let defaults = defaults(memory_limit)
        .into_iter()
        .filter(|(flag, _)| !spec.config.contains_key(*flag));
    let given = |(flag, value): (&str, String)| format!("--{flag}={value}");
    Ok(defaults
        .map(given)
        .chain(user)
        .chain(owned(spec).into_iter().map(given))
        .collect())
}

fn check(config: &BTreeMap<String, FlagValue>) -> Result<(), Error> {
    let refused: Vec<_> = config.keys().filter(|flag| is_owned(flag)).cloned().collect();
    if !refused.is_empty() {
        return Err(Error::OwnedFlags(refused));
    }
    match config.get(SNAPSHOT_INTERVAL) {
        Some(seconds) if seconds.trim().parse() == Ok(0) => Err(Error::SnapshotsOff),
        _ => Ok(()),
    }
}

/// Whether a flag in the spec would set one that belongs to the operator.
///
/// gflags, which reads the command line, takes `_` for `-`, and `nofoo` for `foo=false`.
fn is_owned(flag: &str) -> bool {
    let flag = flag.replace('_', "-");
    let positive = flag.strip_prefix("no").unwrap_or(&flag);
    OWNED.contains(&flag.as_str()) || OWNED.contains(&positive)
}

fn defaults(memory_limit: Option<u64>) -> Vec<(&'static str, String)> {
    let mut defaults = vec![
        ("log-level", "WARNING".to_owned()),
        (SNAPSHOT_INTERVAL, "300".to_owned()),
        // Copies of the data must be made of the same stuff; the image and the bare binary differ here.
        ("storage-properties-on-edges", "true".to_owned()),
    ];
    if let Some(mebibytes) = memory_limit {
        // Memgraph looks at the host's memory, not at the container's limit (sysinfo/memory.cpp). A tenth is
        // left for what it does not count; it then fails queries instead of being killed. 0 would mean the
        // host's memory.
        let share = (mebibytes.saturating_mul(9) / 10).max(1);
        defaults.push(("memory-limit", share.to_string()));
    }
    defaults
}

fn owned(spec: &MemgraphClusterSpec) -> Vec<(&'static str, String)> {
    let flush_every = match spec.replication.mode {
        // A write is acknowledged when it is on disk: otherwise a MAIN that loses power comes back without
        // writes that its replicas hold, unnoticed by either.
        ReplicationMode::StrictSync | ReplicationMode::Sync => "1",
        // Memgraph's own default. Acknowledged writes may be lost here anyway.
        ReplicationMode::Async => "100000",
    };
    let mut owned: Vec<_> = [
        ("also-log-to-stderr", "true"),
        ("bolt-address", "0.0.0.0"),
        ("bolt-port", &names::BOLT_PORT.to_string()),
        ("data-directory", names::DATA_DIRECTORY),
        ("data-recovery-on-startup", "true"),
        ("init-file", start_gate::PATH),
        // Only to stderr: a file in the container would fill the node's disk, unseen.
        ("log-file", ""),
        ("replication-replica-check-frequency-sec", "1"),
        ("replication-restore-state-on-startup", "true"),
        ("storage-mode", "IN_MEMORY_TRANSACTIONAL"),
        // The write-ahead log has everything; a snapshot at the end would only delay the end.
        ("storage-snapshot-on-exit", "false"),
        ("storage-wal-enabled", "true"),
        ("storage-wal-file-flush-every-n-tx", flush_every),
        ("telemetry-enabled", "false"),
    ]
    .map(|(flag, value)| (flag, value.to_owned()))
    .into();
    if spec.tls.is_some() {
        owned.push(("bolt-cert-file", format!("{}/{}", tls::FOLDER, tls::CERTIFICATE)));
        owned.push(("bolt-key-file", format!("{}/{}", tls::FOLDER, tls::KEY)));
    }
    owned
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;

    use super::*;
    use crate::api::MemgraphCluster;

    fn spec(mode: ReplicationMode, config: &[(&str, &str)]) -> MemgraphClusterSpec {
        let mut spec = MemgraphClusterSpec::default();
        spec.replication.mode = mode;
        spec.config = config
            .iter()
            .map(|(f, v)| ((*f).to_owned(), (*v).to_owned()))
            .collect();
        spec
    }

    fn args_of(mode: ReplicationMode, config: &[(&str, &str)], memory: Option<u64>) -> Vec<String> {
        args(&spec(mode, config), memory).unwrap()
    }

    #[test]
    fn the_whole_command_line() {
        assert_eq!(
            args_of(ReplicationMode::StrictSync, &[], Some(2048)),
            [
                "--log-level=WARNING",
                "--storage-snapshot-interval-sec=300",
                "--storage-properties-on-edges=true",
                "--memory-limit=1843",
                "--also-log-to-stderr=true",
                "--bolt-address=0.0.0.0",
                "--bolt-port=7687",
                "--data-directory=/var/lib/memgraph/mg_data",
                "--data-recovery-on-startup=true",
                "--init-file=/etc/memgraph-operator/start-gate.cypherl",
                "--log-file=",
                "--replication-replica-check-frequency-sec=1",
                "--replication-restore-state-on-startup=true",
                "--storage-mode=IN_MEMORY_TRANSACTIONAL",
                "--storage-snapshot-on-exit=false",
                "--storage-wal-enabled=true",
                "--storage-wal-file-flush-every-n-tx=1",
                "--telemetry-enabled=false",
            ]
        );
    }

    /// A spec, and what its command line has and has not.
    #[derive(Default)]
    struct Case {
        mode: ReplicationMode,
        config: &'static [(&'static str, &'static str)],
        memory_limit: Option<u64>,
        present: &'static [&'static str],
        absent: &'static [&'static str],
    }

    #[test]
    fn what_the_spec_changes() {
        let cases = [
            Case {
                mode: ReplicationMode::Sync,
                present: &["--storage-wal-file-flush-every-n-tx=1"],
                absent: &["--memory-limit="],
                ..Case::default()
            },
            Case {
                mode: ReplicationMode::Async,
                present: &["--storage-wal-file-flush-every-n-tx=100000"],
                ..Case::default()
            },
            // 0 would be the host's memory.
            Case {
                memory_limit: Some(0),
                present: &["--memory-limit=1"],
                ..Case::default()
            },
            Case {
                memory_limit: Some(u64::MAX),
                absent: &["--memory-limit=0"],
                ..Case::default()
            },
            Case {
                config: &[("memory-limit", "700"), ("log-level", "TRACE")],
                memory_limit: Some(1024),
                present: &["--memory-limit=700", "--log-level=TRACE"],
                absent: &["--memory-limit=921", "--log-level=WARNING"],
                ..Case::default()
            },
            Case {
                config: &[("storage-snapshot-interval-sec", "60")],
                present: &["--storage-snapshot-interval-sec=60"],
                absent: &["--storage-snapshot-interval-sec=300"],
                ..Case::default()
            },
            Case {
                config: &[
                    ("auth-password-strength-regex", "^.{8,}$"),
                    ("kafka-bootstrap-servers", "$(PATH)"),
                ],
                present: &[
                    "--auth-password-strength-regex=^.{8,}$$",
                    "--kafka-bootstrap-servers=$$(PATH)",
                ],
                ..Case::default()
            },
        ];
        for case in cases {
            let args = args_of(case.mode, case.config, case.memory_limit);
            for flag in case.present {
                assert!(args.iter().any(|arg| arg == flag), "{flag} in {args:?}");
            }
            for flag in case.absent {
                assert!(
                    !args.iter().any(|arg| arg.starts_with(flag)),
                    "{flag} not in {args:?}"
                );
            }
        }
    }

    #[test]
    fn flags_of_the_operator_are_refused_however_they_are_written() {
        for flag in [
            "storage-wal-enabled",
            "nostorage-wal-enabled",
            "storage_wal_enabled",
            "init-file",
        ] {
            let error = args(&spec(ReplicationMode::StrictSync, &[(flag, "x")]), None).unwrap_err();
            assert!(
                matches!(&error, Error::OwnedFlags(flags) if flags == &[flag]),
                "{error}"
            );
            assert!(error.to_string().contains(flag), "{error}");
        }
    }

    #[test]
    fn the_operators_flags_come_last() {
        let args = args_of(ReplicationMode::StrictSync, &[("zzz", "1")], None);
        let position = |start: &str| args.iter().position(|arg| arg.starts_with(start));
        assert!(position("--zzz=") < position("--also-log-to-stderr="));
    }

    #[test]
    fn snapshots_cannot_be_switched_off() {
        for value in ["0", "00", " 0"] {
            let spec = spec(ReplicationMode::StrictSync, &[(SNAPSHOT_INTERVAL, value)]);
            assert!(matches!(args(&spec, None), Err(Error::SnapshotsOff)), "{value:?}");
        }
    }

    #[test]
    fn every_flag_that_the_operator_sets_belongs_to_it() {
        for (flag, _) in owned(&MemgraphClusterSpec::default()) {
            assert!(is_owned(flag), "{flag}");
        }
    }

    /// Whatever the API server refuses, the builder refuses too.
    #[test]
    fn the_schema_names_no_other_flags() {
        let crd = serde_json::to_value(MemgraphCluster::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let rules =
            schema["properties"]["spec"]["properties"]["config"]["x-kubernetes-validations"].as_array();
        let messages: Vec<_> = rules
            .unwrap()
            .iter()
            .filter_map(|rule| rule["message"].as_str())
            .collect();
        let listed = messages
            .iter()
            .find_map(|message| message.strip_prefix("config: belongs to the operator and cannot be set: "))
            .unwrap();
        for flag in listed.split(", ") {
            assert!(is_owned(flag), "{flag}");
        }
    }
}
