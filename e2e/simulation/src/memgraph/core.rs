//! The state of everything, and what happens to it as time goes by.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use memgraph_sim::engine::Time;
use tokio::{sync::mpsc, sync::oneshot};

use super::{
    Place, Pod,
    command::{Command, Target},
    connection::{Connection, End, Owner, Packet, Side},
    path::Troubles,
    pod::PodState,
    process::{ProcessState, VolumeState},
    queue::{Happening, Queue},
    setup::Setups,
    steps::Steps,
    stream::{Ended, Incoming},
    writes::Writes,
};

/// When the first retransmission comes (`TCP_RTO_MIN`); the others after twice the time each.
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// The longest time between two of them (`TCP_RTO_MAX`).
const RETRANSMISSION_MAX: Duration = Duration::from_secs(120);

/// A message outside of connections.
#[derive(Debug)]
struct Traveller {
    from: Place,
    to: Place,
    port: u16,
    arrived: oneshot::Sender<()>,
}

/// Instances, network and clients.
pub(super) struct Core {
    pub(super) now: Time,
    pub(super) random: fastrand::Rng,
    pub(super) queue: Queue,
    pub(super) places: Vec<String>,
    pub(super) pods: Vec<PodState>,
    pub(super) addresses: BTreeMap<IpAddr, Pod>,
    pub(super) names: BTreeMap<String, IpAddr>,
    pub(super) processes: Vec<ProcessState>,
    pub(super) volumes: Vec<VolumeState>,
    pub(super) troubles: Troubles,
    pub(super) connections: BTreeMap<u64, Connection>,
    /// The next connection's key. Shared with those who connect through the channel.
    pub(super) keys: Arc<AtomicU64>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) setups: Setups,
    pub(super) steps: Steps,
    pub(super) writes: Writes,
    /// Who clients sign in as, and with which password.
    pub(super) client_user: Option<(String, String)>,
    travellers: BTreeMap<u64, Traveller>,
    /// What has happened so far, as one number.
    fingerprint: u64,
}

impl Core {
    pub(super) fn new(seed: u64, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self {
            now: Time::ZERO,
            random: fastrand::Rng::with_seed(seed),
            queue: Queue::default(),
            places: Vec::new(),
            pods: Vec::new(),
            addresses: BTreeMap::new(),
            names: BTreeMap::new(),
            processes: Vec::new(),
            volumes: Vec::new(),
            troubles: Troubles::default(),
            connections: BTreeMap::new(),
            keys: Arc::new(AtomicU64::new(1)),
            commands,
            setups: Setups::default(),
            steps: Steps::default(),
            writes: Writes::default(),
            client_user: None,
            travellers: BTreeMap::new(),
            fingerprint: 0,
        }
    }

    /// Mixes something that has happened into the number that tells one run from another.
    pub(super) fn note(&mut self, what: u64) {
        let mixed = self.fingerprint ^ what ^ self.now.as_micros() as u64;
        // The multiplication of FNV-1a, then a rotation, so that all bits count.
        self.fingerprint = mixed.wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Lets everything happen that is due until `now`.
    pub(super) fn run_until(&mut self, now: Time) {
        while let Some((at, what)) = self.queue.pop(now) {
            self.now = self.now.max(at);
            self.happen(what);
        }
        self.now = self.now.max(now);
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Arrival { connection, side } => self.arrive(connection, side),
            Happening::Knock { connection, attempt } => self.knock(connection, attempt),
            Happening::Retransmission {
                connection,
                side,
                attempt,
            } => self.retransmit(connection, side, attempt),
            Happening::Unacknowledged {
                connection,
                side,
                since,
            } => self.unacknowledged(connection, side, since),
            Happening::Travel { number, attempt } => self.travelled(number, attempt),
            Happening::Timer { process } => self.wake(process),
            Happening::Disk { process, token } => self.disk_done(process, token),
            Happening::Impatience { process } => self.lose_patience(process),
        }
    }

    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Connect {
                key,
                from,
                pod,
                to,
                first,
                sink,
            } => match self.resolve(&to) {
                Some(address) => {
                    let caller = End {
                        place: from,
                        pod,
                        owner: Owner::Stream(sink),
                    };
                    let pipe = first.map(Packet::Request);
                    self.connect(key, address, caller, pipe);
                }
                // The resolver answers at once that there is no such name.
                None => {
                    let _ = sink.send(Incoming::Ended(Ended::Refused));
                }
            },
            Command::Ask(key, request) => self.send_request(key, request),
            Command::Answer(key, answer) => {
                self.transmit(key, Side::Caller, Packet::Answer(answer), Duration::ZERO)
            }
            Command::Close { key, reset } => self.close_stream(key, reset),
            Command::Forget(pod, port) => {
                self.pods[pod.index()].listeners.remove(&port);
            }
            Command::Travel {
                from,
                to,
                port,
                arrived,
            } => {
                let number = self.new_key();
                let delay = self.troubles.delay(from, to, port, &mut self.random);
                let traveller = Traveller {
                    from,
                    to,
                    port,
                    arrived,
                };
                self.travellers.insert(number, traveller);
                let what = Happening::Travel { number, attempt: 0 };
                self.queue.push(self.now + delay, what);
            }
        }
    }

    fn travelled(&mut self, number: u64, attempt: u32) {
        let Some(traveller) = self.travellers.get(&number) else {
            return;
        };
        if traveller.arrived.is_closed() {
            self.travellers.remove(&number);
        } else if self
            .troubles
            .is_open(traveller.from, traveller.to, traveller.port)
        {
            if let Some(traveller) = self.travellers.remove(&number) {
                let _ = traveller.arrived.send(());
            }
        } else {
            let at = self.now + retransmission(attempt);
            let attempt = attempt + 1;
            self.queue.push(at, Happening::Travel { number, attempt });
        }
    }

    pub(super) fn new_key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn resolve(&self, target: &Target) -> Option<SocketAddr> {
        match target {
            Target::Address(address) => Some(*address),
            Target::Name(name) => {
                if let Ok(address) = name.parse() {
                    return Some(address);
                }
                let (host, port) = name.rsplit_once(':')?;
                let address = self.names.get(host)?;
                Some(SocketAddr::new(*address, port.parse().ok()?))
            }
        }
    }
}

/// How long after the so many-th attempt the next one comes.
pub(super) fn retransmission(attempt: u32) -> Duration {
    (RETRANSMISSION * 2_u32.saturating_pow(attempt.min(12))).min(RETRANSMISSION_MAX)
}
