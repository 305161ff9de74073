//! Clients on the Bolt port.

use std::{io, rc::Rc, sync::Arc};

use bolt_server::{Response, Session};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::spawn_local,
};

use super::{Driver, faults::Line, peers::bind};
use crate::engine::{Event, ExitReason, SessionId};

impl Driver {
    /// Opens the Bolt port. This comes last in a start.
    pub(super) fn open_bolt_port(self: &Rc<Self>) {
        let (address, port) = &self.bolt_address;
        let listener = match bind(address, *port) {
            Ok(listener) => listener,
            Err(error) => {
                return self.leave(ExitReason::Fatal(format!(
                    "Couldn't bind the Bolt port {port}: {error}"
                )));
            }
        };
        let driver = Rc::clone(self);
        spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => driver.serve(stream),
                    Err(error) => {
                        tracing::warn!("cannot accept a client: {error}");
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
    }

    fn serve(self: &Rc<Self>, stream: TcpStream) {
        let driver = Rc::clone(self);
        spawn_local(async move {
            let id = driver.new_session();
            let (sender, receiver) = mpsc::unbounded_channel();
            driver.clients.borrow_mut().insert(id, sender);
            driver.dispatch(Event::SessionOpened(id));
            if let Err(error) = driver.talk(id, stream, receiver).await {
                tracing::debug!("session {} ended: {error}", id.0);
            }
            driver.clients.borrow_mut().remove(&id);
            driver.dispatch(Event::SessionClosed(id));
        });
    }

    async fn talk(
        self: &Rc<Self>,
        id: SessionId,
        stream: TcpStream,
        mut responses: mpsc::UnboundedReceiver<Response>,
    ) -> io::Result<()> {
        let mut stream = Line::accepted(stream, &self.faults)?;
        let mut session = Session::new(Arc::clone(&self.bolt));
        let mut buffer = vec![0; 8 * 1024];
        loop {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            session.receive(&buffer[..read]);
            while let Some(request) = session.next_request() {
                self.dispatch(Event::Request(id, request));
                let response = match responses.try_recv() {
                    Ok(response) => response,
                    Err(_) => {
                        // What is ready need not wait for what takes time.
                        flush(&mut stream, &mut session).await?;
                        let Some(response) = responses.recv().await else {
                            return Ok(());
                        };
                        response
                    }
                };
                if let Err(error) = session.respond(response) {
                    tracing::error!("{error}");
                }
            }
            flush(&mut stream, &mut session).await?;
            if session.is_closed() {
                return stream.shutdown().await;
            }
        }
    }
}

async fn flush(stream: &mut Line, session: &mut Session) -> io::Result<()> {
    let output = session.take_output();
    if output.is_empty() {
        Ok(())
    } else {
        stream.write_all(&output).await?;
        stream.flush().await
    }
}
