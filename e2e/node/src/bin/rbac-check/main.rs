//! Compares what the operator, the gateways and the init containers of instances have asked the API server for with the rights that
//! they have, in both directions: whatever was forbidden is missing, but for what was asked while rights had been taken away, and
//! what nobody asked for in all the tests is too much.
//!
//! `rbac-check AUDIT-LOG..`: the logs that clusters leave behind (`devcluster`'s folder `last-logs`).

mod absence;
mod rights;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use e2e_cluster::audit;
use e2e_cluster::folders::Folders;
use e2e_node::node::NAME;

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
    let mut logs: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if logs.is_empty() {
        logs.push(Folders::of_user()?.last_logs(NAME).join("audit.log"));
    }
    let (mut used, mut forbidden) = (BTreeSet::new(), BTreeSet::new());
    for log in &logs {
        let (mut requests, mut absence) = (audit::read(log)?, Absence::default());
        requests.sort_by(|a, b| a.request_received_timestamp.cmp(&b.request_received_timestamp));
        for request in requests {
            absence.note(&request)?;
            let Some(account) = Account::of(&request.user.username) else {
                continue;
            };
            if request.is_forbidden() && absence.excuses(account, &request)? {
                continue;
            }
            for right in Right::needed_for(&request) {
                let kind = if request.is_forbidden() {
                    &mut forbidden
                } else {
                    &mut used
                };
                kind.insert((account, right));
            }
        }
    }
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

const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
