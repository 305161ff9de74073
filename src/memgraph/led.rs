//! A Bolt client that sends nothing without leadership.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{Bolt, BoltError, Credentials, Encryption, Row, Session};
use crate::leader::Leadership;

/// Asks for leadership before each statement: Bolt has nothing by which a server could refuse a late one.
pub struct Led<B> {
    bolt: Arc<B>,
    leadership: Leadership,
}

impl<B> Clone for Led<B> {
    fn clone(&self) -> Self {
        Self {
            bolt: Arc::clone(&self.bolt),
            leadership: self.leadership.clone(),
        }
    }
}

impl<B> Led<B> {
    /// The same client, under this leadership.
    pub fn new(bolt: B, leadership: Leadership) -> Self {
        Self {
            bolt: Arc::new(bolt),
            leadership,
        }
    }
}

/// A session of [`Led`].
pub struct LedSession<S> {
    session: S,
    at: SocketAddr,
    leadership: Leadership,
}

impl<B: Bolt> Bolt for Led<B> {
    type Session = LedSession<B::Session>;
    type Knock = B::Knock;

    fn session_as(&self, at: SocketAddr, credentials: Option<&Credentials>) -> Self::Session {
        LedSession {
            session: self.bolt.session_as(at, credentials),
            at,
            leadership: self.leadership.clone(),
        }
    }

    fn encrypt(&self, at: SocketAddr, encryption: Encryption) {
        self.bolt.encrypt(at, encryption);
    }

    async fn handshake(&self, at: SocketAddr, deadline: Duration) -> Result<(), BoltError> {
        self.bolt.handshake(at, deadline).await
    }

    async fn knock(&self, at: SocketAddr, deadline: Duration) -> Option<B::Knock> {
        self.bolt.knock(at, deadline).await
    }

    async fn reaches(&self, address: &str, deadline: Duration) -> bool {
        self.bolt.reaches(address, deadline).await
    }
}

impl<S: Session> Session for LedSession<S> {
    async fn run(&mut self, statement: &str, deadline: Duration) -> Result<Vec<Row>, BoltError> {
        self.leadership
            .check()
            .map_err(|_| BoltError::NotLeading { at: self.at })?;
        self.session.run(statement, deadline).await
    }

    async fn watch(&mut self, deadline: Duration) -> Result<(), BoltError> {
        self.session.watch(deadline).await
    }
}
