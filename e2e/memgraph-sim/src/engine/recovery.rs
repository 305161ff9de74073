//! How MAIN brings a replica up to date (semantics G.1).

use std::rc::Rc;

use bolt_server::Version;

use super::{
    Node,
    event::Level,
    lock::{Exclusive, Shared},
    message::{Reply, Request},
    replica_client::{ReplicaClient, ReplicaState},
    snapshots::{Catalogue, SnapshotFile, WalFile},
};
use crate::ident::Uuid;

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Snapshot {
        path: String,
    },
    WalFiles {
        paths: Vec<String>,
    },
    /// The log file with this sequence number, if it is still the current one then.
    CurrentWal {
        sequence: u64,
    },
}

impl Step {
    /// The files that it sends, but for the log file that is being written.
    fn paths(&self) -> Vec<&str> {
        match self {
            Self::Snapshot { path } => vec![path],
            Self::WalFiles { paths } => paths.iter().map(String::as_str).collect(),
            Self::CurrentWal { .. } => Vec::new(),
        }
    }
}

impl Node {
    /// Sends a replica what it lacks after `durable`. With `reset` it forgets what it has.
    pub(super) async fn recover(
        self: &Rc<Self>,
        client: &Rc<ReplicaClient>,
        main: Uuid,
        durable: u64,
        reset: bool,
    ) {
        if client.state.get() != ReplicaState::Recovery {
            self.counters.recovery_skipped.add();
            return;
        }
        self.io.log(
            Level::Debug,
            format!("Starting replica {} recovery for db memgraph.", client.name),
        );
        if reset {
            client.durable.set(0);
        }
        let Some(steps) = self.recovery_steps(durable).await else {
            self.io.log(
                Level::Error,
                format!(
                    "Couldn't get recovery steps while trying to recover replica {}.",
                    client.name
                ),
            );
            client.state.set(ReplicaState::MaybeBehind);
            return;
        };
        // What is to be sent stays on disk until then.
        let _hold = self.hold_files(steps.iter().flat_map(Step::paths).map(str::to_owned).collect());
        let mut durable = durable;
        for (index, step) in steps.into_iter().enumerate() {
            match self.carry_out(client, main, step, reset && index == 0).await {
                Ok(Some(reached)) => durable = reached,
                Ok(None) => {}
                Err(StepFailed) => {
                    self.counters.recovery_failed.add();
                    client.durable.set(durable);
                    client.state.set(ReplicaState::MaybeBehind);
                    return;
                }
            }
        }
        self.counters.recovery_succeeded.add();
        // Under the engine lock, so that no commit can slip in between this look and the new state.
        let _lock = self.engine_lock.acquire(Exclusive).await;
        client.durable.set(durable);
        let ready = self.database.borrow().durable <= durable;
        client.state.set(if ready {
            ReplicaState::Ready
        } else {
            ReplicaState::MaybeBehind
        });
        self.io.log(
            Level::Info,
            format!(
                "Replica {} is {} after its recovery.",
                client.name,
                client.state.get().as_str()
            ),
        );
    }

    async fn recovery_steps(&self, durable: u64) -> Option<Vec<Step>> {
        // A commit that is under way is waited for.
        let _lock = self.engine_lock.acquire(Exclusive).await;
        let database = self.database.borrow();
        let current = database.wal.as_ref().and_then(|wal| {
            Some(Logged {
                sequence: wal.sequence,
                from: wal.from?,
                to: wal.to?,
            })
        });
        let sees_gaps = self.config.version >= Version::Head;
        plan(
            &self.catalogue.borrow(),
            database.uuid,
            current,
            durable,
            sees_gaps,
        )
    }

