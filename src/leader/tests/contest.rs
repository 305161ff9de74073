//! Several processes, one Lease, and requests that fail, come late, or are done without an answer.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::{Campaign, Clock, Held, Leadership, Lock, LockError, Record, Timing, election::Observer};

fn timing() -> Timing {
    let millis = Duration::from_millis;
    Timing::new(millis(2_000), millis(1_500), millis(400)).unwrap()
}

/// As tight as is allowed: what is safe by this is safe by any other.
fn tight_timing() -> Timing {
    let millis = Duration::from_millis;
    Timing::new(millis(1_000), millis(900), millis(150)).unwrap()
}

/// A clock that runs a little too fast or too slow.
#[derive(Clone)]
struct Drifting {
    begin: Instant,
    rate: f64,
}

impl Clock for Drifting {
    fn now(&self) -> Duration {
        Duration::from_secs(100) + self.begin.elapsed().mul_f64(self.rate)
    }
}

#[derive(Default)]
struct Stored {
    held: Option<Held>,
    versions: u64,
}

/// The API server, as one process reaches it.
#[derive(Clone)]
struct Server {
    stored: Arc<Mutex<Stored>>,
    chance: Arc<Mutex<Rng>>,
    /// How many of a hundred requests go wrong in some way.
    trouble: Arc<Mutex<u32>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn unavailable() -> LockError {
    LockError::Unavailable {
        action: "reach",
        name: "lease".to_owned(),
        source: "the network is down".into(),
    }
}

impl Server {
    fn new(seed: u64) -> Self {
        Self {
            stored: Arc::default(),
            chance: Arc::new(Mutex::new(Rng::with_seed(seed))),
            trouble: Arc::default(),
        }
    }

    /// Has its own way to the same Lease.
    fn reached_by(&self, seed: u64) -> Self {
        Self {
            stored: Arc::clone(&self.stored),
            chance: Arc::new(Mutex::new(Rng::with_seed(seed))),
            trouble: Arc::default(),
        }
    }

    fn is_troubled(&self) -> bool {
        locked(&self.chance).u32(0..100) < *locked(&self.trouble)
    }

    /// What a message takes: mostly a few milliseconds, at times long enough for a lease to run out.
    async fn travel(&self) -> Result<(), LockError> {
        let lost = self.is_troubled() && locked(&self.chance).bool();
        // Late enough for a lease to run out, or as late as is just in time.
        let longest = match self.is_troubled() {
            true => [4_000, 440][locked(&self.chance).usize(0..2)],
            false => 20,
        };
        let delay = locked(&self.chance).u64(1..longest);
        sleep(Duration::from_millis(delay)).await;
        if lost { Err(unavailable()) } else { Ok(()) }
    }

    fn replace(&self, record: &Record, over: Option<&str>) -> Result<Held, LockError> {
        let mut stored = locked(&self.stored);
        let version = stored.held.as_ref().map(|held| held.version.clone());
        if version.as_deref() != over {
            return Err(LockError::Conflict {
                name: "lease".to_owned(),
            });
        }
        stored.versions += 1;
        let held = Held {
            record: record.clone(),
            version: stored.versions.to_string(),
        };
        stored.held = Some(held.clone());
        Ok(held)
    }
}

impl Lock for Server {
    async fn read(&self) -> Result<Option<Held>, LockError> {
        self.travel().await?;
        let held = locked(&self.stored).held.clone();
        self.travel().await?;
        Ok(held)
    }

