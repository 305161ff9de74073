//! Who may talk to which instance at this moment, and the fence that ends it.
//!
//! Every target has one [`Line`] while it may be used, and every session holds a [`Ticket`] of its line from
//! before it dials until after both of its connections are reset. That gives the fence its proof:
//!
//! 1. A ticket is handed out under the same lock under which [`Gate::cut_all_but`] takes a line out of use. So
//!    each ticket of a line is either counted before the line is closed, or never made.
//! 2. [`Gate::cut_all_but`] then wakes every session of the line, ends those that [sleep](super::dormitory) itself, and waits until
//!    no ticket is left. The line is remembered until then, so that every other call meanwhile waits for it as well: the enforcer
//!    of routes and the end of the gateway both call, and neither may take what the other one is cutting for gone. A session gives its ticket back only after it has reset both connections or dropped their sockets, which
//!    resets them too, also when it is cancelled or panics (see `session::Session`). Either leaves no byte that could still be sent
//!    (see `socket`).
//! 3. So when `cut_all_but` returns, no session of a former route exists, and nothing can be passed on any more.
//!
//! A line whose route is paused ([`Routes::paused`]) is out of use too, but its sessions stay: `cut_all_but` holds their bytes
//! instead ([`Flow`](super::flow::Flow)), and when it returns none of them moves. The line is used again by [`Gate::open`] with
//! the same target, or is cut by the next `cut_all_but` that does not have it. Nobody enters it meanwhile; who had entered
//! before, and has not passed anything yet, finds its bytes held like all others.
//!
//! A line that leads to MAIN has a [`Clearance`] besides, which ends by itself: a gateway that is not told to cut, because
//! nobody reaches it or because it is frozen, passes nothing after that moment all the same.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    clearance::Clearance,
    dormitory::Dormitory,
    figures::Fences,
    instances::Instances,
    keeper::Keeper,
    limit::{Limit, Permit},
    line::{Line, Ticket},
    patience::Patience,
    reach::Incident,
    routes::{Duty, Limits, Preference, ReadOffer, Routes, Standing, Target},
    sleeper,
    statistics::Ending,
};
use crate::grants::SessionCounts;

/// By which port a session came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The one that leads to MAIN.
    ReadWrite,
    /// The one that leads to replicas.
    Read,
}

#[derive(Debug)]
struct ReadLine {
    line: Arc<Line>,
    preference: Preference,
    accepts_new: bool,
}

#[derive(Debug, Default)]
struct Lines {
    read_write: Option<Arc<Line>>,
    read: Vec<ReadLine>,
    /// Out of use for a moment, by the port that they belong to: no byte of their sessions moves.
    paused: Vec<(Port, Arc<Line>)>,
    /// Out of use for good, and not known to be without sessions yet.
    cutting: Vec<Arc<Line>>,
    /// Those of the spec, once it has been seen.
    limits: Limits,
    is_seen: bool,
}

impl Lines {
    /// Takes a line that was paused.
    fn resumed(&mut self, port: Port, target: &Target) -> Option<Arc<Line>> {
        let at = self
            .paused
            .iter()
            .position(|(of, line)| *of == port && line.target == *target)?;
        Some(self.paused.swap_remove(at).1)
    }

    /// Forgets the lines that were cut and have no session any more. They get none: nobody enters what is out of use.
    fn forget_cut(&mut self) {
        self.cutting.retain(|line| !line.sessions.is_empty());
    }
}

/// The lines that are in use.
#[derive(Debug)]
pub struct Gate {
    lines: Mutex<Lines>,
    keeper: Arc<Keeper>,
    read_write_limit: Arc<Limit>,
    read_limit: Arc<Limit>,
    held_limit: Arc<Limit>,
    /// How long it took to close the way to a MAIN.
    fences: Fences,
    idle_timeout: watch::Sender<Duration>,
    /// Marked changed whenever a line may have been put into use.
    opened: watch::Sender<()>,
    /// Done when no line will be put into use any more; set under the lock of the lines.
    ended: CancellationToken,
    /// None: TLS does not end here, and what clients say is passed on as it is.
    instances: Option<Arc<Instances>>,
    /// None: no session sleeps.
    dormitory: Option<Dormitory>,
}

