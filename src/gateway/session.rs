//! One session: from an accepted connection to its end.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    task::yield_now,
    time::{Instant, timeout},
};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::debug;

use super::{
    gate::{Gate, Port},
    hold::wait_for_route,
    limit::Permit,
    line::Ticket,
    patience::Told,
    peer::{Peer, Wire},
    reach::Incident,
    relay::{Ended, Relay},
    silence::lay_down,
    sleeper::Sleeper,
    socket,
    statistics::{Begun, Ending, Refusal, Statistics},
    traffic::Traffic,
};
use crate::{exhaustion::is_out_of_resources, memgraph::tls::is_untrusted};

/// How soon the same MAIN is tried again: some failures come at once.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Where a client comes from.
#[derive(Debug)]
pub struct Origin {
    /// The port at which it was accepted.
    pub port: Port,
    /// Its address, as the connection shows it or a load balancer names it.
    pub address: SocketAddr,
    /// The port's counters.
    pub statistics: Arc<Statistics>,
}

/// What a client occupies from when it was accepted: dropping it makes room for another one.
#[derive(Debug)]
pub struct Place {
    _permit: Permit,
    _counted: TaskTrackerToken,
}

impl Place {
    /// Among those that may be there, and among those whose end is waited for.
    #[must_use]
    pub fn new(permit: Permit, counted: TaskTrackerToken) -> Self {
        Self {
            _permit: permit,
            _counted: counted,
        }
    }
}

/// A client on its way to an instance.
///
/// Fields are dropped in the order in which they are declared, in whichever way the session ends. The ticket
/// comes last: giving it back says that the connections are reset.
#[derive(Debug)]
struct Way {
    upstream: Option<Wire>,
    client: Wire,
    ticket: Ticket,
}

/// Why a client was not connected to an instance.
#[derive(Debug)]
struct Unconnected {
    error: io::Error,
    /// It may be otherwise in a moment, for all that this error says.
    passing: bool,
}

/// A client that was led to an instance.
#[derive(Debug)]
pub struct Session {
    way: Way,
    client: SocketAddr,
    begun: Begun,
    gate: Arc<Gate>,
    place: Place,
}

/// Leads a client to an instance. Holds it while there is none, and resets it when none comes: then there is no session.
///
/// What it needs for that is worth memory of its own, of which a session that has begun is rid.
pub async fn lead(gate: Arc<Gate>, origin: Origin, client: Wire, place: Place) -> Option<Session> {
    match find_way(&gate, &origin, client).await {
        Ok(way) => {
            // Until now it could say nothing.
            way.ticket.wait().begin_anew();
            Some(Session {
                way,
                client: origin.address,
                begun: origin.statistics.begin(),
                gate,
                place,
            })
        }
        Err(refusal) => {
            origin.statistics.refuse(refusal, Some(origin.address));
            None
        }
    }
}

/// Connects it.
///
/// # Errors
///
/// Fails when the client was led nowhere.
async fn find_way(gate: &Gate, origin: &Origin, client: Wire) -> Result<Way, Refusal> {
    let port = origin.port;
    let since = Instant::now();
    let mut client = client;
    let mut tried = Vec::new();
    loop {
        let (waiting, ticket) = match gate.enter(port, &tried) {
            Some(ticket) => (client, ticket),
            None => wait_for_route(gate, port, client, &tried, since).await?,
        };
        let mut way = Way {
            upstream: None,
            client: waiting,
            ticket,
        };
        let target = way.ticket.target().clone();
        let connected = way.connect(gate).await;
        match &connected {
            Some(Ok(())) => return Ok(way),
            Some(Err(Unconnected { error, .. })) => {
                origin.statistics.fail_connect();
                debug!(?port, ?target, %error, "cannot connect");
                if is_out_of_resources(error) {
                    return Err(Refusal::OutOfResources);
                }
            }
            // The client was told nothing yet, so that another MAIN is as good for it, and so is this one if it leads again.
            None => debug!(?port, ?target, "the route has ended before the session began"),
        }
        let again = match connected {
            Some(Err(why)) => {
                let again = is_tried_again(gate, port, &why, since);
                if again {
                    let _cut = timeout(TRY_AGAIN, way.ticket.cut()).await;
                }
                again
            }
            _ => true,
        };
        // The ticket goes back while the client waits.
        let Way { client: unserved, .. } = way;
        client = unserved;
        if !again {
            tried.push(target);
        } else if socket::has_gone(client.socket()) {
            return Err(Refusal::Gone);
        }
    }
}

