//! Where sessions sleep that say nothing for a while.
//!
//! A session that is awake has a task, and the runtime's care for two connections. One that sleeps is an entry in a table: its two
//! sockets and what must outlive its sleep, its [ticket](super::line::Resting) above all. One epoll instance for all of them tells
//! when something comes, or a connection ends. Then the session is given a task again, which finds in its sockets whatever has come.
//!
//! - No byte is overlooked: only a session sleeps that has written all that it had read, and epoll tells also of what had come before
//!   a socket was added to it.
//! - None escapes a fence: a session is laid down under the lock of the table, after a look whether its line is cut; who cuts a line
//!   does so first, and then takes its sessions out of the table under the same lock. So it finds each that was laid down before,
//!   and each that comes later finds the line cut. One that was taken out before, to be woken, holds its ticket meanwhile, and looks
//!   at the cut before anything else.
//! - One that has been woken passes a byte only under its clearance, as always.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::AsFd,
};
use slab::Slab;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Instant,
};
use tracing::debug;

use super::sleeper::Sleeper;

/// For how long a session must have said and heard nothing before it sleeps.
pub const SLEEP_AFTER: Duration = Duration::from_secs(5);

/// How many events are taken at a time.
const EVENTS: usize = 256;

/// Whatever happens to a connection is told once: it wakes the session, or finds that it was taken out already.
const ANYTHING: EventFlags = EventFlags::IN.union(EventFlags::ONESHOT);

/// The sessions that sleep.
#[derive(Debug)]
pub struct Dormitory {
    after: Duration,
    epoll: OwnedFd,
    beds: Mutex<Beds>,
}

#[derive(Debug, Default)]
struct Beds {
    sleepers: Slab<(u32, Sleeper)>,
    /// Of the one that was laid down last: an event is for nobody else who has the same bed later.
    number: u32,
}

impl Dormitory {
    /// An empty one, for sessions that have said nothing for so long.
    ///
    /// # Errors
    ///
    /// Fails when the process or its node has no descriptor or memory left.
    pub fn new(after: Duration) -> io::Result<Self> {
        Ok(Self {
            after,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            beds: Mutex::default(),
        })
    }

    /// For how long a session must have said nothing.
    #[must_use]
    pub fn after(&self) -> Duration {
        self.after
    }

    /// How many sleep.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.lock().sleepers.len()
    }

    /// Lays one down.
    ///
    /// # Errors
    ///
    /// Gives it back when it must end, or the system cannot watch its connections.
    pub fn lay_down(&self, sleeper: Sleeper) -> Result<(), Box<Sleeper>> {
        let mut beds = self.lock();
        if sleeper.ticket.is_cut() {
            return Err(Box::new(sleeper));
        }
        beds.number = beds.number.wrapping_add(1);
        let number = beds.number;
        let bed = beds.sleepers.vacant_entry();
        let Ok(place) = u32::try_from(bed.key()) else {
            return Err(Box::new(sleeper));
        };
        let mark = EventData::new_u64(u64::from(number) << 32 | u64::from(place));
        let add = |socket| epoll::add(&self.epoll, socket, mark, ANYTHING);
        let added = sleeper.sockets().into_iter().try_for_each(add);
        if let Err(error) = added {
            debug!(%error, "a session cannot sleep");
            self.forget(&sleeper);
            return Err(Box::new(sleeper));
        }
        bed.insert((number, sleeper));
        Ok(())
    }

    /// Takes out those to whom this applies. Whatever is still told of their connections is for nobody.
    pub fn take(&self, mut applies: impl FnMut(&Sleeper) -> bool) -> Vec<Sleeper> {
        let mut beds = self.lock();
        let all = beds.sleepers.iter();
        let chosen: Vec<_> = all
            .filter_map(|(place, (_, sleeper))| applies(sleeper).then_some(place))
            .collect();
        let taken = chosen.into_iter().map(|place| beds.sleepers.remove(place).1);
        let taken = taken.collect();
        beds.tidy();
        taken
    }

    /// Takes out those who have said nothing for as long as is allowed, and tells when the next one will be idle.
    pub fn take_idle(&self, allowed: Duration) -> (Vec<Sleeper>, Option<Instant>) {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let idle = self.take(|sleeper| {
            let Some(at) = sleeper.ticket.idle_at(allowed) else {
                return false;
            };
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
            at <= now
        });
        (idle, next)
    }

    /// Hands over each session to whose connections something has happened, for as long as this is polled.
    ///
    /// # Errors
    ///
    /// Fails when the system does not tell of events any more.
    pub async fn watch(&self, wake: impl Fn(Sleeper)) -> io::Result<()> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe code, for types that may close what they lend; this one cannot"
        )]
        let readiness = AsyncFd::with_interest(self.epoll.as_fd(), Interest::READABLE)?;
        loop {
            let mut ready = readiness.readable().await?;
            let (woken, all) = self.woken()?;
            if all {
                // What comes later is an event of the epoll instance's own.
                ready.clear_ready();
            }
            woken.into_iter().for_each(&wake);
        }
    }

    /// Takes out those to whose connections something has happened, and says whether these were all.
    fn woken(&self) -> io::Result<(Vec<Sleeper>, bool)> {
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        let (events, _) = epoll::wait(&self.epoll, &mut events, Some(&Timespec::default()))?;
        let mut woken = Vec::new();
        let mut beds = self.lock();
        for event in &*events {
            let mark = event.data.u64();
            let (number, place) = (mark >> 32, mark & u64::from(u32::MAX));
            let Ok(place) = usize::try_from(place) else {
                continue;
            };
            let lies_there = beds.sleepers.get(place);
            if lies_there.is_some_and(|(there, _)| u64::from(*there) == number) {
                woken.push(beds.sleepers.remove(place).1);
            }
        }
        beds.tidy();
        drop(beds);
        for sleeper in &woken {
            self.forget(sleeper);
        }
        Ok((woken, events.len() < EVENTS))
    }

    /// Has nothing told of its connections any more.
    fn forget(&self, sleeper: &Sleeper) {
        for socket in sleeper.sockets() {
            // One that was not added is not there.
            let _ = epoll::delete(&self.epoll, socket);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Beds> {
        // No step under the lock leaves the table half changed.
        self.beds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beds {
    /// An empty table keeps no memory.
    fn tidy(&mut self) {
        if self.sleepers.is_empty() {
            self.sleepers = Slab::new();
        }
    }
}
