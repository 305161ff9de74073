//! A Bolt client for instances that have users.
//!
//! Which password an instance knows is not certain: one that has been away has the one of its last reign, a replica that was
//! registered has no users at all (`src/replication_handler/auth_replication_handlers.cpp`), and lets everybody in. So all
//! credentials that may hold are tried, the newest first.
//!
//! Signing in is slow on purpose: Memgraph computes a bcrypt hash (cost 12, a quarter of a second), and while it does it
//! holds the lock that every query of every client asks for (`SessionHL::Authenticate` in `src/glue/SessionHL.cpp`). So
//! connections are used again and again, and an instance that refuses everything is left alone for a while.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Bolt, BoltError, Credentials, Encryption, Row, Session};

/// For how long signing in may take, beside the first statement.
const SIGN_IN: Duration = Duration::from_secs(2);
/// For how long an instance that refuses all credentials is left alone.
const BARRED: Duration = Duration::from_secs(10);
/// For how long a connection that nobody uses is kept.
const KEPT: Duration = Duration::from_secs(60);
/// Of so many addresses it is remembered what they were signed in to with: pods come and go.
const ADDRESSES: usize = 64;
/// How many connections to an instance are kept: a look and a command may be under way at the same time.
const SPARE: usize = 4;
/// How Memgraph begins to say that the user of a connection may not do what it asks. All may do everything, but for those who
/// have signed in before there were users, and those whose user is gone.
const UNAUTHORIZED: &str = "You are not authorized to execute this query";

/// The credentials of one cluster, the newest first. None: the cluster has no users.
#[derive(Debug, Default)]
pub struct Keyring {
    inner: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    all: Arc<[Credentials]>,
    /// What an instance was signed in to with last.
    fits: HashMap<SocketAddr, Credentials>,
    /// Until when an instance is left alone.
    barred: HashMap<SocketAddr, Instant>,
}

impl Keyring {
    /// These are all from now on, the newest first.
    pub fn set(&self, all: &[Credentials]) {
        let mut keys = self.keys();
        if *keys.all != *all {
            *keys = Keys {
                all: all.into(),
                ..Keys::default()
            };
        }
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to try, in this order; None: nothing for now.
    pub(crate) fn for_instance(&self, at: SocketAddr) -> Option<Vec<Credentials>> {
        let keys = self.keys();
        if keys.barred.get(&at).is_some_and(|until| Instant::now() < *until) {
            return None;
        }
        let first = keys.fits.get(&at);
        let others = keys.all.iter().filter(|key| Some(*key) != first);
        Some(first.into_iter().chain(others).cloned().collect())
    }

    fn fits(&self, at: SocketAddr, key: &Credentials) {
        let mut keys = self.keys();
        keys.barred.remove(&at);
        if keys.all.contains(key) && keys.fits.get(&at) != Some(key) {
            if keys.fits.len() >= ADDRESSES {
                keys.fits.clear();
            }
            keys.fits.insert(at, key.clone());
        }
    }

    fn bar(&self, at: SocketAddr) {
        let mut keys = self.keys();
        keys.fits.remove(&at);
        let now = Instant::now();
        keys.barred.retain(|_, until| now < *until);
        keys.barred.insert(at, now + BARRED);
    }
}

/// Connections on which somebody is signed in, for the next one who needs one.
pub struct Pool<S> {
    idle: Mutex<HashMap<SocketAddr, Vec<Idle<S>>>>,
}

struct Idle<S> {
    key: Credentials,
    session: S,
    since: Instant,
}

impl<S> Default for Pool<S> {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
        }
    }
}

impl<S> Pool<S> {
    fn idle(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<Idle<S>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that was made with one of these.
    fn take(&self, at: SocketAddr, keys: &[Credentials]) -> Option<(Credentials, S)> {
        let mut idle = self.idle();
        let there = idle.get_mut(&at)?;
        there.retain(|idle| keys.contains(&idle.key));
        there.pop().map(|idle| (idle.key, idle.session))
    }

    fn put(&self, at: SocketAddr, key: Credentials, session: S) {
        let mut all = self.idle();
        all.retain(|_, there| {
            there.retain(|idle| idle.since.elapsed() < KEPT);
            !there.is_empty()
        });
        let there = all.entry(at).or_default();
        if there.len() < SPARE {
            let since = Instant::now();
            there.push(Idle { key, session, since });
        }
    }
}

/// A client that signs in with the credentials of one cluster.
pub struct SignedIn<B: Bolt> {
    bolt: B,
    keyring: Arc<Keyring>,
    pool: Arc<Pool<B::Session>>,
}

impl<B: Bolt> SignedIn<B> {
    /// Signs in with what is on `keyring` at the time.
    pub fn new(bolt: B, keyring: Arc<Keyring>, pool: Arc<Pool<B::Session>>) -> Self {
        Self { bolt, keyring, pool }
    }
}

/// A session of [`SignedIn`].
pub struct SignedInSession<B: Bolt> {
    bolt: B,
    keyring: Arc<Keyring>,
    pool: Arc<Pool<B::Session>>,
    at: SocketAddr,
    /// Only these are tried, on a connection of its own.
    own: Option<Credentials>,
    connection: Option<Connection<B::Session>>,
}

struct Connection<S> {
    session: S,
    /// None: nobody is signed in.
    key: Option<Credentials>,
}

impl<B: Bolt + Clone> Bolt for SignedIn<B> {
    type Session = SignedInSession<B>;
    type Knock = B::Knock;