    async fn write(&self, record: &Record, over: Option<&str>) -> Result<Held, LockError> {
        self.travel().await?;
        // A request that its sender has given up may arrive all the same.
        let result = self.replace(record, over);
        self.travel().await?;
        result
    }
}

/// A process that campaigns, leads, and starts over when it has lost.
struct Process {
    leadership: Arc<Mutex<Option<Leadership>>>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Process {
    fn start(server: Server, name: String, rate: f64, seed: u64) -> Self {
        Self::start_timed(server, name, rate, seed, timing())
    }

    fn start_timed(server: Server, name: String, rate: f64, seed: u64, timing: Timing) -> Self {
        let leadership = Arc::<Mutex<Option<Leadership>>>::default();
        let stop = CancellationToken::new();
        let (shown, asked) = (Arc::clone(&leadership), stop.clone());
        let clock = Drifting {
            begin: Instant::now(),
            rate,
        };
        let ended = tokio::spawn(async move {
            for life in 0.. {
                let identity = format!("{name}-{life}");
                let campaign =
                    Campaign::new(server.clone(), clock.clone(), timing, identity).seeded(seed + life);
                let leader = tokio::select! {
                    leader = campaign.win() => leader,
                    () = asked.cancelled() => return,
                };
                *locked(&shown) = Some(leader.leadership());
                let kept = leader.hold(asked.clone()).await;
                *locked(&shown) = None;
                if kept.is_ok() {
                    return;
                }
            }
        });
        Self {
            leadership,
            stop,
            ended,
        }
    }

    fn leads(&self) -> bool {
        locked(&self.leadership)
            .as_ref()
            .is_some_and(|leadership| leadership.check().is_ok())
    }
}

fn leaders(processes: &[Process]) -> usize {
    processes.iter().filter(|process| process.leads()).count()
}

async fn leader(processes: &[Process], within: Duration) -> Option<usize> {
    let begin = Instant::now();
    while begin.elapsed() < within {
        if let Some(leader) = processes.iter().position(Process::leads) {
            return Some(leader);
        }
        sleep(Duration::from_millis(5)).await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn there_are_never_two_leaders_and_soon_one_again() {
    for seed in 0..200 {
        let server = Server::new(seed);
        let mut chance = Rng::with_seed(seed);
        let ways: Vec<_> = (0..3)
            .map(|process| server.reached_by(seed * 10 + process))
            .collect();
        let processes: Vec<_> = ways
            .iter()
            .zip([0.96, 1.0, 1.04])
            .enumerate()
            .map(|(number, (way, rate))| {
                let (name, seed) = (format!("p{number}"), seed * 100 + number as u64);
                Process::start_timed(way.clone(), name, rate, seed, tight_timing())
            })
            .collect();
        let mut led = 0;
        for _ in 0..2_000 {
            if chance.u32(0..100) == 0 {
                let way = chance.usize(0..ways.len());
                *locked(&ways[way].trouble) = [0, 20, 60, 100][chance.usize(0..4)];
            }
            if chance.u32(0..500) == 0 {
                locked(&server.stored).held = None;
            }
            sleep(Duration::from_millis(10)).await;
            let now = leaders(&processes);
            assert!(now <= 1, "seed {seed}: {now} leaders");
            led += now;
        }
        assert!(
            led > 100,
            "seed {seed}: hardly ever a leader, so the faults prove nothing"
        );
        for way in &ways {
            *locked(&way.trouble) = 0;
        }
        // The slowest request may still be under way, and then a whole lease.
        let found = leader(&processes, Duration::from_secs(15)).await;
        assert!(found.is_some(), "seed {seed}: no leader after the faults");
        for process in &processes {
            process.ended.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crashed_leader_is_replaced_within_three_seconds() {
    let server = Server::new(1);
    let processes = [1, 2].map(|seed| Process::start(server.reached_by(seed), format!("p{seed}"), 1.0, seed));
    let first = leader(&processes, Duration::from_secs(4)).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    processes[first].ended.abort();
    *locked(&processes[first].leadership) = None;
    let second = leader(&processes, Duration::from_secs(3)).await;
    assert_eq!(second, Some(1 - first));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_is_replaced_within_a_second() {
    let server = Server::new(1);
    let processes = [1, 2].map(|seed| Process::start(server.reached_by(seed), format!("p{seed}"), 1.0, seed));
    let first = leader(&processes, Duration::from_secs(4)).await.unwrap();
    processes[first].stop.cancel();
    sleep(Duration::from_millis(50)).await;
    assert!(!processes[first].leads());
    let second = leader(&processes, Duration::from_secs(1)).await;
    assert_eq!(second, Some(1 - first));
    let record = locked(&server.stored).held.clone().unwrap().record;
    assert_eq!(record.transitions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_reaches_nobody_stops_before_another_one_begins() {
    let server = Server::new(1);
    let ways = [1, 2].map(|seed| server.reached_by(seed));
    let processes =
        [0, 1].map(|number| Process::start(ways[number].clone(), format!("p{number}"), 1.0, number as u64));
    let first = leader(&processes, Duration::from_secs(4)).await.unwrap();
    *locked(&ways[first].trouble) = 100;
    let begin = Instant::now();
    while processes[first].leads() {
        assert!(begin.elapsed() <= Duration::from_millis(1_500));
        assert!(!processes[1 - first].leads());
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(leader(&processes, Duration::from_secs(2)).await, Some(1 - first));
}

/// A server that takes its time to answer, and none to do.
#[derive(Clone)]
struct Slow(Server, Duration);

impl Lock for Slow {
    async fn read(&self) -> Result<Option<Held>, LockError> {
        Ok(locked(&self.0.stored).held.clone())
    }

    async fn write(&self, record: &Record, over: Option<&str>) -> Result<Held, LockError> {
        let written = self.0.replace(record, over);
        sleep(self.1).await;
        written
    }
}

#[tokio::test(start_paused = true)]
async fn leadership_counts_from_before_the_lease_was_written() {
    let delay = Duration::from_millis(500);
    let clock = Drifting {
        begin: Instant::now(),
        rate: 1.0,
    };
    let campaign = Campaign::new(Slow(Server::new(1), delay), clock, timing(), "p".to_owned());
    let leader = campaign.win().await;
    let leadership = leader.leadership();
    let longest = timing().renew_deadline() - delay;
    assert!(leadership.remaining() <= longest);
    let stop = CancellationToken::new();
    let holding = tokio::spawn(leader.hold(stop.clone()));
    for _ in 0..500 {
        sleep(Duration::from_millis(10)).await;
        assert!(leadership.remaining() <= longest);
        leadership.check().unwrap();
    }
    stop.cancel();
    holding.await.unwrap().unwrap();
}

/// A server one of whose answers to a renewal never comes.
#[derive(Clone)]
struct Forgetful(Server, Arc<AtomicU32>);

impl Lock for Forgetful {
    async fn read(&self) -> Result<Option<Held>, LockError> {
        self.0.read().await
    }

    async fn write(&self, record: &Record, over: Option<&str>) -> Result<Held, LockError> {
        let written = self.0.write(record, over).await;
        if self.1.fetch_add(1, Ordering::Relaxed) == 3 {
            std::future::pending::<()>().await;
        }
        written
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_not_answered_is_tried_again_in_time() {
    for seed in 0..20 {
        let writes = Arc::new(AtomicU32::new(0));
        let lock = Forgetful(Server::new(seed), Arc::clone(&writes));
        let clock = Drifting {
            begin: Instant::now(),
            rate: 1.0,
        };
        let campaign = Campaign::new(lock, clock, timing(), "p".to_owned()).seeded(seed);
        let leader = campaign.win().await;
        let (leadership, stop) = (leader.leadership(), CancellationToken::new());
        let holding = tokio::spawn(leader.hold(stop.clone()));
        while writes.load(Ordering::Relaxed) < 10 {
            sleep(Duration::from_millis(5)).await;
            assert!(
                leadership.check().is_ok(),
                "seed {seed}: it does not lead any more"
            );
        }
        stop.cancel();
        holding.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_deletes_the_lease_gets_another_election() {
    let server = Server::new(1);
    let process = [Process::start(server.reached_by(1), "p".to_owned(), 1.0, 1)];
    leader(&process, Duration::from_secs(4)).await.unwrap();
    locked(&server.stored).held = None;
    while process[0].leads() {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(leader(&process, Duration::from_secs(4)).await.is_some());
    let holder = locked(&server.stored).held.clone().unwrap().record.holder;
    assert_eq!(holder.as_deref(), Some("p-1"), "a new process, not the old one");
}

/// Its holder counts on it still, and a process that has just started has never seen it.
#[tokio::test(start_paused = true)]
async fn a_new_process_takes_no_lease_that_somebody_has_deleted_before_its_holder_has_stopped() {
    for seed in 0..50 {
        let server = Server::new(seed);
        let campaign = |number, lock| {
            let begin = Instant::now();
            let clock = Drifting { begin, rate: 1.0 };
            Campaign::new(lock, clock, timing(), format!("p{number}")).seeded(seed)
        };
        let holder = campaign(0, server.reached_by(seed)).win().await.leadership();
        locked(&server.stored).held = None;
        // It is never told: it could as well be cut off.
        let next = campaign(1, server.reached_by(seed + 1)).win().await;
        assert!(
            next.leadership().check().is_ok() && holder.check().is_err(),
            "seed {seed}"
        );
    }
}

/// The shortest Lease lasts as long as one that was given up says.
#[test]
fn a_lease_that_is_made_in_place_of_one_that_was_deleted_is_nobodys_and_waited_for() {
    let second = Duration::from_secs(1);
    let mut observer = Observer::new("this".to_owned(), second);
    let held = Record {
        holder: Some("other".to_owned()),
        duration: second * 5,
        acquired: Some(jiff::Timestamp::UNIX_EPOCH),
        transitions: 7,
        ..Record::default()
    };
    let mut consider = |found, at| {
        let date = jiff::Timestamp::UNIX_EPOCH;
        observer.consider(found, Duration::from_millis(at), date)
    };
    let made = consider(None, 0).unwrap();
    assert_eq!((made.holder.as_deref(), made.duration), (None, second * 2));
    assert_eq!(consider(Some(&made), 100), None);
    assert_eq!(consider(Some(&made), 2_100), None);
    assert!(consider(Some(&made), 2_101).unwrap().holder.is_some());

    assert_eq!(consider(Some(&held), 3_000), None);
    let made = consider(None, 3_100).unwrap();
    assert_eq!((made.holder.as_deref(), made.duration), (None, second * 5));
    assert_eq!(consider(Some(&made), 3_200), None);
    assert_eq!(consider(Some(&made), 8_200), None);
    let taken = consider(Some(&made), 8_201).unwrap();
    assert_eq!((taken.holder.as_deref(), taken.transitions), (Some("this"), 8));
}

#[test]
fn times_that_do_not_fit_together_are_refused() {
    let timing = |lease: u64, deadline: u64, retry: u64| {
        let millis = Duration::from_millis;
        Timing::new(millis(lease), millis(deadline), millis(retry)).map_err(|error| error.to_string())
    };
    assert!(timing(2_000, 1_500, 400).is_ok());
    assert!(
        timing(1_500, 1_000, 100)
            .unwrap_err()
            .contains("whole number of seconds")
    );
    assert!(timing(2_000, 1_900, 100).unwrap_err().contains("nine tenths"));
    assert!(timing(2_000, 1_500, 800).unwrap_err().contains("retry period"));
    assert!(timing(2_000, 1_500, 0).unwrap_err().contains("retry period"));
}
