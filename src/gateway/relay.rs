//! Passes bytes between two connections, both ways, until both have ended.

use std::{
    cell::RefCell,
    io,
    net::Shutdown,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::try_join;
use socket2::SockRef;
use tokio::{net::TcpStream, time::Instant};

use super::{
    clearance::{Clearance, Leave},
    peer::Peer,
    socket,
    statistics::Direction,
    traffic::Traffic,
};

/// The most that is taken from one side before the other side has it. With 16 KiB a big result costs up to twice the CPU time
/// (`docs/benchmarks.md`).
pub(super) const CHUNK: usize = 64 * 1024;

/// How many chunks of an answer are passed on at most when a session is cut: an instance that has ever more to say must not
/// hold a fence up.
const DRAINED_CHUNKS: usize = 4;

/// How long an ended session may take to have its last bytes acknowledged.
const FINISH_DEADLINE: Duration = Duration::from_secs(20);
const FINISH_FIRST_LOOK: Duration = Duration::from_millis(1);
const FINISH_LOOK_AT_MOST: Duration = Duration::from_millis(250);

thread_local! {
    /// One buffer serves all sessions of a thread, because bytes are read and written without a pause between.
    /// A session has memory of its own only for what its peer does not take at once.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// What one attempt to pass bytes came to.
enum Passed {
    /// Nothing was there to read.
    Nothing,
    /// Bytes are held, and nothing was read.
    Held,
    /// All that was read was written.
    All,
    /// This rest was read, but the other side did not take it; where it is empty, something that it took is unsent.
    Except(Vec<u8>),
    /// The sender has ended its half.
    End,
}

/// How a session's bytes came to their end.
#[derive(Debug)]
pub enum Ended {
    /// Both directions have ended, and both peers have everything.
    Finished,
    /// The leave to pass bytes has ended.
    Expired,
    /// The client's connection broke, or it does not take its last bytes.
    ByClient(io::Error),
    /// The instance's connection broke, or the instance has ended its half of it first.
    ByInstance(Option<io::Error>),
}

/// Which of the two connections something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Instance,
}

/// Whether it is attested that MAIN's replicas were there after certain bytes had come from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attested {
    Yes,
    No,
}

/// Why a direction came to no good end.
#[derive(Debug)]
enum Fault {
    Expired,
    Broken(Side, io::Error),
}

/// A session whose bytes are passed both ways.
pub struct Relay<'a, C, I> {
    client: &'a C,
    instance: &'a I,
    clearance: &'a Clearance,
    traffic: Traffic<'a>,
    /// The instance has said something that the client has not taken yet.
    behind: AtomicBool,
    /// Which directions wait for nothing but the next byte of their sender, by [`Side`].
    at_rest: [AtomicBool; 2],
    /// Who has ended its half first.
    ended_by: OnceLock<Side>,
}

impl<'a, C: Peer, I: Peer> Relay<'a, C, I> {
    /// A session between these two. Each copy needs the `clearance`, and is noted in `traffic`.
    pub fn new(client: &'a C, instance: &'a I, clearance: &'a Clearance, traffic: Traffic<'a>) -> Self {
        Self {
            client,
            instance,
            clearance,
            traffic,
            behind: AtomicBool::new(false),
            at_rest: Default::default(),
            ended_by: OnceLock::new(),
        }
    }

    /// Passes bytes both ways. When one side ends its half, so does the other towards its peer, and the opposite direction
    /// goes on. Returns when both directions have ended and both peers have everything, or when that cannot be any more.
    pub async fn run(&self) -> Ended {
        // Not by a variable: a future that is moved takes its place twice.
        match try_join(
            self.pass(Side::Client, self.client, self.instance),
            self.pass(Side::Instance, self.instance, self.client),
        )
        .await
        {
            Ok(_) => {}
            Err(Fault::Expired) => return Ended::Expired,
            Err(Fault::Broken(Side::Client, error)) => return Ended::ByClient(error),
            Err(Fault::Broken(Side::Instance, error)) => return Ended::ByInstance(Some(error)),
        }
        let deadline = Instant::now() + FINISH_DEADLINE;
        // Apart, since it has a timer, and is soon over.
        if let Err(error) = Box::pin(finish(self.client.socket(), deadline)).await {
            return Ended::ByClient(error);
        }
        if let Err(error) = Box::pin(finish(self.instance.socket(), deadline)).await {
            return Ended::ByInstance(Some(error));
        }
        match self.ended_by.get() {
            Some(Side::Instance) => Ended::ByInstance(None),
            _ => Ended::Finished,
        }
    }

    /// Passes on what the instance has said up to now and the client takes at once: the answer to a COMMIT must not be lost
    /// for the only reason that a planned change began while it was here. Nothing is taken from the client any more. To be
    /// called after [`Self::run`] was given up, before the end of the route is acknowledged.
    ///
    /// It passes nothing while bytes are held, since MAIN may have said it without a replica that holds the same, and nothing
    /// that would have to be attested first.
    pub fn drain(&self) {
        // Otherwise a part of what was said before is lost already.
        if self.behind.load(Ordering::Relaxed) {
            return;
        }
        for _ in 0..DRAINED_CHUNKS {
            let read = |buffer: &mut [u8]| self.instance.read_last(buffer);
            match self.copy(Side::Instance, self.client, read) {
                Ok(Passed::All) => {}
                _ => return,
            }
        }
    }