    async fn carry_out(
        &self,
        client: &ReplicaClient,
        main: Uuid,
        step: Step,
        reset: bool,
    ) -> Result<Option<u64>, StepFailed> {
        let database = self.database.borrow().uuid;
        let mut _log_lock = None;
        let request = match step {
            Step::Snapshot { path } => {
                let content = self.content(&path).await?;
                let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
                Request::Snapshot {
                    main,
                    database,
                    name,
                    content,
                }
            }
            Step::WalFiles { paths } => {
                let mut files = Vec::with_capacity(paths.len());
                for path in paths {
                    files.push(self.content(&path).await?.into());
                }
                Request::WalFiles {
                    main,
                    database,
                    reset,
                    files,
                }
            }
            Step::CurrentWal { sequence } => {
                let _lock = self.engine_lock.acquire(Exclusive).await;
                let wal = self.database.borrow().wal.clone();
                let Some(wal) = wal.filter(|wal| wal.sequence == sequence) else {
                    return Ok(None);
                };
                _log_lock = Some(self.log_lock.acquire(Shared::Read).await);
                let content = self.content(&wal.path).await?;
                Request::CurrentWal {
                    main,
                    database,
                    reset,
                    content,
                }
            }
        };
        match client.rpc.request(&self.io, &self.peers, request).await {
            Ok(Reply::Recovered(Some(reached))) => Ok(Some(reached)),
            Ok(_) | Err(_) => Err(StepFailed),
        }
    }

    async fn content(&self, path: &str) -> Result<Vec<u8>, StepFailed> {
        match self.io.read(path).await {
            Ok(Some(content)) => Ok(content),
            Ok(None) | Err(_) => {
                self.io.log(
                    Level::Error,
                    format!("Couldn't read {path} to send it to a replica."),
                );
                Err(StepFailed)
            }
        }
    }
}

struct StepFailed;

/// The log file that is being written: its sequence number, and its first and last timestamp.
#[derive(Clone, Copy)]
struct Logged {
    sequence: u64,
    from: u64,
    to: u64,
}

/// Which files bring a replica from `durable` to the present. `None` if none do. `current` is the log file
/// that is being written. With `sees_gaps` a snapshot of a time that no log file covers is sent before them: what it
/// has from analytical mode is in none.
///
/// Follows `GetRecoverySteps` of `src/storage/v2/inmemory/replication/recovery.cpp`.
fn plan(
    catalogue: &Catalogue,
    database: Uuid,
    current: Option<Logged>,
    durable: u64,
    sees_gaps: bool,
) -> Option<Vec<Step>> {
    let snapshot = catalogue
        .snapshots
        .iter()
        .rev()
        .find(|file| file.database == database);
    let newer = snapshot.filter(|snapshot| snapshot.durable > durable);
    let wals: Vec<&WalFile> = catalogue
        .wals
        .iter()
        .filter(|file| file.database == database)
        .collect();
    let mut steps = Vec::new();
    let mut from_snapshot = 0;
    let mut send_snapshot = |steps: &mut Vec<Step>, snapshot: &SnapshotFile| {
        steps.push(Step::Snapshot {
            path: snapshot.path.clone(),
        });
        from_snapshot = snapshot.durable;
    };
    if wals.last().is_some_and(|last| last.to > durable) {
        let (mut first, covered) = chain(&wals, durable);
        let beside_the_log = sees_gaps
            && newer.is_some_and(|snapshot| {
                let files = wals.iter().map(|wal| (wal.from, wal.to));
                let mut ranges = files.chain(current.map(|wal| (wal.from, wal.to)));
                !ranges.any(|(from, to)| (from..=to).contains(&snapshot.durable))
            });
        if !covered || beside_the_log {
            if snapshot.is_none() && wals[first].sequence != 0 {
                return None;
            }
            if let Some(snapshot) = newer {
                send_snapshot(&mut steps, snapshot);
                while first < wals.len() && wals[first].to <= snapshot.durable {
                    first += 1;
                }
            }
        }
        if first < wals.len() {
            steps.push(Step::WalFiles {
                paths: wals[first..].iter().map(|wal| wal.path.clone()).collect(),
            });
        }
    } else if let Some(snapshot) = newer {
        send_snapshot(&mut steps, snapshot);
    }
    if let Some(Logged { sequence, to, .. }) = current
        && to > from_snapshot
    {
        steps.push(Step::CurrentWal { sequence });
    }
    Some(steps)
}

