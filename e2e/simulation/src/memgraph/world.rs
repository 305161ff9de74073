//! The handle of the simulated world, and the task that lets its time go by.

use std::{cell::RefCell, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use memgraph_sim::engine::Time;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until},
};

use super::{
    Disk, Path, Paths, Place, Pod, Process, SimulatedBolt, Trouble, TroubleId, Volume,
    client::{Client, Listener},
    command::Command,
    connection::Side,
    core::Core,
    process::{Exit, Status, VolumeState},
    setup::Setup,
    steps::{Deed, Step},
};

/// How long the timer sleeps when nothing is to happen.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// Instances, the network, and the clients of one simulated world. A handle: its copies are the same world.
#[derive(Clone)]
pub struct Memgraphs {
    pub(super) core: Rc<RefCell<Core>>,
    pub(super) origin: Instant,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    changed: Rc<Notify>,
}

impl std::fmt::Debug for Memgraphs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memgraphs").finish_non_exhaustive()
    }
}

impl Memgraphs {
    /// An empty world, in which everything follows from `seed`.
    ///
    /// # Panics
    /// Outside of a `LocalSet`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let world = Self {
            core: Rc::new(RefCell::new(Core::new(seed, commands.clone()))),
            origin: Instant::now(),
            commands,
            changed: Rc::new(Notify::new()),
        };
        tokio::task::spawn_local(drive(world.clone(), receiver));
        world
    }

    /// The virtual time since the beginning.
    #[must_use]
    pub fn now(&self) -> Time {
        self.origin.elapsed()
    }

    /// Does something at this moment, after everything that comes before.
    pub(super) fn with<T>(&self, action: impl FnOnce(&mut Core) -> T) -> T {
        let now = self.now();
        let mut core = self.core.borrow_mut();
        core.run_until(now);
        let before = core.queue.next();
        let result = action(&mut core);
        let after = core.queue.next();
        if after != before {
            self.changed.notify_one();
        }
        result
    }

    /// A number that two runs have in common if the same has happened in both.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.with(|core| core.fingerprint())
    }

    /// The place of this name, which is made if it is new.
    #[must_use]
    pub fn place(&self, name: &str) -> Place {
        self.with(|core| {
            let known = core.places.iter().position(|known| known == name);
            Place::new(known.unwrap_or_else(|| {
                core.places.push(name.to_owned());
                core.places.len() - 1
            }))
        })
    }

    /// A place's name.
    #[must_use]
    pub fn place_name(&self, place: Place) -> String {
        self.with(|core| core.places[place.index()].clone())
    }

    /// Makes a pod with this address, which leads here from now on, whoever had it before.
    #[must_use]
    pub fn add_pod(&self, place: Place, address: IpAddr) -> Pod {
        self.with(|core| core.add_pod(place, address))
    }

    /// Removes a pod. A process in it is killed; its address answers nobody until another pod has it.
    pub fn remove_pod(&self, pod: Pod) {
        self.with(|core| core.remove_pod(pod));
    }

    /// Takes the power from a pod's host: process and kernel are gone and nobody is told. Of what its volume was
    /// written and not synced, some or all is lost.
    pub fn power_off(&self, pod: Pod) {
        self.with(|core| core.power_off(pod));
    }

    /// Lets a host name lead to an address, or nowhere. Connections are not affected.
    pub fn set_name(&self, name: &str, address: Option<IpAddr>) {
        self.with(|core| match address {
            Some(address) => core.names.insert(name.to_owned(), address),
            None => core.names.remove(name),
        });
    }

    /// An empty volume.
    #[must_use]
    pub fn volume(&self) -> Volume {
        self.with(|core| {
            core.volumes.push(VolumeState::new());
            Volume::new(core.volumes.len() - 1)
        })
    }

    /// Looks at a volume's files, or changes them. A process that has it mounted does not notice.
    pub fn disk<T>(&self, volume: Volume, action: impl FnOnce(&mut Disk) -> T) -> T {
        self.with(|core| action(&mut core.volumes[volume.index()].disk))
    }

    /// A copy of a volume as it is, to be put back later.
    #[must_use]
    pub fn copy(&self, volume: Volume) -> Disk {
        self.disk(volume, |disk| disk.clone())
    }

    /// The next sync of this volume fails, which ends its process.
    pub fn fail_next_sync(&self, volume: Volume) {
        self.with(|core| core.volumes[volume.index()].fail_next_sync = true);
    }

    /// How long a sync of this volume takes from now on at the least (and at most twice that), and how long a
    /// snapshot.
    pub fn set_disk_speed(&self, volume: Volume, sync: Duration, snapshot: Duration) {
        self.with(|core| {
            let volume = &mut core.volumes[volume.index()];
            (volume.sync, volume.snapshot) = (sync, snapshot);
        });
    }

    /// Starts Memgraph in a pod, on a volume. If another process has the volume, it waits for that as long as
    /// Memgraph does. A process that runs in the pod already is killed.
    pub fn start(&self, pod: Pod, volume: Volume, setup: &Setup) -> Process {
        self.with(|core| core.start(pod, volume, setup))
    }

    /// SIGTERM
    pub fn stop(&self, process: Process) {
        self.with(|core| core.stop(process));
    }

    /// Clients sign in so from now on.
    pub fn sign_clients_in(&self, username: &str, password: &str) {
        let user = (username.to_owned(), password.to_owned());
        self.with(|core| core.client_user = Some(user));
    }

    /// Whether a process lets in only who has a password. None: it does not run.
    #[must_use]
    pub fn is_access_controlled(&self, process: Process) -> Option<bool> {
        self.with(|core| {
            let engine = core.processes[process.index()].engine.as_ref();
            engine.map(|engine| engine.is_access_controlled())
        })
    }

    /// SIGKILL: what it has written stays in the page cache.
    pub fn kill(&self, process: Process) {
        self.with(|core| core.end(process, Exit::Killed));
    }

    /// SIGSTOP: its kernel still accepts connections, and data.
    pub fn freeze(&self, process: Process) {
        self.with(|core| core.freeze(process));
    }

    /// SIGCONT
    pub fn thaw(&self, process: Process) {
        self.with(|core| core.thaw(process));
    }

    /// How a process is doing.
    #[must_use]
    pub fn status(&self, process: Process) -> Status {
        self.with(|core| core.processes[process.index()].status.borrow().clone())
    }

    /// Waits until a process is open to clients; `false` when it has ended instead.
    pub async fn ready(&self, process: Process) -> bool {
        let wanted = |status: &Status| matches!(status, Status::Ready | Status::Ended(_));
        self.until(process, wanted).await == Some(Status::Ready)
    }

    /// Waits until a process has ended.
    pub async fn ended(&self, process: Process) -> Option<Exit> {
        let wanted = |status: &Status| matches!(status, Status::Ended(_));
        match self.until(process, wanted).await {
            Some(Status::Ended(exit)) => Some(exit),
            _ => None,
        }
    }

    async fn until(&self, process: Process, wanted: impl FnMut(&Status) -> bool) -> Option<Status> {
        let mut status = self.with(|core| core.processes[process.index()].status.subscribe());
        let status = status.wait_for(wanted).await;
        status.ok().map(|status| status.clone())
    }

    /// Makes trouble on a path, from now on and also for what is under way.
    pub fn trouble(&self, path: Path, trouble: Trouble) -> TroubleId {
        self.with(|core| core.troubles.trouble(path, trouble))
    }

    /// Makes packets between two places vanish in both directions.
    pub fn cut(&self, one: Place, other: Place) -> [TroubleId; 2] {
        [Path::between(one, other), Path::between(other, one)].map(|path| self.trouble(path, Trouble::Drop))
    }

    /// Makes all packets to and from a place vanish.
    pub fn cut_off(&self, place: Place) -> [TroubleId; 2] {
        [Path::from(place), Path::to(place)].map(|path| self.trouble(path, Trouble::Drop))
    }

    /// Ends a trouble.
    pub fn mend(&self, trouble: TroubleId) {
        self.with(|core| core.troubles.end(trouble));
    }

    /// Ends all troubles of paths.
    pub fn mend_all(&self) {
        self.with(|core| core.troubles.end_all());
    }

    /// Resets the connections that are open on a path, for both ends.
    pub fn reset(&self, path: Path) {
        self.with(|core| {
            for key in core.connections_on(path) {
                core.break_connection(key);
            }
        });
    }

    /// Delays what is said on the connections that are open now on a path, in its direction. A connection that is
    /// made later overtakes them: so does a new one of somebody who has given up the old one.
    pub fn stall(&self, path: Path, by: Duration) {
        self.with(|core| {
            for key in core.connections_on(path) {
                for side in [Side::Caller, Side::Called] {
                    if core.leads(key, side, path) {
                        core.stall(key, side, by);
                    }
                }
            }
        });
    }

    /// The paths, for what is said outside of connections that are simulated here. Other than this handle, it may go
    /// to other threads.
    #[must_use]
    pub fn paths(&self) -> Paths {
        Paths {
            commands: self.commands.clone(),
        }
    }

    /// Lets `hook` decide what happens at each step of each commit. It must not use the world's handle, whose call it
    /// is in the middle of; to have anything else done it may tell a task.
    pub fn on_step(&self, hook: impl FnMut(&Step) -> Deed + 'static) {
        self.with(|core| core.steps.hook = Some(Box::new(hook)));
    }

    /// Nothing happens at steps any more.
    pub fn off_step(&self) {
        self.with(|core| core.steps.hook = None);
    }

    /// What an operator at this place reaches instances by.
    #[must_use]
    pub fn bolt(&self, place: Place) -> SimulatedBolt {
        let keys = self.with(|core| Arc::clone(&core.keys));
        SimulatedBolt::new(place, keys, self.commands.clone())
    }

    /// A client at this place.
    #[must_use]
    pub fn client(&self, place: Place) -> Client {
        Client::new(self.clone(), place)
    }

    /// Listens on a port of a pod for clients, as a gateway does. The port is closed when the listener is dropped.
    #[must_use]
    pub fn listen(&self, pod: Pod, port: u16) -> Listener {
        let (sender, accepted) = mpsc::unbounded_channel();
        self.with(|core| core.pods[pod.index()].listeners.insert(port, sender));
        Listener::new(self.commands.clone(), pod, port, accepted)
    }
}