impl Gate {
    /// A gate with no line, whose lines to MAIN end by the clock of `keeper`.
    #[must_use]
    pub fn new(keeper: Arc<Keeper>) -> Self {
        let limits = Limits::default();
        Self {
            lines: Mutex::default(),
            keeper,
            read_write_limit: Limit::new(limits.read_write),
            read_limit: Limit::new(limits.read),
            held_limit: Limit::new(limits.held),
            fences: Fences::default(),
            idle_timeout: watch::Sender::new(limits.idle_timeout),
            opened: watch::Sender::default(),
            ended: CancellationToken::new(),
            instances: None,
            dormitory: None,
        }
    }

    /// The same, where sessions sleep that say nothing for a while.
    #[must_use]
    pub fn with_dormitory(self, dormitory: Dormitory) -> Self {
        Self {
            dormitory: Some(dormitory),
            ..self
        }
    }

    /// The same, where TLS with clients ends: instances that take TLS only are spoken to so.
    #[must_use]
    pub fn encrypting(self, instances: Arc<Instances>) -> Self {
        Self {
            instances: Some(instances),
            ..self
        }
    }

    /// By what to know the instance of this target; none: it is sent what clients say, as it is.
    #[must_use]
    pub fn encryption(&self, target: &Target) -> Option<&Instances> {
        let instances = self.instances.as_deref()?;
        self.keeper.is_encrypted(target.address).then_some(instances)
    }

    /// Counts one more session at this port, unless it has as many as the spec allows.
    #[must_use]
    pub fn admit(&self, port: Port) -> Option<Permit> {
        match port {
            Port::ReadWrite => self.read_write_limit.admit(),
            Port::Read => self.read_limit.admit(),
        }
    }

    /// Counts one more client that waits for a MAIN, unless as many do as the spec allows.
    #[must_use]
    pub fn hold(&self) -> Option<Permit> {
        self.held_limit.admit()
    }

    /// Is marked changed whenever [`Gate::enter`] may find what it did not find before, and when the bounds become known.
    #[must_use]
    pub fn opened(&self) -> watch::Receiver<()> {
        self.opened.subscribe()
    }

    /// Lets nobody wait any more. From now on no line is put into use.
    pub fn end(&self) {
        let _lines = self.lock();
        self.ended.cancel();
    }

    /// Ends when nothing is worth waiting for any more.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Takes note of what became of a connection to this target, if that says anything of it.
    pub fn note(&self, target: &Target, incident: impl Into<Option<Incident>>) {
        if let (Duty::Main { since }, Some(incident)) = (target.duty, incident.into()) {
            self.keeper.note(since, incident);
        }
    }

    /// The right to use the best target of this port, except those in `tried`; None when there is no other.
    ///
    /// Readers go to the most preferred kind of instance that there is, and there to the one with the fewest.
    #[must_use]
    pub fn enter(&self, port: Port, tried: &[Target]) -> Option<Ticket> {
        let lines = self.lock();
        let line = match port {
            Port::ReadWrite => lines
                .read_write
                .as_ref()
                .filter(|line| !tried.contains(&line.target))?,
            Port::Read => {
                let usable = lines
                    .read
                    .iter()
                    .filter(|r| r.accepts_new && !tried.contains(&r.line.target));
                &usable.min_by_key(|r| (r.preference, r.line.sessions.len()))?.line
            }
        };
        // Still under the lock: see the first point of the module's documentation.
        Some(Ticket::of(line))
    }

    /// Whether the bounds in force are those of the spec. Until they are, nobody can tell who may come.
    #[must_use]
    pub fn knows_its_bounds(&self) -> bool {
        self.lock().is_seen
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.lock().limits.clone()
    }

