//! As much of Memgraph as the operator's statements meet, in memory and without faults: three instances at
//! 10.0.0.0, 10.0.0.1 and 10.0.0.2.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use crate::memgraph::{Bolt, BoltError, Credentials, Row, Session};

#[derive(Clone, Debug, Default)]
struct Server {
    main: bool,
    /// Name, mode and address.
    replicas: Vec<(String, String, String)>,
    marker: Option<String>,
    /// By name, their passwords.
    users: BTreeMap<String, String>,
}

#[derive(Clone)]
pub(super) struct FakeMemgraph {
    /// What the addresses of the instances begin with.
    network: [u8; 3],
    servers: Arc<Mutex<BTreeMap<IpAddr, Server>>>,
    /// The statements that were sent to any of them.
    asked: Arc<Mutex<Vec<String>>>,
    /// The release that they run.
    version: &'static str,
    /// What they tell of a transaction that does not end, nor does any commit meanwhile: its query and its status.
    hangs: Arc<Mutex<Option<(&'static str, &'static str)>>>,
}

pub(super) struct FakeSession {
    memgraph: FakeMemgraph,
    at: SocketAddr,
    credentials: Option<Credentials>,
}

impl FakeMemgraph {
    /// New instances behind the start gate.
    pub(super) fn fresh(instances: u8) -> Self {
        Self::fresh_in([10, 0, 0], instances)
    }

    /// The same, at other addresses.
    pub(super) fn fresh_in(network: [u8; 3], instances: u8) -> Self {
        let servers = (0..instances)
            .map(|n| (Self::address(network, n), Server::default()))
            .collect();
        Self {
            network,
            servers: Arc::new(Mutex::new(servers)),
            asked: Arc::default(),
            version: "3.12.0",
            hangs: Arc::default(),
        }
    }

    /// The same, of this release.
    pub(super) fn of_release(self, version: &'static str) -> Self {
        Self { version, ..self }
    }

    fn address([a, b, c]: [u8; 3], number: u8) -> IpAddr {
        IpAddr::from([a, b, c, number])
    }

    /// Ends the process of the one with this number for good.
    pub(super) fn stop(&self, number: u8) {
        let mut servers = self.servers.lock().unwrap();
        servers.remove(&Self::address(self.network, number));
    }

    /// Another process takes the place of the one with this number, on the same data. The start gate makes it a replica.
    pub(super) fn restart(&self, number: u8) {
        let mut servers = self.servers.lock().unwrap();
        let server = servers.get_mut(&Self::address(self.network, number)).unwrap();
        server.main = false;
        server.replicas.clear();
    }

    /// The statements that were sent since the last time.
    pub(super) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Whether each instance is MAIN, and what is registered on it.
    pub(super) fn roles(&self) -> Vec<(bool, usize)> {
        let servers = self.servers.lock().unwrap();
        servers
            .values()
            .map(|server| (server.main, server.replicas.len()))
            .collect()
    }

    /// The users of the instance with this number, and their passwords.
    pub(super) fn users(&self, number: u8) -> BTreeMap<String, String> {
        let servers = self.servers.lock().unwrap();
        servers[&Self::address(self.network, number)].users.clone()
    }

    fn lets_in(&self, at: IpAddr, credentials: Option<&Credentials>) -> bool {
        let servers = self.servers.lock().unwrap();
        let users = servers.get(&at).map(|server| &server.users);
        users.is_none_or(|users| {
            let knows = |own: &Credentials| users.get(own.username()).is_some_and(|p| p == own.password());
            users.is_empty() || credentials.is_some_and(knows)
        })
    }

    /// A transaction of this query, in this status, does not end any more, and no other one that was begun later.
    pub(super) fn hang(&self, query: &'static str, status: &'static str) {
        *self.hangs.lock().unwrap() = Some((query, status));
    }

    /// Somebody else than the operator sends this statement to the one with this number.
    pub(super) fn by_hand(&self, number: u8, statement: &str) {
        self.run(Self::address(self.network, number), statement).unwrap();
    }

    fn address_of(address: &str) -> IpAddr {
        address.parse::<SocketAddr>().unwrap().ip()
    }