impl Core {
    /// Whether what goes towards this side of a connection is on a path.
    fn leads(&self, key: u64, side: Side, path: Path) -> bool {
        self.connections.get(&key).is_some_and(|connection| {
            let (from, to) = (connection.end(side.other()).place, connection.end(side).place);
            path.contains(from, to, connection.to.port())
        })
    }

    fn connections_on(&self, path: Path) -> Vec<u64> {
        let keys = self.connections.keys().copied();
        keys.filter(|key| {
            let sides = [Side::Caller, Side::Called];
            sides.into_iter().any(|side| self.leads(*key, side, path))
        })
        .collect()
    }
}

/// Lets time go by, and does what programs ask for.
async fn drive(world: Memgraphs, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut timer = std::pin::pin!(sleep_until(world.origin));
    let mut armed = world.origin;
    loop {
        let next = {
            let mut core = world.core.borrow_mut();
            core.run_until(world.now());
            while let Ok(command) = commands.try_recv() {
                core.command(command);
            }
            core.queue.next()
        };
        let at = world.origin + next.unwrap_or_else(|| world.now() + LONG);
        if at != armed {
            armed = at;
            timer.as_mut().reset(at);
        }
        tokio::select! {
            biased;
            command = commands.recv() => {
                let Some(command) = command else { return };
                let mut core = world.core.borrow_mut();
                core.run_until(world.now());
                core.command(command);
            }
            () = world.changed.notified() => {}
            () = timer.as_mut() => armed = world.origin,
        }
    }
}