    /// For how long a session may pass nothing.
    pub(super) fn idle_timeout(&self) -> watch::Receiver<Duration> {
        self.idle_timeout.subscribe()
    }

    /// The lines that are in use, those that are paused not among them.
    pub(super) fn in_use(&self) -> Vec<Arc<Line>> {
        let lines = self.lock();
        let of_readers = lines.read.iter().map(|r| &r.line);
        lines
            .read_write
            .iter()
            .chain(of_readers)
            .map(Arc::clone)
            .collect()
    }

    /// Where sessions sleep; none: they never do.
    pub(super) fn dormitory(&self) -> Option<&Dormitory> {
        self.dormitory.as_ref()
    }

    /// Number of sessions that hold a ticket of a line that is in use or paused.
    #[must_use]
    pub fn sessions(&self) -> SessionCounts {
        let lines = self.lock();
        let paused = |port: Port| {
            let of_port = lines.paused.iter().filter(move |(of, _)| *of == port);
            of_port.map(|(_, line)| line.sessions.len()).sum::<usize>()
        };
        let (writers, readers) = (paused(Port::ReadWrite), paused(Port::Read));
        let read: usize = lines.read.iter().map(|r| r.line.sessions.len()).sum();
        SessionCounts {
            read_write: writers + lines.read_write.as_ref().map_or(0, |line| line.sessions.len()),
            read: readers + read,
            held: self.held_limit.used(),
            paused: writers + readers,
        }
    }

    /// For how long the client of MAIN that has waited for longest has had no byte of it after it had said something; none:
    /// nobody waits.
    #[must_use]
    pub fn longest_wait(&self) -> Option<Duration> {
        self.lock().read_write.as_ref()?.patience.longest()
    }

    /// Takes every line out of use that `routes` does not have, cuts its sessions, and waits until they are gone, and those of lines
    /// that another call is still cutting; of a line that `routes` pauses, no byte moves any more. Returns how many this call has
    /// cut. Opens nothing.
    pub async fn cut_all_but(&self, routes: &Routes) -> usize {
        let begun = Instant::now();
        let (unwanted, cutting) = self.take_unwanted(routes);
        let sessions = unwanted.iter().map(|line| line.sessions.len()).sum();
        // First all are woken, then all are waited for.
        for line in &cutting {
            line.cut.cancel();
        }
        if let Some(dormitory) = &self.dormitory {
            sleeper::end_all(
                dormitory.take(|sleeper| sleeper.ticket.is_of(&cutting)),
                Ending::Cut,
            );
        }
        for line in &cutting {
            line.sessions.close();
            line.sessions.wait().await;
        }
        self.lock().forget_cut();
        if unwanted
            .iter()
            .any(|line| matches!(line.target.duty, Duty::Main { .. }))
        {
            self.fences.note(begun.elapsed());
        }
        sessions
    }

    /// How long it took to close the way to a MAIN, each time, until the last of its sessions was gone.
    #[must_use]
    pub fn fences(&self) -> &Fences {
        &self.fences
    }