/// The first file of the unbroken chain at the end of `wals` that is of use to a replica at `durable`, and
/// whether the chain reaches back to the replica's position.
fn chain(wals: &[&WalFile], durable: u64) -> (usize, bool) {
    for (index, wal) in wals.iter().enumerate().rev() {
        if wals
            .get(index + 1)
            .is_some_and(|next| next.sequence - wal.sequence > 1)
        {
            return (index + 1, false);
        }
        if wal.from <= durable + 1 {
            return (index, true);
        }
    }
    (0, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Uuid {
        use rand::SeedableRng;
        Uuid::random(&mut rand::rngs::StdRng::seed_from_u64(1))
    }

    fn wal(sequence: u64, from: u64, to: u64) -> WalFile {
        WalFile {
            path: format!("wal/{sequence}"),
            database: database(),
            sequence,
            from,
            to,
            size: 0,
        }
    }

    fn snapshot(durable: u64) -> SnapshotFile {
        let path = format!("snapshots/{durable}");
        SnapshotFile {
            path,
            database: database(),
            durable,
            created_at: 0,
            size: 0,
        }
    }

    fn steps(
        snapshots: &[u64],
        wals: &[(u64, u64, u64)],
        current: Option<(u64, u64)>,
        durable: u64,
    ) -> Option<Vec<String>> {
        let catalogue = Catalogue {
            snapshots: snapshots.iter().map(|at| snapshot(*at)).collect(),
            wals: wals
                .iter()
                .map(|(sequence, from, to)| wal(*sequence, *from, *to))
                .collect(),
        };
        let current = current.map(|(sequence, to)| Logged {
            sequence,
            from: to,
            to,
        });
        let name = |step| match step {
            Step::Snapshot { path } => path,
            Step::WalFiles { paths } => paths.join("+"),
            Step::CurrentWal { sequence } => format!("current {sequence}"),
        };
        Some(
            plan(&catalogue, database(), current, durable, true)?
                .into_iter()
                .map(name)
                .collect(),
        )
    }

    #[test]
    fn a_chain_of_log_files_is_preferred() {
        let wals = [(0, 2, 10), (1, 12, 20), (2, 22, 30)];
        assert_eq!(
            steps(&[15], &wals, Some((3, 40)), 20).unwrap(),
            ["wal/1+wal/2", "current 3"]
        );
        assert_eq!(
            steps(&[], &wals, Some((3, 40)), 0).unwrap(),
            ["wal/0+wal/1+wal/2", "current 3"]
        );
    }

    #[test]
    fn a_broken_chain_needs_the_snapshot() {
        let wals = [(1, 12, 20), (2, 22, 30)];
        assert_eq!(steps(&[21], &wals, None, 5).unwrap(), ["snapshots/21", "wal/2"]);
        assert_eq!(steps(&[], &wals, None, 5), None, "nothing leads there");
    }

    #[test]
    fn a_snapshot_of_what_no_log_has_comes_first() {
        let wals = [(0, 2, 10), (1, 12, 20)];
        assert_eq!(steps(&[11], &wals, None, 5).unwrap(), ["snapshots/11", "wal/1"]);
        assert_eq!(steps(&[11], &wals, None, 11).unwrap(), ["wal/1"]);
    }

    #[test]
    fn a_snapshot_alone_will_do() {
        assert_eq!(steps(&[8], &[], None, 5).unwrap(), ["snapshots/8"]);
        assert_eq!(steps(&[8], &[], Some((0, 8)), 0).unwrap(), ["snapshots/8"]);
        assert_eq!(steps(&[8], &[], Some((0, 9)), 8).unwrap(), ["current 0"]);
    }
}