    /// With credentials of the caller's, a new connection is made, so that they are proven.
    fn session_as(&self, at: SocketAddr, credentials: Option<&Credentials>) -> Self::Session {
        SignedInSession {
            bolt: self.bolt.clone(),
            keyring: Arc::clone(&self.keyring),
            pool: Arc::clone(&self.pool),
            at,
            own: credentials.cloned(),
            connection: None,
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

impl<B: Bolt> SignedInSession<B> {
    /// A connection that stands already, and is signed in to as it would be now.
    fn standing(&mut self, keys: &[Credentials]) -> Option<Connection<B::Session>> {
        let holds = |connection: &Connection<B::Session>| match &connection.key {
            Some(key) => keys.contains(key),
            None => keys.is_empty(),
        };
        if let Some(connection) = self.connection.take().filter(holds) {
            return Some(connection);
        }
        let (key, session) = self.pool.take(self.at, keys).filter(|_| self.own.is_none())?;
        Some(Connection {
            session,
            key: Some(key),
        })
    }
}

impl<B: Bolt> Session for SignedInSession<B> {
    async fn run(&mut self, statement: &str, deadline: Duration) -> Result<Vec<Row>, BoltError> {
        let at = self.at;
        let keys = match &self.own {
            Some(own) => vec![own.clone()],
            None => match self.keyring.for_instance(at) {
                Some(keys) => keys,
                None => return Err(BoltError::Unauthenticated { at }),
            },
        };
        while let Some(mut connection) = self.standing(&keys) {
            let answer = connection.session.run(statement, deadline).await;
            let outdated = match &answer {
                Err(BoltError::Unauthenticated { .. }) => true,
                // Nothing was carried out.
                Err(BoltError::Failure { message, .. }) => message.starts_with(UNAUTHORIZED),
                _ => false,
            };
            if outdated && connection.key.is_some() {
                continue;
            }
            if matches!(answer, Ok(_) | Err(BoltError::Failure { .. })) {
                self.connection = Some(connection);
            }
            return answer;
        }
        if keys.is_empty() {
            let mut session = self.bolt.session(at);
            let answer = session.run(statement, deadline).await;
            self.connection = Some(Connection { session, key: None });
            return answer;
        }
        for key in keys {
            let mut session = self.bolt.session_as(at, Some(&key));
            let answer = session.run(statement, deadline.max(SIGN_IN)).await;
            match answer {
                Err(BoltError::Unauthenticated { .. }) => {}
                Ok(_) | Err(BoltError::Failure { .. }) => {
                    if self.own.is_none() {
                        self.keyring.fits(at, &key);
                    }
                    self.connection = Some(Connection {
                        session,
                        key: Some(key),
                    });
                    return answer;
                }
                Err(_) => return answer,
            }
        }
        if self.own.is_none() {
            self.keyring.bar(at);
        }
        Err(BoltError::Unauthenticated { at })
    }

    async fn watch(&mut self, deadline: Duration) -> Result<(), BoltError> {
        self.bolt.session(self.at).watch(deadline).await
    }
}

impl<B: Bolt> Drop for SignedInSession<B> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Some(key) = connection.key
        {
            self.pool.put(self.at, key, connection.session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that counts how often somebody signs in.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        /// None: there are no users.
        password: Option<&'static str>,
        logins: usize,
    }

    struct Login {
        server: Server,
        password: Option<String>,
        /// Who is signed in; nobody where there were no users then.
        user: Option<bool>,
    }

    impl Server {
        fn set(&self, password: Option<&'static str>) {
            self.0.lock().unwrap().password = password;
        }

        fn logins(&self) -> usize {
            self.0.lock().unwrap().logins
        }
    }

    impl Session for Login {
        async fn run(&mut self, _: &str, _: Duration) -> Result<Vec<Row>, BoltError> {
            let mut state = self.server.0.lock().unwrap();
            if self.user.is_none() {
                state.logins += 1;
                if state.password.is_some() && state.password != self.password.as_deref() {
                    return Err(BoltError::Unauthenticated { at: at() });
                }
                self.user = Some(state.password.is_some());
            }
            if self.user == Some(false) && state.password.is_some() {
                return Err(BoltError::Failure {
                    code: String::new(),
                    message: format!("{UNAUTHORIZED}! Please contact your database administrator."),
                });
            }
            Ok(Vec::new())
        }

        async fn watch(&mut self, _: Duration) -> Result<(), BoltError> {
            std::future::pending().await
        }
    }

    impl Bolt for Server {
        type Session = Login;
        type Knock = ();

        fn session_as(&self, _: SocketAddr, credentials: Option<&Credentials>) -> Login {
            Login {
                server: self.clone(),
                password: credentials.map(|own| own.password().to_owned()),
                user: None,
            }
        }

        async fn handshake(&self, _: SocketAddr, _: Duration) -> Result<(), BoltError> {
            Ok(())
        }

        async fn knock(&self, _: SocketAddr, _: Duration) -> Option<()> {
            None
        }

        async fn reaches(&self, _: &str, _: Duration) -> bool {
            true
        }
    }

    fn at() -> SocketAddr {
        ([10, 0, 0, 1], 7687).into()
    }

    fn key(password: &str) -> Credentials {
        Credentials::new("app", password).unwrap()
    }

    fn client(server: &Server, keys: &[&str]) -> SignedIn<Server> {
        let keyring = Arc::new(Keyring::default());
        keyring.set(&keys.iter().map(|password| key(password)).collect::<Vec<_>>());
        SignedIn::new(server.clone(), keyring, Arc::default())
    }

    async fn ask(client: &SignedIn<Server>) -> Result<(), BoltError> {
        let answer = client
            .session(at())
            .run("SHOW VERSION", Duration::from_secs(1))
            .await;
        answer.map(drop)
    }

    #[tokio::test]
    async fn connections_are_used_again() {
        let server = Server::default();
        server.set(Some("new"));
        let client = client(&server, &["new", "old"]);
        for _ in 0..3 {
            ask(&client).await.unwrap();
        }
        assert_eq!(server.logins(), 1);
    }

    #[tokio::test]
    async fn a_former_password_is_tried_and_remembered() {
        let server = Server::default();
        server.set(Some("old"));
        let client = client(&server, &["new", "old"]);
        ask(&client).await.unwrap();
        assert_eq!(server.logins(), 2);
        client.pool.idle().clear();
        ask(&client).await.unwrap();
        assert_eq!(server.logins(), 3, "that one first");
    }

    #[tokio::test]
    async fn a_connection_from_before_there_were_users_is_made_anew() {
        let server = Server::default();
        let client = client(&server, &["new"]);
        ask(&client).await.unwrap();
        server.set(Some("new"));
        ask(&client).await.unwrap();
        assert_eq!(server.logins(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_refuses_everything_is_left_alone_for_a_while() {
        let server = Server::default();
        server.set(Some("another"));
        let client = client(&server, &["new", "old"]);
        for _ in 0..3 {
            assert!(matches!(
                ask(&client).await,
                Err(BoltError::Unauthenticated { .. })
            ));
        }
        assert_eq!(server.logins(), 2);
        tokio::time::advance(BARRED).await;
        server.set(Some("old"));
        ask(&client).await.unwrap();
    }

    #[tokio::test]
    async fn a_session_that_goes_on_signs_in_as_a_new_one_would() {
        let server = Server::default();
        let client = client(&server, &[]);
        let mut session = client.session(at());
        let mut ask = async || {
            session
                .run("SHOW VERSION", Duration::from_secs(1))
                .await
                .map(drop)
        };
        ask().await.unwrap();
        server.set(Some("old"));
        client.keyring.set(&[key("old")]);
        ask().await.unwrap();
        assert_eq!(server.logins(), 2);
        server.set(Some("new"));
        client.keyring.set(&[key("new")]);
        ask().await.unwrap();
        assert_eq!(server.logins(), 3, "the old password is not held on to");
    }

    #[tokio::test]
    async fn own_credentials_are_proven_on_a_connection_of_their_own() {
        let server = Server::default();
        server.set(Some("new"));
        let client = client(&server, &["new"]);
        ask(&client).await.unwrap();
        for (password, taken) in [("new", true), ("old", false)] {
            let mut session = client.session_as(at(), Some(&key(password)));
            let answer = session.run("SHOW USERS", Duration::from_secs(1)).await;
            assert_eq!(answer.is_ok(), taken);
        }
        assert_eq!(server.logins(), 3);
    }

    #[tokio::test]
    async fn without_credentials_nobody_signs_in() {
        let server = Server::default();
        let client = client(&server, &[]);
        ask(&client).await.unwrap();
        server.set(Some("new"));
        assert!(matches!(
            ask(&client).await,
            Err(BoltError::Unauthenticated { .. })
        ));
    }
}
