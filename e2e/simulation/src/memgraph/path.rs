//! The paths between places: how long a packet takes, and what keeps it from arriving.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Place, command::Command};

/// How long a packet takes at the least.
const LATENCY: Duration = Duration::from_micros(60);
/// By how much longer it can take.
const JITTER: Duration = Duration::from_micros(200);

/// The packets of one direction: from one place to another, on connections to one port. What is left out is any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Path {
    /// Who sends.
    pub from: Option<Place>,
    /// Who receives.
    pub to: Option<Place>,
    /// The port that the connection was made to, in both directions.
    pub port: Option<u16>,
}

impl Path {
    /// Everything from one place to another.
    pub fn between(from: Place, to: Place) -> Self {
        Self {
            from: Some(from),
            to: Some(to),
            port: None,
        }
    }

    /// Everything that a place sends.
    pub fn from(place: Place) -> Self {
        Self {
            from: Some(place),
            ..Self::default()
        }
    }

    /// Everything that a place is sent.
    pub fn to(place: Place) -> Self {
        Self {
            to: Some(place),
            ..Self::default()
        }
    }

    /// Of these, only what belongs to connections to one port.
    #[must_use]
    pub fn on(self, port: u16) -> Self {
        Self {
            port: Some(port),
            ..self
        }
    }

    pub(super) fn contains(&self, from: Place, to: Place, port: u16) -> bool {
        self.from.is_none_or(|it| it == from)
            && self.to.is_none_or(|it| it == to)
            && self.port.is_none_or(|it| it == port)
    }
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Packets vanish. What is sent on a connection is sent again, at growing intervals, until it gets through.
    Drop,
    /// Attempts to connect are refused; connections that are open go on.
    Refuse,
    /// Packets take longer.
    Slow {
        /// By at least this.
        by: Duration,
        /// And up to this more.
        jitter: Duration,
    },
}

/// Names a trouble that was made, so that it can be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TroubleId(u64);

/// The paths as programs may use them for what they say outside of connections.
#[derive(Debug, Clone)]
pub struct Paths {
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

impl Paths {
    /// Completes when a message would arrive that is sent now, on what belongs to a connection to this port. One that
    /// cannot get through is sent again at growing intervals. To give up, drop it.
    pub async fn travel(&self, from: Place, to: Place, port: u16) {
        let (arrived, arrival) = oneshot::channel();
        let command = Command::Travel {
            from,
            to,
            port,
            arrived,
        };
        if self.commands.send(command).is_err() || arrival.await.is_err() {
            // The world has ended: nothing arrives any more.
            std::future::pending::<()>().await;
        }
    }
}

/// All troubles that there are.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    troubles: Vec<(TroubleId, Path, Trouble)>,
    last: u64,
}

impl Troubles {
    pub(super) fn trouble(&mut self, path: Path, trouble: Trouble) -> TroubleId {
        self.last += 1;
        let id = TroubleId(self.last);
        self.troubles.push((id, path, trouble));
        id
    }

    pub(super) fn end(&mut self, id: TroubleId) {
        self.troubles.retain(|(known, ..)| *known != id);
    }

    pub(super) fn end_all(&mut self) {
        self.troubles.clear();
    }

    /// Whether packets get through.
    pub(super) fn is_open(&self, from: Place, to: Place, port: u16) -> bool {
        !self.has(from, to, port, |trouble| trouble == Trouble::Drop)
    }

    /// Whether attempts to connect are refused.
    pub(super) fn refuses(&self, from: Place, to: Place, port: u16) -> bool {
        self.has(from, to, port, |trouble| trouble == Trouble::Refuse)
    }

    fn has(&self, from: Place, to: Place, port: u16, wanted: impl Fn(Trouble) -> bool) -> bool {
        let mut troubles = self.troubles.iter();
        troubles.any(|(_, path, trouble)| wanted(*trouble) && path.contains(from, to, port))
    }

    /// How long a packet takes where nothing is wrong.
    pub(super) fn plain_delay(random: &mut fastrand::Rng) -> Duration {
        LATENCY + up_to(JITTER, random)
    }

    /// How long a packet takes.
    pub(super) fn delay(&self, from: Place, to: Place, port: u16, random: &mut fastrand::Rng) -> Duration {
        let mut delay = Self::plain_delay(random);
        for (_, path, trouble) in &self.troubles {
            if let Trouble::Slow { by, jitter } = trouble
                && path.contains(from, to, port)
            {
                delay += *by + up_to(*jitter, random);
            }
        }
        delay
    }
}

/// A random duration.
pub(super) fn up_to(limit: Duration, random: &mut fastrand::Rng) -> Duration {
    let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random.u64(..=micros))
}
