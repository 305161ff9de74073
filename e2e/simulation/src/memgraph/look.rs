//! What invariants may know of instances and writes, without asking anybody.

use memgraph_sim::engine::{Engine, Inspection, Level, Time};

use super::{
    Process, Volume, WriteId, disk::Disk, setup::Setup, trace::Transaction, world::Memgraphs, writes::Write,
};

/// Whether a copy has a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It is committed there.
    Committed,
    /// It is prepared, and waits for MAIN's decision. A promotion throws it away.
    Prepared,
    /// It is not there.
    Missing,
}

/// An instance as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Where it stands.
    pub inspection: Inspection,
    /// What the operator's marker says, if there is one.
    pub marker: Option<String>,
    /// Whether it is stopped (SIGSTOP).
    pub frozen: bool,
}

/// The enum that is the operator's marker.
const MARKER: &str = "__memgraph_operator";

impl Memgraphs {
    fn engine<T>(&self, process: Process, look: impl FnOnce(&Engine) -> T) -> Option<T> {
        self.with(|core| core.processes[process.index()].engine.as_ref().map(look))
    }

    /// An instance as it is; `None` for one that has ended or waits for its data directory.
    #[must_use]
    pub fn look(&self, process: Process) -> Option<Look> {
        let frozen = self.with(|core| core.processes[process.index()].is_frozen());
        self.engine(process, |engine| Look {
            inspection: engine.inspect(),
            marker: engine
                .enum_values(MARKER)
                .and_then(|values| values.into_iter().next()),
            frozen,
        })
    }

    /// Whether a process is MAIN. Cheaper than [`look`](Self::look).
    #[must_use]
    pub fn is_main(&self, process: Process) -> bool {
        self.engine(process, Engine::is_main).unwrap_or(false)
    }

    /// Whether an instance has a write in memory. Cheap for a write whose node is known; for others, all is looked
    /// through.
    #[must_use]
    pub fn holds(&self, process: Process, id: WriteId) -> Holding {
        let node = self.write(id).and_then(|write| write.node);
        let wanted = Some(id.as_integer());
        let found = self.engine(process, |engine| match node {
            Some(node) if engine.committed_integer(node, WriteId::KEY) == wanted => Holding::Committed,
            Some(node) if engine.prepared_integer(node, WriteId::KEY) == wanted => Holding::Prepared,
            Some(_) => Holding::Missing,
            None if contains(&committed(engine), id) => Holding::Committed,
            None if contains(&prepared(engine), id) => Holding::Prepared,
            None => Holding::Missing,
        });
        found.unwrap_or(Holding::Missing)
    }

    /// The writes that are committed in an instance's memory, in order of their nodes.
    #[must_use]
    pub fn committed(&self, process: Process) -> Vec<WriteId> {
        self.engine(process, committed).unwrap_or_default()
    }

    /// The writes of the transaction that waits for MAIN's decision.
    #[must_use]
    pub fn prepared(&self, process: Process) -> Vec<WriteId> {
        let both = self.engine(process, |engine| (committed(engine), prepared(engine)));
        let (committed, mut prepared) = both.unwrap_or_default();
        prepared.retain(|write| !contains(&committed, *write));
        prepared
    }

    /// The process that has a volume's data directory locked.
    #[must_use]
    pub fn holder(&self, volume: Volume) -> Option<Process> {
        self.with(|core| core.volumes[volume.index()].holder)
    }

    /// The writes that an instance would have that starts on this volume now.
    #[must_use]
    pub fn on_disk(&self, volume: Volume, setup: &Setup) -> Vec<WriteId> {
        let disk = self.copy(volume);
        self.recovered(disk, setup)
    }

    /// The same after a power loss at its worst.
    #[must_use]
    pub fn on_disk_after_power_loss(&self, volume: Volume, setup: &Setup) -> Vec<WriteId> {
        let disk = self.disk(volume, |disk| disk.synced_part());
        self.recovered(disk, setup)
    }

    /// Lets an engine of its own recover what is on a disk.
    fn recovered(&self, mut disk: Disk, setup: &Setup) -> Vec<WriteId> {
        let (config, _) = self.with(|core| core.setups.prepare(setup));
        let engine = config.ok().and_then(|config| disk.recover(config, self.now()));
        engine.as_ref().map(committed).unwrap_or_default()
    }

    /// What is known of a write.
    #[must_use]
    pub fn write(&self, id: WriteId) -> Option<Write> {
        self.with(|core| core.writes.get(id))
    }

    /// All writes, in order of their names.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        self.with(|core| core.writes.all())
    }

    /// The writes whose success has reached their clients, in order of their names.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<WriteId> {
        self.with(|core| core.writes.acknowledged())
    }

    /// The transaction of a write, as it went to replicas; `None` if it went to none, or if its node is not known
    /// because its statement did not succeed.
    #[must_use]
    pub fn transaction(&self, id: WriteId) -> Option<Transaction> {
        let write = self.write(id)?;
        self.with(|core| core.steps.transaction(write.process?, write.node?).cloned())
    }

    /// Whether a replica has voted for a later transaction of the same MAIN: it had everything before it then.
    #[must_use]
    pub fn has_voted_later(&self, transaction: &Transaction, replica: Process) -> bool {
        self.with(|core| core.steps.has_voted_later(transaction, replica))
    }

    /// Whether a volume has lost a transaction with the power that a killed process had left to the kernel, unsynced and unconfirmed:
    /// the trace of the disk itself.
    #[must_use]
    pub fn has_lost_unconfirmed(&self, volume: Volume, transaction: &Transaction) -> bool {
        self.with(|core| {
            let is_here = |process: Process| core.processes[process.index()].volume == volume;
            let confirmed = is_here(transaction.main) || transaction.held().any(is_here);
            !confirmed && core.volumes[volume.index()].disk.has_lost(transaction.timestamp)
        })
    }

    /// The last warnings and errors in a process's log.
    #[must_use]
    pub fn log(&self, process: Process) -> Vec<(Time, Level, String)> {
        self.with(|core| core.processes[process.index()].log.iter().cloned().collect())
    }
}

fn contains(writes: &[WriteId], id: WriteId) -> bool {
    writes.contains(&id)
}

fn committed(engine: &Engine) -> Vec<WriteId> {
    let found = engine.committed_integers(WriteId::LABEL, WriteId::KEY);
    found.into_iter().map(WriteId::from_integer).collect()
}

fn prepared(engine: &Engine) -> Vec<WriteId> {
    let found = engine.prepared_integers(WriteId::LABEL, WriteId::KEY);
    found.into_iter().map(WriteId::from_integer).collect()
}
