//! What happens to packets on their way: attempts to connect, arrivals, retransmissions, and the end of connections.

use std::{net::SocketAddr, time::Duration};

use bolt_server::Version;
use memgraph_sim::engine::Time;

use super::{
    Pod,
    connection::{Asked, Connection, End, Owner, Packet, Pipe, Side},
    core::{Core, retransmission},
    path::Troubles,
    queue::Happening,
    stream::{Ended, Incoming, Request, What},
};

/// When an unanswered attempt to connect is made again (`TCP_TIMEOUT_INIT`); the others after twice the time each.
const KNOCK_AGAIN: Duration = Duration::from_secs(1);
/// How long the connections that MAIN asks its replicas on go without an acknowledgement before they break (`SetUserTimeout` in
/// `io/network/socket.hpp` of Memgraph), and since which release.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
const USER_TIMEOUT_SINCE: Version = Version::V3_10;
/// How many round trips Bolt needs before the first statement: the version, and HELLO.
const GREETINGS: u32 = 2;

impl Core {
    /// Begins to connect. What is in `first` is sent as soon as the connection is there.
    pub(super) fn connect(&mut self, key: u64, to: SocketAddr, caller: End, first: Option<Packet>) {
        let greetings = match &first {
            Some(Packet::Request(Request {
                what: What::Handshake,
                ..
            })) => 0,
            _ => GREETINGS,
        };
        // The place is not known before somebody accepts: until then the caller's own stands for it.
        let called = End {
            place: caller.place,
            pod: None,
            owner: Owner::Nobody,
        };
        let mut connection = Connection {
            to,
            ends: [caller, called],
            pipes: [Pipe::default(), Pipe::default()],
            accepted: false,
            asked: Asked::Other,
            greetings,
        };
        connection.pipe(Side::Called).packets.extend(first);
        self.connections.insert(key, connection);
        let delay = Troubles::plain_delay(&mut self.random);
        let what = Happening::Knock {
            connection: key,
            attempt: 0,
        };
        self.queue.push(self.now + delay, what);
    }

    pub(super) fn knock(&mut self, key: u64, attempt: u32) {
        let Some(connection) = self.connections.get(&key) else {
            return;
        };
        if matches!(
            connection.end(Side::Caller).owner,
            Owner::Closed | Owner::Vanished
        ) {
            self.connections.remove(&key);
            return;
        }
        let (from, to) = (connection.end(Side::Caller).place, connection.to);
        let pod = self.addresses.get(&to.ip()).copied();
        let pod = pod.filter(|pod| self.pods[pod.index()].is_lit);
        let Some(pod) = pod else {
            return self.knock_again(key, attempt);
        };
        let place = self.pods[pod.index()].place;
        let port = to.port();
        if !self.troubles.is_open(from, place, port) || !self.troubles.is_open(place, from, port) {
            return self.knock_again(key, attempt);
        }
        let end = End {
            place,
            pod: Some(pod),
            owner: Owner::Nobody,
        };
        let accepted = if self.troubles.refuses(from, place, port) {
            None
        } else {
            self.accept(pod, port, key)
        };
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        *connection.end_mut(Side::Called) = end;
        match accepted {
            Some(owner) => {
                connection.end_mut(Side::Called).owner = owner;
                self.transmit(key, Side::Caller, Packet::Accepted, Duration::ZERO);
            }
            None => self.refuse(key),
        }
    }

    fn knock_again(&mut self, connection: u64, attempt: u32) {
        let at = self.now + KNOCK_AGAIN * 2_u32.saturating_pow(attempt.min(6));
        let what = Happening::Knock {
            connection,
            attempt: attempt + 1,
        };
        self.queue.push(at, what);
    }

