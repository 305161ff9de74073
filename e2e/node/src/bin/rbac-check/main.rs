//! Compares what the operator, the gateways and the init containers of instances have asked the API server for with the rights that
//! they have, in both directions: whatever was forbidden is missing, but for what was asked while rights had been taken away, and
//! what nobody asked for in all the tests is too much.
//!
//! `rbac-check [AUDIT-LOG..]`: the logs that clusters leave behind (`devcluster`'s folder `last-logs`). Without any: those of the tests
//! on a node and on an API server alone; and of the upgrades, if there is one, what was forbidden, since an earlier version of the operator
//! has asked there, too.

mod absence;
mod rights;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use e2e_cluster::audit;
use e2e_cluster::folders::Folders;
use e2e_node::node::{API_NAME, NAME, UPGRADE_NAME};

use absence::Absence;
use rights::{Account, Right};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rbac-check: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether rights and requests fit each other.
fn run() -> Result<bool> {
    let named: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let logs = if named.is_empty() {
        usual(&Folders::of_user()?)
    } else {
        named
            .into_iter()
            .map(|path| Log {
                path,
                tells_use: true,
            })
            .collect()
    };
    let Asked { used, forbidden } = Asked::in_logs(&logs)?;
    let mut fits = true;
    for account in Account::ALL {
        let of = |all: &BTreeSet<(Account, Right)>| -> BTreeSet<Right> {
            let own = all.iter().filter(|(whose, _)| *whose == account);
            own.map(|(_, right)| right.clone()).collect()
        };
        let given = account
            .rights(Path::new(PROJECT))
            .with_context(|| format!("cannot read the rights of {account}"))?;
        let used = of(&used);
        ensure!(!used.is_empty(), "nothing was asked for by {account} in {logs:?}");
        for right in of(&forbidden) {
            fits = false;
            println!("{account} asked in vain: {right}");
        }
        let idle = given.difference(&used).filter(|right| !right.may_be_idle());
        for right in idle {
            fits = false;
            println!("{account} never asked: {right}");
        }
        println!(
            "{account}: {} rights, {} of them used",
            given.len(),
            given.intersection(&used).count()
        );
    }
    Ok(fits)
}

/// An audit log.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    /// Whether this version alone has asked there: it tells which rights are used.
    tells_use: bool,
}

/// The logs of the tests. Those that `make rbac-check` runs must be there.
fn usual(folders: &Folders) -> Vec<Log> {
    let log = |name, tells_use| Log {
        path: folders.last_logs(name).join("audit.log"),
        tells_use,
    };
    let mut logs = vec![log(NAME, true), log(API_NAME, true)];
    logs.extend(Some(log(UPGRADE_NAME, false)).filter(|log| log.path.exists()));
    logs
}

/// Who has asked for what.
#[derive(Default)]
struct Asked {
    used: BTreeSet<(Account, Right)>,
    forbidden: BTreeSet<(Account, Right)>,
}

impl Asked {
    fn in_logs(logs: &[Log]) -> Result<Self> {
        let mut asked = Self::default();
        for log in logs {
            let mut requests = audit::read(&log.path)?;
            let mut absence = Absence::of(&requests)?;
            requests.sort_by(|a, b| a.request_received_timestamp.cmp(&b.request_received_timestamp));
            for request in requests {
                absence.note(&request)?;
                let Some(account) = Account::of(&request.user.username) else {
                    continue;
                };
                let rights = Right::needed_for(&request)
                    .into_iter()
                    .map(|right| (account, right));
                if !request.is_forbidden() {
                    asked.used.extend(rights.filter(|_| log.tells_use));
                } else if !absence.excuses(account, &request)? {
                    asked.forbidden.extend(rights);
                }
            }
        }
        Ok(asked)
    }
}

const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[cfg(test)]
mod tests {
    use std::fs;

    use e2e_node::node::OPERATOR_USER;
    use serde_json::json;

    use super::*;

    /// A log in which the operator has asked for one kind, and was answered so.
    fn asked(folders: &Folders, name: &str, resource: &str, code: u16) {
        let folder = folders.last_logs(name);
        fs::create_dir_all(&folder).unwrap();
        let request = json!({
            "verb": "get",
            "stage": "ResponseComplete",
            "requestURI": "/",
            "user": {"username": OPERATOR_USER},
            "objectRef": {"resource": resource, "namespace": "graphs", "name": "demo"},
            "responseStatus": {"code": code},
            "annotations": {"authorization.k8s.io/decision": if code == 403 { "forbid" } else { "allow" }},
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000001Z",
        });
        fs::write(folder.join("audit.log"), format!("{request}\n")).unwrap();
    }

    fn resources(rights: &BTreeSet<(Account, Right)>) -> Vec<String> {
        rights.iter().map(|(_, right)| right.to_string()).collect()
    }

    #[test]
    fn what_was_forbidden_in_any_log_counts_and_what_an_earlier_version_uses_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::below(folder.path());
        asked(&folders, NAME, "pods", 200);
        asked(&folders, API_NAME, "secrets", 403);
        let without = Asked::in_logs(&usual(&folders)).unwrap();
        assert_eq!(resources(&without.used), ["get pods (core)"]);
        assert_eq!(resources(&without.forbidden), ["get secrets (core)"]);

        asked(&folders, UPGRADE_NAME, "services", 200);
        let with = Asked::in_logs(&usual(&folders)).unwrap();
        assert_eq!(resources(&with.used), ["get pods (core)"]);
        asked(&folders, UPGRADE_NAME, "configmaps", 403);
        let with = Asked::in_logs(&usual(&folders)).unwrap();
        assert_eq!(
            resources(&with.forbidden),
            ["get configmaps (core)", "get secrets (core)"]
        );

        // A run that has left no log is no run without complaints.
        fs::remove_dir_all(folders.last_logs(API_NAME)).unwrap();
        assert!(Asked::in_logs(&usual(&folders)).is_err());
    }
}