    /// Puts the lines into use that `routes` has, and its bounds. Those in use already go on as they are; bytes of those that
    /// were paused move again.
    ///
    /// To be called after [`Gate::cut_all_but`] with the same routes, so that sessions of two routes never exist
    /// at the same time. After [`Gate::end`] it does nothing.
    pub fn open(&self, routes: &Routes) {
        let mut lines = self.lock();
        if self.ended.is_cancelled() {
            return;
        }
        let present = lines.read_write.take();
        let writers = routes.read_write.as_ref().map(|target| {
            present
                .filter(|line| line.target == *target)
                .or_else(|| lines.resumed(Port::ReadWrite, target))
                .unwrap_or_else(|| self.line(target))
        });
        lines.read_write = writers;
        let present = std::mem::take(&mut lines.read);
        let readers = routes.read.iter();
        let readers = readers
            .map(|offer| self.read_line(offer, &present, &mut lines))
            .collect();
        lines.read = readers;
        let of_readers = lines.read.iter().map(|r| &r.line);
        for line in lines.read_write.iter().chain(of_readers) {
            if let Some(until) = routes.granted_until {
                let free_until = routes.free_until.unwrap_or(until);
                line.clearance.extend(routes.term, until, free_until);
            }
            // After that: what was held passes under the new grant. Lines that were not paused are let be: to release one has
            // its copies wait for a moment.
            if line.clearance.flow().is_held() {
                line.patience.begin_anew();
                line.clearance.flow().release();
            }
        }
        lines.limits = routes.limits.clone();
        lines.is_seen = routes.standing != Standing::Unseen;
        self.read_write_limit.set_max(routes.limits.read_write);
        self.read_limit.set_max(routes.limits.read);
        self.held_limit.set_max(routes.limits.held);
        drop(lines);
        self.idle_timeout.send_if_modified(|present| {
            let changed = *present != routes.limits.idle_timeout;
            *present = routes.limits.idle_timeout;
            changed
        });
        self.opened.send_replace(());
    }

    fn line(&self, target: &Target) -> Arc<Line> {
        Arc::new(Line {
            target: target.clone(),
            clearance: match target.duty {
                Duty::Main { since } => {
                    Clearance::ended(self.keeper.clock(), since, self.keeper.attestation())
                }
                Duty::Replica => Clearance::endless(),
            },
            patience: Patience::new(self.keeper.clock()),
            cut: CancellationToken::new(),
            sessions: TaskTracker::new(),
        })
    }

    fn read_line(&self, offer: &ReadOffer, present: &[ReadLine], lines: &mut Lines) -> ReadLine {
        let line = present.iter().find(|r| r.line.target == offer.target);
        ReadLine {
            line: line
                .map(|r| Arc::clone(&r.line))
                .or_else(|| lines.resumed(Port::Read, &offer.target))
                .unwrap_or_else(|| self.line(&offer.target)),
            preference: offer.preference,
            accepts_new: offer.accepts_new,
        }
    }

    /// The lines that are to be cut by this call, and all that are being cut, these among them. Those that are to be paused are so
    /// when this returns.
    fn take_unwanted(&self, routes: &Routes) -> (Vec<Arc<Line>>, Vec<Arc<Line>>) {
        let mut lines = self.lock();
        let mut unwanted = std::mem::take(&mut lines.paused);
        if lines.read_write.as_ref().map(|line| &line.target) != routes.read_write.as_ref() {
            unwanted.extend(lines.read_write.take().map(|line| (Port::ReadWrite, line)));
        }
        lines.read.retain(|r| {
            let wanted = routes.read.iter().any(|offer| offer.target == r.line.target);
            if !wanted {
                unwanted.push((Port::Read, Arc::clone(&r.line)));
            }
            wanted
        });
        let goes_on = |port: Port, line: &Line| match port {
            Port::ReadWrite => routes.read_write.as_ref() == Some(&line.target),
            Port::Read => routes.read.iter().any(|offer| offer.target == line.target),
        };
        let stays = |(port, line): &(Port, Arc<Line>)| {
            routes.paused.as_ref() == Some(&line.target) || goes_on(*port, line)
        };
        let (paused, unwanted): (Vec<_>, Vec<_>) = unwanted.into_iter().partition(stays);
        for (_, line) in &paused {
            line.clearance.flow().hold();
        }
        lines.paused = paused;
        let unwanted: Vec<_> = unwanted.into_iter().map(|(_, line)| line).collect();
        lines.forget_cut();
        lines.cutting.extend(unwanted.iter().map(Arc::clone));
        (unwanted, lines.cutting.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // No step under the lock leaves the lines half changed, so a panic elsewhere under it spoils nothing.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
