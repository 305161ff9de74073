//! Runs a schedule on real processes of the server, and compares.

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bolt_server::BoltVersion;

use super::{
    Outcome, Settled, arguments,
    generate::{Action, NAMES, Schedule, Session, USER},
    questions,
    simulated::snapshot_path,
    wire::{Identity, Message, Reply, handshake, login, mask, take_replies},
};
use crate::{instance::Folder, ports::ReservedPort};

/// How long to wait for what has happened on virtual time; much more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a process that is starting or settling.
const PAUSE: Duration = Duration::from_millis(1);

struct Connection {
    stream: TcpStream,
    bolt: BoltVersion,
    /// What was read and is not a whole reply yet.
    input: Vec<u8>,
}

struct Server {
    folder: Folder,
    bolt: ReservedPort,
    replication: ReservedPort,
    metrics: ReservedPort,
    monitoring: ReservedPort,
    process: Option<Child>,
    observer: Option<Connection>,
    snapshot: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
            bolt: ReservedPort::new(),
            replication: ReservedPort::new(),
            metrics: ReservedPort::new(),
            monitoring: ReservedPort::new(),
            process: None,
            observer: None,
            snapshot: "/none".to_owned(),
        }
    }

    fn kill(&mut self) {
        self.observer = None;
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// What the process says about its end, or anything else.
    fn errors(&self) -> File {
        let place = self.folder.path().join("errors");
        OpenOptions::new().append(true).create(true).open(place).unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("errors")).unwrap_or_default()
    }

    /// Whether the process runs; one that has ended by itself does not.
    fn runs(&mut self) -> bool {
        if let Some(process) = &mut self.process
            && let Some(status) = process.try_wait().unwrap()
        {
            writeln!(self.errors(), "ended: {status}").unwrap();
            self.process = None;
        }
        self.process.is_some()
    }

    /// Starts the server and waits until its Bolt port is open, or it has ended.
    fn start(&mut self, schedule: &Schedule) -> Result<(), String> {
        let process = Command::new(env!("CARGO_BIN_EXE_memgraph-sim"))
            .args(arguments(schedule))
            .args([
                format!("--data-directory={}", self.folder.path().join("data").display()),
                format!("--log-file={}", self.folder.path().join("log").display()),
                format!("--bolt-port={}", self.bolt.number()),
                format!("--metrics-port={}", self.metrics.number()),
                format!("--monitoring-port={}", self.monitoring.number()),
                "--metrics-address=127.0.0.1".to_owned(),
                "--monitoring-address=127.0.0.1".to_owned(),
            ])
            .env("MEMGRAPH_SIM_VERSION", short(schedule))
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.errors())
            .spawn()
            .unwrap();
        let process = self.process.insert(process);
        let limit = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.bolt.number())).is_err() {
            if process.try_wait().unwrap().is_some() {
                break;
            }
            if Instant::now() > limit {
                return Err("it does not open its Bolt port".to_owned());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// The release in the form of the variable that selects it.
fn short(schedule: &Schedule) -> String {
    if schedule.version == bolt_server::Version::Head {
        return "HEAD".to_owned();
    }
    let number = schedule.version.number();
    number.rsplit_once('.').unwrap().0.to_owned()
}

pub struct Processes<'a> {
    schedule: &'a Schedule,
    servers: Vec<Server>,
    connections: Vec<Option<Connection>>,
    places: Vec<(String, String)>,
}

impl<'a> Processes<'a> {
    pub fn new(schedule: &'a Schedule) -> Result<Self, String> {
        let mut servers: Vec<_> = (0..schedule.instances).map(|_| Server::new()).collect();
        let mut places = Vec::new();
        for (server, name) in servers.iter_mut().zip(NAMES) {
            server.start(schedule)?;
            let address = format!("127.0.0.1:{}", server.replication.number());
            places.push((address, format!("@address:{name}@")));
            let data = server.folder.path().join("data").canonicalize().unwrap();
            places.push((data.display().to_string(), "@data@".to_owned()));
        }
        Ok(Self {
            schedule,
            servers,
            connections: schedule.sessions.iter().map(|_| None).collect(),
            places,
        })
    }

    /// Does what was done on virtual time, and waits until it has led to the same.
    pub fn perform(&mut self, action: &Action, expected: &Outcome) -> Result<(), String> {
        match action {
            Action::Send { session, messages } => self.send(*session, messages, expected)?,
            Action::Cut { session } => drop(self.connections[*session].take()),
            Action::Kill { instance } => {
                self.servers[*instance].kill();
                for (connection, session) in self.connections.iter_mut().zip(&self.schedule.sessions) {
                    if session.instance == *instance {
                        *connection = None;
                    }
                }
            }
            Action::Start { instance } => self.servers[*instance].start(self.schedule)?,
        }
        self.settle(&expected.settled)
    }

    fn send(&mut self, session: usize, messages: &[Message], expected: &Outcome) -> Result<(), String> {
        let Session { instance, bolt, who } = self.schedule.sessions[session];
        if !self.servers[instance].runs() {
            return same_replies(&[], &expected.replies);
        }
        let mut connection = match self.connections[session].take() {
            Some(connection) => connection,
            None => self
                .connect(instance, bolt, who)
                .map_err(|error| error.to_string())?,
        };
        let raw = self
            .exchange(instance, who, &mut connection, messages, expected.replies.len())
            .map_err(|error| error.to_string())?;
        if let Some(path) = snapshot_path(&raw) {
            self.servers[instance].snapshot = path;
        }
        same_replies(&self.masked(raw), &expected.replies)?;
        if expected.closed {
            let mut rest = Vec::new();
            let end = connection.stream.read_to_end(&mut rest);
            // A server that closes with unread input resets the connection.
            if end.is_err_and(|error| error.kind() != io::ErrorKind::ConnectionReset) {
                return Err("the server does not close the connection".to_owned());
            }
            return same("bytes before the end", &rest, &Vec::new());
        }
        self.connections[session] = Some(connection);
        Ok(())
    }

    fn masked(&self, mut replies: Vec<Reply>) -> Vec<Reply> {
        for reply in &mut replies {
            mask(&mut reply.field, &self.places);
        }
        replies
    }

    /// Connects, and sends what opens a session; the replies to that come before all others.
    fn connect(&self, instance: usize, bolt: BoltVersion, who: Identity) -> io::Result<Connection> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.servers[instance].bolt.number()))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&handshake(bolt))?;
        let mut chosen = [0; 4];
        stream.read_exact(&mut chosen)?;
        for message in login(bolt, who) {
            stream.write_all(&message)?;
        }
        Ok(Connection {
            stream,
            bolt,
            input: Vec::new(),
        })
    }

    /// Sends messages and reads as many replies as there shall be.
    fn exchange(
        &self,
        instance: usize,
        who: Identity,
        connection: &mut Connection,
        messages: &[Message],
        count: usize,
    ) -> io::Result<Vec<Reply>> {
        let server = &self.servers[instance];
        let fill = |text: &str| {
            let text = text.replace("@port@", &server.replication.number().to_string());
            let text = self.servers.iter().zip(NAMES).fold(text, |text, (other, name)| {
                let address = format!("127.0.0.1:{}", other.replication.number());
                text.replace(&format!("@address:{name}@"), &address)
            });
            // Who is not there refuses connections.
            let text = NAMES.iter().fold(text, |text, name| {
                text.replace(&format!("@address:{name}@"), "127.0.0.1:1")
            });
            text.replace("@snapshot@", &server.snapshot)
        };
        let bytes: Vec<u8> = messages
            .iter()
            .flat_map(|message| message.bytes(connection.bolt, who, fill))
            .collect();
        connection.stream.write_all(&bytes)?;
        let mut replies = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            replies.extend(take_replies(connection.bolt, &mut connection.input));
            if replies.len() >= count {
                return Ok(replies);
            }
            match connection.stream.read(&mut buffer) {
                Ok(0) => return Ok(replies),
                Ok(read) => connection.input.extend(&buffer[..read]),
                // A machine that is stopped and goes on interrupts reads with a time limit, signal(7).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until all instances show what they show on virtual time. A MAIN with replicas must do so twice in a
    /// row: the first time it could be because something has not happened yet.
    fn settle(&mut self, expected: &[Option<Settled>]) -> Result<(), String> {
        for (instance, expected) in expected.iter().enumerate() {
            let limit = Instant::now() + PATIENCE;
            let has_replicas = expected.as_ref().is_some_and(|it| it.replicas.len() > 3);
            let needed = if has_replicas { 2 } else { 1 };
            let mut matches = 0;
            while matches < needed {
                let seen = self.observe(instance).map_err(|error| error.to_string())?;
                if seen == *expected {
                    matches += 1;
                    continue;
                }
                matches = 0;
                if Instant::now() > limit {
                    let said = self.servers[instance].said();
                    let name = format!("what {} ({said:?}) shows after a while", NAMES[instance]);
                    return same(&name, &seen, expected);
                }
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    fn observe(&mut self, instance: usize) -> io::Result<Option<Settled>> {
        if !self.servers[instance].runs() {
            return Ok(None);
        }
        let mut observer = match self.servers[instance].observer.take() {
            Some(observer) => observer,
            None => self.observer(instance)?,
        };
        let messages = questions();
        let mut replies = self.exchange(instance, USER, &mut observer, &messages, messages.len())?;
        // Rows are replies of their own: what is missing is read when it is known how many there are.
        while replies.iter().filter(|reply| reply.is_last()).count() < messages.len() {
            let more = self.exchange(instance, USER, &mut observer, &[], 1)?;
            if more.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            replies.extend(more);
        }
        self.servers[instance].observer = Some(observer);
        Ok(Some(Settled::read(self.masked(replies))))
    }

    fn observer(&self, instance: usize) -> io::Result<Connection> {
        let mut observer = self.connect(instance, BoltVersion::V5_2, USER)?;
        let greeting = self.exchange(instance, USER, &mut observer, &[], 2)?;
        assert_eq!(greeting.len(), 2, "{greeting:?}");
        Ok(observer)
    }
}

impl Drop for Processes<'_> {
    fn drop(&mut self) {
        for connection in self.connections.drain(..).flatten() {
            // If it is closed already, so much the better.
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
    }
}

fn same<T: PartialEq + Debug>(what: &str, real: &T, simulated: &T) -> Result<(), String> {
    if real == simulated {
        return Ok(());
    }
    Err(format!(
        "{what} differ\n  real:      {real:?}\n  simulated: {simulated:?}"
    ))
}

/// Tells only where two lists of replies begin to differ: results can be long.
fn same_replies(real: &[Reply], simulated: &[Reply]) -> Result<(), String> {
    let longest = real.len().max(simulated.len());
    match (0..longest).find(|at| real.get(*at) != simulated.get(*at)) {
        None => Ok(()),
        Some(at) => same(
            &format!("the replies from number {at} on"),
            &real.get(at),
            &simulated.get(at),
        ),
    }
}
