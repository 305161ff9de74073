//! Clients on the Bolt port.

use std::{cell::OnceCell, io, rc::Rc, sync::Arc};

use bolt_server::{Request, Response, Session};
use tokio::{net::TcpStream, sync::mpsc, task::spawn_local};

use super::{
    Driver,
    counters::{GaugeGuard, Step},
    peers::bind,
    transport::Transport,
};
use crate::engine::{Event, ExitReason, SessionId};

impl Driver {
    /// Opens the Bolt port. This comes last in a start.
    pub(super) fn open_bolt_port(self: &Rc<Self>) -> bool {
        let (address, port) = &self.bolt_address;
        let listener = match bind(address, *port) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!("cannot listen on {address}:{port}: {error}");
                self.leave(ExitReason::Fatal("Couldn't start the Bolt server!".to_owned()));
                return false;
            }
        };
        let driver = Rc::clone(self);
        spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        tracing::info!("Accepted a connection from {}: {peer}", driver.service());
                        driver.serve(stream);
                    }
                    Err(error) => {
                        tracing::warn!("cannot accept a client: {error}");
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        true
    }

    /// What the log calls the Bolt server.
    fn service(&self) -> &'static str {
        match self.client_tls.acceptor() {
            Some(_) => "BoltS",
            None => "Bolt",
        }
    }

    fn serve(self: &Rc<Self>, stream: TcpStream) {
        let driver = Rc::clone(self);
        spawn_local(async move {
            let _open = driver.counters.sessions.enter();
            let tls = driver.client_tls.acceptor();
            let transport = match Transport::accept(stream, &driver.faults, tls).await {
                Ok(transport) => transport,
                Err(error) => {
                    tracing::error!("the handshake with a client failed: {error}");
                    return;
                }
            };
            let _kind = driver.count(&transport);
            let id = driver.new_session();
            let (sender, receiver) = mpsc::unbounded_channel();
            driver.clients.borrow_mut().insert(id, sender);
            driver.dispatch(Event::SessionOpened(id));
            if let Err(error) = driver.talk(id, transport, receiver).await {
                tracing::debug!("session {} ended: {error}", id.0);
            }
            driver.clients.borrow_mut().remove(&id);
            driver.dispatch(Event::SessionClosed(id));
        });
    }

    /// A WebSocket counts as a TCP connection, too.
    fn count(&self, transport: &Transport) -> [Option<GaugeGuard>; 2] {
        let counters = &self.counters;
        match transport {
            Transport::Tcp(_) => [Some(counters.tcp_sessions.enter()), None],
            Transport::Tls(_) => [Some(counters.tls_sessions.enter()), None],
            Transport::WebSocket(_) => [
                Some(counters.tcp_sessions.enter()),
                Some(counters.websocket_sessions.enter()),
            ],
        }
    }

    async fn talk(
        self: &Rc<Self>,
        id: SessionId,
        mut transport: Transport,
        mut responses: mpsc::UnboundedReceiver<Response>,
    ) -> io::Result<()> {
        let mut session = Session::new(Arc::clone(&self.bolt.borrow()));
        let mut buffer = vec![0; 8 * 1024];
        let let_in = OnceCell::new();
        while transport.receive(&mut session, &mut buffer).await? {
            let before = session.messages();
            while let Some(request) = session.next_request() {
                let step = match request {
                    Request::Prepare(_) => Step::Prepare,
                    Request::Execute { .. } | Request::Finish => Step::Pull,
                    _ => Step::Other,
                };
                self.dispatch(Event::Request(id, request));
                let response = match responses.try_recv() {
                    Ok(response) => response,
                    Err(_) => {
                        // What is ready need not wait for what takes time.
                        transport.send(session.take_output()).await?;
                        let Some(response) = responses.recv().await else {
                            return Ok(());
                        };
                        response
                    }
                };
                if response == Response::Authenticated {
                    let_in.get_or_init(|| self.counters.bolt_sessions.enter());
                }
                self.counters.note(step, &response);
                if let Err(error) = session.respond(response) {
                    tracing::error!("{error}");
                }
            }
            self.counters.bolt_messages.add(session.messages() - before);
            transport.send(session.take_output()).await?;
            if session.is_closed() {
                return transport.close().await;
            }
        }
        Ok(())
    }
}