    fn run(&self, at: IpAddr, statement: &str) -> Result<Vec<Row>, String> {
        self.asked.lock().unwrap().push(statement.to_owned());
        let mut servers = self.servers.lock().unwrap();
        let there: BTreeSet<IpAddr> = servers.keys().copied().collect();
        let server = servers.get_mut(&at).ok_or("no such server")?;
        let words: Vec<_> = statement.split_whitespace().collect();
        let rows = match words.as_slice() {
            ["SHOW", "REPLICATION", "ROLE"] => {
                vec![row(&[(
                    "replication role",
                    json!(if server.main { "main" } else { "replica" }),
                )])]
            }
            ["SHOW", "VERSION"] => vec![row(&[("version", json!(self.version))])],
            ["SHOW", "ENUMS"] => server
                .marker
                .iter()
                .map(|value| {
                    row(&[
                        ("Enum Name", json!("__memgraph_operator")),
                        ("Enum Values", json!([value])),
                    ])
                })
                .collect(),
            ["SHOW", "REPLICAS"] if server.main => {
                let follows = |address: &String| there.contains(&Self::address_of(address));
                let replicas = server.replicas.iter();
                replicas
                    .map(|replica| registration(replica, follows(&replica.2)))
                    .collect()
            }
            ["SHOW", "STORAGE", "INFO"] => vec![storage("memory_res", json!("3.00MiB"))],
            ["SHOW", "STORAGE", "INFO", "ON", "CURRENT", "DATABASE"] => {
                vec![
                    storage("vertex_count", json!(7)),
                    storage("storage_mode", json!("IN_MEMORY_TRANSACTIONAL")),
                ]
            }
            ["SHOW", "INDEX" | "CONSTRAINT", "INFO"] => Vec::new(),
            ["SHOW", "TRANSACTIONS"] => {
                let own = row(&[("query", json!(["SHOW TRANSACTIONS"]))]);
                let hangs = self.hangs.lock().unwrap();
                let hanging =
                    hangs.map(|(query, status)| row(&[("query", json!([query])), ("status", json!(status))]));
                [own].into_iter().chain(hanging).collect()
            }
            ["MATCH", "(n)", "RETURN", .., "LIMIT", "1"] => Vec::new(),
            ["SET", "REPLICATION", "ROLE", "TO", "MAIN"] if !server.main => {
                server.main = true;
                Vec::new()
            }
            [
                "SET",
                "REPLICATION",
                "ROLE",
                "TO",
                "REPLICA",
                "WITH",
                "PORT",
                "10000",
            ] if server.main => {
                server.main = false;
                server.replicas.clear();
                Vec::new()
            }
            ["REGISTER", "REPLICA", name, mode, "TO", address] if server.main => {
                let address = address.trim_matches('"').to_owned();
                let marker = server.marker.clone();
                server
                    .replicas
                    .push(((*name).to_owned(), mode.to_lowercase(), address.clone()));
                if let Some(replica) = servers.get_mut(&Self::address_of(&address)) {
                    replica.marker = marker;
                    replica.users.clear();
                }
                Vec::new()
            }
            ["SHOW", "USERS"] => {
                let names = server.users.keys();
                names.map(|name| row(&[("user", json!(name))])).collect()
            }
            ["CREATE", "USER", name, "IDENTIFIED", "BY", password]
            | ["SET", "PASSWORD", "FOR", name, "TO", password]
                if server.main =>
            {
                let password = password.trim_matches('\'').to_owned();
                server.users.insert(name.trim_matches('`').to_owned(), password);
                Vec::new()
            }
            ["DROP", "REPLICA", name] if server.main => {
                server.replicas.retain(|(known, _, _)| known != name);
                Vec::new()
            }
            ["CREATE", "ENUM", _, "VALUES", "{", value, "}"] if server.main && server.replicas.is_empty() => {
                server.marker = Some((*value).to_owned());
                Vec::new()
            }
            ["CREATE", .., "DELETE", "n"] if server.main => Vec::new(),
            _ => return Err(format!("unexpected in this state: {statement}")),
        };
        Ok(rows)
    }
}

fn row(columns: &[(&str, Value)]) -> Row {
    columns
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn storage(name: &str, value: Value) -> Row {
    row(&[("storage info", json!(name)), ("value", value)])
}

fn registration((name, mode, address): &(String, String, String), follows: bool) -> Row {
    let status = if follows { "ready" } else { "invalid" };
    row(&[
        ("name", json!(name)),
        ("socket_address", json!(address)),
        ("sync_mode", json!(mode)),
        ("system_info", Value::Null),
        (
            "data_info",
            json!({"memgraph": {"ts": 2, "behind": 0, "status": status}}),
        ),
    ])
}

impl Bolt for FakeMemgraph {
    type Session = FakeSession;
    type Knock = ();

    fn session_as(&self, at: SocketAddr, credentials: Option<&Credentials>) -> FakeSession {
        FakeSession {
            memgraph: self.clone(),
            at,
            credentials: credentials.cloned(),
        }
    }

    async fn handshake(&self, _: SocketAddr, _: Duration) -> Result<(), BoltError> {
        Ok(())
    }

    async fn knock(&self, _: SocketAddr, _: Duration) -> Option<()> {
        None
    }

    async fn reaches(&self, address: &str, _: Duration) -> bool {
        self.servers
            .lock()
            .unwrap()
            .contains_key(&Self::address_of(address))
    }
}

impl Session for FakeSession {
    async fn run(&mut self, statement: &str, deadline: Duration) -> Result<Vec<Row>, BoltError> {
        if statement.ends_with("DELETE n") && self.memgraph.hangs.lock().unwrap().is_some() {
            tokio::time::sleep(deadline).await;
            return Err(BoltError::Deadline {
                at: self.at,
                deadline,
            });
        }
        let refused = |message| BoltError::Failure {
            code: "Memgraph.ClientError".into(),
            message,
        };
        if !self.memgraph.lets_in(self.at.ip(), self.credentials.as_ref()) {
            return Err(BoltError::Unauthenticated { at: self.at });
        }
        self.memgraph.run(self.at.ip(), statement).map_err(refused)
    }

    async fn watch(&mut self, _: Duration) -> Result<(), BoltError> {
        std::future::pending().await
    }
}