    /// Nobody listens: the called kernel resets the connection.
    fn refuse(&mut self, key: u64) {
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.end_mut(Side::Called).owner = Owner::Closed;
        }
        self.transmit(key, Side::Caller, Packet::Reset, Duration::ZERO);
    }

    /// Sends a packet towards one side of a connection; it takes longer by `extra`, and so does what follows it.
    pub(super) fn transmit(&mut self, key: u64, towards: Side, packet: Packet, extra: Duration) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let from = connection.end(towards.other()).place;
        let to = connection.end(towards).place;
        let port = connection.to.port();
        let delay = self.troubles.delay(from, to, port, &mut self.random);
        let now = self.now;
        let pipe = connection.pipe(towards);
        if pipe.closed {
            return;
        }
        pipe.closed = matches!(packet, Packet::End | Packet::Reset);
        pipe.packets.push_back(packet);
        pipe.last = pipe.last.max(now + delay + extra);
        let at = pipe.last;
        self.queue.push(
            at,
            Happening::Arrival {
                connection: key,
                side: towards,
            },
        );
    }

    /// Sends a client's request. On a new connection Bolt's greetings come first.
    pub(super) fn send_request(&mut self, key: u64, request: Request) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        if !connection.accepted {
            connection
                .pipe(Side::Called)
                .packets
                .push_back(Packet::Request(request));
            return;
        }
        let greetings = std::mem::take(&mut connection.greetings);
        let extra = Troubles::plain_delay(&mut self.random) * 2 * greetings;
        self.transmit(key, Side::Called, Packet::Request(request), extra);
    }

    pub(super) fn arrive(&mut self, key: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let from = connection.end(side.other()).place;
        let (to, pod) = (connection.end(side).place, connection.end(side).pod);
        let port = connection.to.port();
        let gone = matches!(connection.end(side).owner, Owner::Closed | Owner::Vanished);
        let held = connection.pipe(side).held;
        let waits = held > 0 || !self.troubles.is_open(from, to, port) || (gone && !self.has_kernel(pod));
        self.acknowledge(key, side, !waits && self.troubles.is_open(to, from, port));
        // What comes after something that waits has to wait, too.
        if waits {
            return self.hold(key, side, held == 0);
        }
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        if let Some(packet) = connection.pipe(side).packets.pop_front() {
            self.receive(key, side, packet);
        }
    }

    fn hold(&mut self, key: u64, side: Side, first: bool) {
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.pipe(side).held += 1;
        }
        if first {
            let what = Happening::Retransmission {
                connection: key,
                side,
                attempt: 1,
            };
            self.queue.push(self.now + retransmission(0), what);
        }
    }

    pub(super) fn retransmit(&mut self, key: u64, side: Side, attempt: u32) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let from = connection.end(side.other()).place;
        let (to, pod) = (connection.end(side).place, connection.end(side).pod);
        let port = connection.to.port();
        let gone = matches!(connection.end(side).owner, Owner::Closed | Owner::Vanished);
        if connection.pipe(side).held == 0 {
            return;
        }
        if !self.troubles.is_open(from, to, port) || (gone && !self.has_kernel(pod)) {
            let at = self.now + retransmission(attempt);
            let what = Happening::Retransmission {
                connection: key,
                side,
                attempt: attempt + 1,
            };
            return self.queue.push(at, what);
        }
        self.acknowledge(key, side, self.troubles.is_open(to, from, port));
        while let Some(connection) = self.connections.get_mut(&key)
            && connection.pipe(side).held > 0
        {
            let pipe = connection.pipe(side);
            pipe.held -= 1;
            if let Some(packet) = pipe.packets.pop_front() {
                self.receive(key, side, packet);
            }
        }
    }

    /// Whether the sender's kernel is shown that what was sent towards this side has arrived. If it is not, and the sender is one whose
    /// connection breaks then, its time runs.
    fn acknowledge(&mut self, key: u64, side: Side, shown: bool) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let Owner::Peer(process, _) = connection.end(side.other()).owner else {
            return;
        };
        let version = self.processes[process.index()].config.version;
        let pipe = connection.pipe(side);
        if shown {
            pipe.unacknowledged = None;
        }
        if shown || side != Side::Called || version < USER_TIMEOUT_SINCE || pipe.unacknowledged.is_some() {
            return;
        }
        let since = self.now;
        pipe.unacknowledged = Some(since);
        let what = Happening::Unacknowledged {
            connection: key,
            side,
            since,
        };
        self.queue.push(since + UNACKNOWLEDGED, what);
    }

    /// The sender's kernel breaks the connection, and tells nobody else.
    pub(super) fn unacknowledged(&mut self, key: u64, side: Side, since: Time) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        if connection.pipe(side).unacknowledged != Some(since) {
            return;
        }
        connection.pipe(side).unacknowledged = None;
        let Owner::Peer(process, id) = connection.end(side.other()).owner else {
            return;
        };
        let (from, to) = (connection.end(side.other()).place, connection.end(side).place);
        let port = connection.to.port();
        // All of it has arrived, and an acknowledgement gets through.
        if connection.pipe(side).held == 0 && self.troubles.is_open(to, from, port) {
            return;
        }
        connection.end_mut(side.other()).owner = Owner::Closed;
        if matches!(connection.end(side).owner, Owner::Closed | Owner::Vanished) {
            self.connections.remove(&key);
        } else {
            let pipe = connection.pipe(side);
            pipe.held = 0;
            pipe.packets.clear();
        }
        self.peer_gone(process, id);
    }

    /// Whether anybody answers at the address of a pod, be it another pod by now.
    fn has_kernel(&self, pod: Option<Pod>) -> bool {
        let Some(pod) = pod else { return true };
        let state = &self.pods[pod.index()];
        state.is_lit
            || self
                .addresses
                .get(&state.address)
                .is_some_and(|other| self.pods[other.index()].is_lit)
    }

    /// A packet has come to this side.
    fn receive(&mut self, key: u64, side: Side, packet: Packet) {
        self.note_packet(key, side, &packet);
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let is_over = matches!(packet, Packet::End | Packet::Reset);
        if matches!(packet, Packet::Accepted) {
            return self.accepted(key);
        }
        let accepted = connection.accepted;
        match &connection.end(side).owner {
            Owner::Closed | Owner::Vanished | Owner::Nobody => {
                if is_over {
                    self.connections.remove(&key);
                } else {
                    // The kernel knows nothing of this connection.
                    self.drop_held(key, side.other());
                    self.transmit(key, side.other(), Packet::Reset, Duration::ZERO);
                }
            }
            Owner::Stream(sink) => {
                let incoming = match packet {
                    Packet::Request(request) => Incoming::Request(request),
                    Packet::Answer(answer) => Incoming::Answer(answer),
                    Packet::End => Incoming::Ended(Ended::Closed),
                    Packet::Reset if !accepted => Incoming::Ended(Ended::Refused),
                    Packet::Reset => Incoming::Ended(Ended::Reset),
                    Packet::Accepted | Packet::Peer(_) => return,
                };
                // Whoever has dropped the other half says so by a command.
                let _ = sink.send(incoming);
                if is_over {
                    self.over(key, side);
                }
            }
            Owner::Peer(process, id) => {
                let (process, id) = (*process, *id);
                if is_over {
                    self.over(key, side);
                    self.peer_gone(process, id);
                } else if let Packet::Peer(message) = packet {
                    self.peer_said(key, process, id, message);
                }
            }
            Owner::Session(process, id) => {
                let (process, id) = (*process, *id);
                if is_over {
                    self.over(key, side);
                    self.client_gone(process, id);
                } else if let Packet::Request(request) = packet {
                    self.client_asked(process, id, request);
                }
            }
        }
    }

    /// The caller learns that it is connected, and sends what it has for that.
    fn accepted(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        connection.accepted = true;
        // Nothing was on its way to the called side before this.
        let waiting: Vec<_> = connection.pipe(Side::Called).packets.drain(..).collect();
        match &connection.end(Side::Caller).owner {
            Owner::Stream(sink) => {
                let _ = sink.send(Incoming::Connected);
            }
            Owner::Peer(process, id) => {
                let (process, id) = (*process, *id);
                self.peer_connected(process, id);
            }
            Owner::Session(..) | Owner::Closed | Owner::Vanished | Owner::Nobody => {}
        }
        for packet in waiting {
            match packet {
                Packet::Request(request) => self.send_request(key, request),
                other => self.transmit(key, Side::Called, other, Duration::ZERO),
            }
        }
    }

    /// This side has learnt that the connection is over.
    fn over(&mut self, key: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        connection.end_mut(side).owner = Owner::Closed;
        let other = side.other();
        let both = matches!(connection.end(other).owner, Owner::Closed | Owner::Vanished);
        if both {
            self.connections.remove(&key);
        } else {
            // It closes, too, as all of these programs do.
            self.drop_held(key, other);
            self.transmit(key, other, Packet::Reset, Duration::ZERO);
        }
    }

    /// Whoever owns this side closes the connection. With `reset`, what was not sent yet is thrown away.
    pub(super) fn close(&mut self, key: u64, side: Side, reset: bool) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        connection.end_mut(side).owner = Owner::Closed;
        if matches!(
            connection.end(side.other()).owner,
            Owner::Nobody | Owner::Vanished
        ) {
            // It was not even accepted, and the knock that is under way finds nothing; or nobody is left to tell.
            self.connections.remove(&key);
            return;
        }
        if reset {
            self.drop_held(key, side.other());
        }
        let packet = if reset { Packet::Reset } else { Packet::End };
        self.transmit(key, side.other(), packet, Duration::ZERO);
    }

    /// Throws away what waits to be sent again towards this side.
    fn drop_held(&mut self, key: u64, towards: Side) {
        if let Some(connection) = self.connections.get_mut(&key) {
            let pipe = connection.pipe(towards);
            pipe.packets.drain(..pipe.held);
            pipe.held = 0;
        }
    }

    pub(super) fn close_stream(&mut self, key: u64, reset: bool) {
        let Some(connection) = self.connections.get(&key) else {
            return;
        };
        let side = match (&connection.ends[0].owner, &connection.ends[1].owner) {
            (Owner::Stream(sink), _) if sink.is_closed() => Side::Caller,
            (_, Owner::Stream(sink)) if sink.is_closed() => Side::Called,
            _ => return,
        };
        self.close(key, side, reset);
    }

    /// Breaks a connection in the middle: both ends are reset, after what is under way to them.
    pub(super) fn break_connection(&mut self, key: u64) {
        for side in [Side::Caller, Side::Called] {
            self.transmit(key, side, Packet::Reset, Duration::ZERO);
        }
    }

    /// What is sent on this connection from now on arrives so much later.
    pub(super) fn stall(&mut self, key: u64, towards: Side, by: Duration) {
        let until = self.now + by;
        if let Some(connection) = self.connections.get_mut(&key) {
            let pipe = connection.pipe(towards);
            pipe.last = pipe.last.max(until);
        }
    }
}