    /// Whether everything that was read has been written, and neither side has ended its half, so that nothing is known here which the
    /// two connections do not know. True only between two polls of [`Self::run`].
    pub fn is_at_rest(&self) -> bool {
        self.at_rest.iter().all(|rests| rests.load(Ordering::Relaxed))
    }

    /// Passes bytes one way until the sender has ended its half. Waits that hardly any session has are boxed, so that all others
    /// do without the memory for them.
    fn pass<'b>(
        &'b self,
        from: Side,
        sender: &'b impl Peer,
        taker: &'b impl Peer,
    ) -> impl Future<Output = Result<(), Fault>> + Send + 'b {
        let to = from.other();
        async move {
            loop {
                self.rests(from, true);
                sender.readable().await.map_err(|e| Fault::Broken(from, e))?;
                self.rests(from, false);
                match self.copy(from, taker, |buffer| sender.read_now(buffer))? {
                    Passed::Nothing | Passed::All => {}
                    Passed::Held => Box::pin(self.clearance.flow().released()).await,
                    Passed::Except(rest) => {
                        self.is_behind(from, true);
                        Box::pin(self.write_all(to, taker, rest)).await?;
                        self.is_behind(from, false);
                    }
                    Passed::End => break,
                }
                // A sender that is never out of data must not keep its thread from other sessions, nor from a cut.
                tokio::task::consume_budget().await;
            }
            let _first_only = self.ended_by.set(from);
            taker.say_end();
            if taker.has_unsent() {
                Box::pin(self.write_all(to, taker, Vec::new())).await?;
            }
            SockRef::from(taker.socket())
                .shutdown(Shutdown::Write)
                .map_err(|e| Fault::Broken(to, e))
        }
    }

    fn rests(&self, from: Side, rests: bool) {
        self.at_rest[from as usize].store(rests, Ordering::Relaxed);
    }

    fn is_behind(&self, from: Side, behind: bool) {
        if from == Side::Instance {
            self.behind.store(behind, Ordering::Relaxed);
        }
    }

    fn copy(
        &self,
        from: Side,
        taker: &impl Peer,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Result<Passed, Fault> {
        let passed = self.clearance.flow().pass(|| self.copy_now(from, taker, read));
        passed.unwrap_or(Ok(Passed::Held))
    }

    fn copy_now(
        &self,
        from: Side,
        taker: &impl Peer,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Result<Passed, Fault> {
        let to = from.other();
        SCRATCH.with_borrow_mut(|buffer| {
            let read = match read(buffer) {
                Ok(0) => return Ok(Passed::End),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Passed::Nothing),
                Err(error) => return Err(Fault::Broken(from, error)),
            };
            let written = self.write(to, taker, &buffer[..read], Attested::No)?;
            Ok(if written == read && !taker.has_unsent() {
                Passed::All
            } else {
                Passed::Except(buffer[written..read].to_vec())
            })
        })
    }

    /// Writes what is taken at once, and nothing that must be attested first.
    fn write(&self, to: Side, taker: &impl Peer, bytes: &[u8], attested: Attested) -> Result<usize, Fault> {
        // Right before each write, in both directions: what was read in time is not passed on too late.
        match self.clearance.leave() {
            Leave::Over => return Err(Fault::Expired),
            Leave::Attested if to == Side::Client && attested == Attested::No => return Ok(0),
            Leave::Attested | Leave::Free => {}
        }
        match taker.write_now(bytes) {
            // Of what was taken before something has been sent.
            Ok(0) => Ok(0),
            Ok(written) => {
                self.traffic.passed(to.direction(), written);
                Ok(written)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(Fault::Broken(to, error)),
        }
    }

    /// Nothing more is read while this waits, so a peer that does not read holds up its sender, and no memory grows.
    async fn write_all(&self, to: Side, taker: &impl Peer, rest: Vec<u8>) -> Result<(), Fault> {
        let mut rest = &rest[..];
        let mut attested = Attested::No;
        while !rest.is_empty() || taker.has_unsent() {
            if to == Side::Client && attested == Attested::No && self.clearance.leave() == Leave::Attested {
                self.clearance.attested().await;
                attested = Attested::Yes;
            }
            taker
                .socket()
                .writable()
                .await
                .map_err(|e| Fault::Broken(to, e))?;
            match self
                .clearance
                .flow()
                .pass(|| self.write(to, taker, rest, attested))
            {
                Some(written) => rest = &rest[written?..],
                None => self.clearance.flow().released().await,
            }
        }
        Ok(())
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Instance,
            Self::Instance => Self::Client,
        }
    }

    /// Which way bytes go that go there.
    fn direction(self) -> Direction {
        match self {
            Self::Client => Direction::Down,
            Self::Instance => Direction::Up,
        }
    }
}

/// Waits until the peer has acknowledged everything. Until then the session must stay: its socket still holds
/// bytes, and would send them even after a fence if it were simply let go.
///
/// Linux has no event for this (see [`socket::is_finished`]), hence the looks at growing intervals. The first
/// usually succeeds.
async fn finish(stream: &TcpStream, deadline: Instant) -> io::Result<()> {
    let mut pause = FINISH_FIRST_LOOK;
    while !socket::is_finished(stream) {
        if Instant::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the last bytes of the session were not acknowledged",
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(FINISH_LOOK_AT_MOST);
    }
    Ok(())
}
