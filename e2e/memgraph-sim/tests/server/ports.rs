//! Ports for the servers of a test.

use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Socket, Type};

/// A port of which nobody else gets hold, as long as this lives: it is bound, but nobody listens there.
///
/// A port that was only looked up as a free one could go to another process before the server opens it; and a client
/// that tries until the server is there could be given that very port for its own end, and would then be connected
/// to itself.
pub struct ReservedPort {
    number: u16,
    _bound: Socket,
}

impl ReservedPort {
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        // Without SO_REUSEADDR it gets a port that nobody else has bound.
        socket.bind(&any.into()).unwrap();
        // With it, a server that also sets it can bind the port once more, as this end does not listen (socket(7)). The
        // kernel chooses it neither for clients nor for those that want just any port.
        socket.set_reuse_address(true).unwrap();
        let address = socket.local_addr().unwrap().as_socket_ipv4().unwrap();
        Self {
            number: address.port(),
            _bound: socket,
        }
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}