/// Whether the same instance is worth another try for this client. There is no other MAIN while a term goes on, and a single
/// segment that is lost on the way to it keeps it silent for a second, about as long as one try lasts. Readers are led elsewhere.
fn is_tried_again(gate: &Gate, port: Port, why: &Unconnected, since: Instant) -> bool {
    port == Port::ReadWrite && why.passing && since.elapsed() < gate.limits().hold_timeout
}

impl Session {
    /// One that has slept.
    ///
    /// # Errors
    ///
    /// Fails when the runtime cannot take its connections. They are reset.
    pub fn awake(sleeper: Sleeper, gate: Arc<Gate>) -> io::Result<Self> {
        // The ticket first, so that it is given back last where this fails: not before the connections are reset.
        let Sleeper {
            ticket,
            upstream,
            client,
            address,
            begun,
            place,
        } = sleeper;
        let upstream = TcpStream::from_std(upstream)?;
        let client = TcpStream::from_std(client)?;
        Ok(Self {
            way: Way {
                upstream: Some(upstream.into()),
                client: client.into(),
                ticket: ticket.resume(),
            },
            client: address,
            begun,
            gate,
            place,
        })
    }

    /// The same session without what it needs only to pass bytes.
    ///
    /// # Errors
    ///
    /// Fails when the runtime does not let go of its connections. They are reset.
    fn asleep(way: Way, address: SocketAddr, begun: Begun, place: Place) -> io::Result<Sleeper> {
        // As above.
        let Way {
            ticket,
            upstream: Some(Wire::Plain(upstream)),
            client: Wire::Plain(client),
        } = way
        else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        Ok(Sleeper {
            upstream: upstream.into_std()?,
            client: client.into_std()?,
            ticket: ticket.rest(),
            address,
            begun,
            place,
        })
    }

    /// It does not sleep before it has said something again.
    pub fn stay_awake(&self) {
        self.way.ticket.wait().stay_awake();
    }

    /// Passes bytes until the session ends, and gives back what it has; or until it can sleep, and lets it.
    ///
    /// There are very many at the same time, so what is returned is small: nothing is kept in it twice, as arguments of
    /// `async fn` are, and what hardly any session needs is apart.
    pub fn run(self) -> impl Future<Output = ()> + Send {
        let Self {
            way,
            client: address,
            begun,
            gate,
            place,
        } = self;
        async move {
            let ended = match (&way.client, &way.upstream) {
                (_, None) => Some((Ending::Cut, None)),
                (Wire::Plain(client), Some(Wire::Plain(upstream))) => {
                    way.pass(begun.statistics(), client, upstream).await
                }
                (client, Some(upstream)) => Box::pin(way.pass(begun.statistics(), client, upstream)).await,
            };
            let Some((ending, error)) = ended else {
                match Self::asleep(way, address, begun, place) {
                    Ok(sleeper) => lay_down(&gate, sleeper),
                    Err(error) => debug!(client = %address, %error, "session cannot sleep, and has ended"),
                }
                return;
            };
            debug!(port = ?begun.statistics().port(), client = %address, target = ?way.ticket.target(), ?ending, ?error, "session ended");
            if ending == Ending::ByInstance {
                let ended = Some(Incident::Refused);
                let incident = error.as_ref().map_or(ended, Incident::of_end);
                gate.note(way.ticket.target(), incident);
            }
            begun.end(ending);
            match ending {
                Ending::Cut => way.let_go().await,
                _ => drop(way),
            }
            drop(place);
        }
    }
}

impl Way {
    /// Connects to the instance. None: the route has ended meanwhile.
    async fn connect(&mut self, gate: &Gate) -> Option<Result<(), Unconnected>> {
        let target = self.ticket.target();
        let deadline = gate.limits().connect_timeout;
        let connect = socket::connect(target.address, deadline);
        let connected = tokio::select! {
            biased;
            () = self.ticket.cut() => return None,
            connected = connect => connected,
        };
        let upstream = match connected {
            Ok(upstream) => upstream,
            Err(error) => {
                let incident = Incident::of_connect(&error);
                gate.note(target, incident);
                let passing = incident != Some(Incident::Refused);
                return Some(Err(Unconnected { error, passing }));
            }
        };
        gate.note(target, Incident::Connected);
        let Some(instances) = gate.encryption(target) else {
            self.upstream = Some(upstream.into());
            return Some(Ok(()));
        };
        // Apart, so that sessions without TLS are no larger for it.
        let agree = Box::pin(instances.shake_hands(upstream, &target.instance));
        let agree = timeout(deadline, agree);
        let agreed = tokio::select! {
            biased;
            () = self.ticket.cut() => return None,
            agreed = agree => agreed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        };
        Some(match agreed {
            Ok(tls) => {
                self.upstream = Some(tls.into());
                Ok(())
            }
            Err(error) => {
                gate.note(target, Incident::of_end(&error));
                let passing = !is_untrusted(&error);
                Err(Unconnected { error, passing })
            }
        })
    }

    /// Passes bytes between these two, the client and the instance of this session. None: it has said nothing for a while, and can
    /// sleep.
    fn pass<'a, C: Peer, I: Peer>(
        &'a self,
        statistics: &'a Statistics,
        client: &'a C,
        upstream: &'a I,
    ) -> impl Future<Output = Option<(Ending, Option<io::Error>)>> + Send + 'a {
        let traffic = Traffic::new(statistics, self.ticket.wait());
        let relay = Relay::new(client, upstream, self.ticket.clearance(), traffic);
        async move {
            let mut run = pin!(relay.run());
            let ended = loop {
                // The cut is looked at first in each turn, so also before the first: a route that changed while the connect was
                // under way gets no byte.
                tokio::select! {
                    biased;
                    () = self.ticket.cut() => {
                        relay.drain();
                        return Some((Ending::Cut, None));
                    }
                    ended = &mut run => break ended,
                    told = self.ticket.wait().told() => match told {
                        Told::Idle => return Some((Ending::Idle, None)),
                        Told::Quiet if C::CAN_SLEEP && I::CAN_SLEEP && relay.is_at_rest() => return None,
                        Told::Quiet => self.ticket.wait().stay_awake(),
                    },
                }
            };
            Some(match ended {
                Ended::Finished => (Ending::Finished, None),
                Ended::Expired => (Ending::Expired, None),
                Ended::ByClient(error) => (Ending::ByClient, Some(error)),
                Ended::ByInstance(error) => (Ending::ByInstance, error),
            })
        }
    }

    /// Gives the ticket back, for which a fence waits, as soon as both connections are reset. To close the sockets takes as long
    /// again, and comes when all others that are cut have been reset too.
    async fn let_go(self) {
        let Self {
            upstream,
            client,
            ticket,
        } = self;
        let reset = upstream
            .iter()
            .chain([&client])
            .try_for_each(|wire| socket::reset(wire.socket()));
        let sockets = (upstream, client);
        if reset.is_ok() {
            drop(ticket);
            yield_now().await;
            drop(sockets);
        } else {
            drop(sockets);
            drop(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_result<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_session_takes_little_memory() {
        let bytes = size_of_result(Session::run);
        assert!(bytes <= 664, "{bytes} bytes for each session");
    }
}
