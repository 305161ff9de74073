//! Starts a gateway, and is the operator that gives it its right to lead to MAIN.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use jiff::Timestamp;
use memgraph_operator::{
    api::ledger::Route,
    control_channel::{Authorities, Credentials, Role, TlsLink},
    controller::GatewayLink,
    grants::{Response, VERSION},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::{Instant, timeout},
};

use crate::{
    api_server::{self, ApiServer},
    contender::free_address,
    process::{Process, Processors},
};

/// The only cluster's UID and name.
pub const CLUSTER: (&str, &str) = ("6ad1d8a4-7c1c-4c55-a9ce-6d4f3b0c3a51", "bench");
/// The only instance.
pub const MAIN: &str = "bench-0";
/// UID of the gateway's pod.
const POD: &str = "0d7a3c62-6f4f-4f0e-9a39-3a0f6f1d9d8e";

/// The longest that there is.
const GRANT: Duration = Duration::from_secs(4);
const RENEW_EVERY: Duration = Duration::from_secs(1);
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
const ASLEEP_DEADLINE: Duration = Duration::from_secs(60);
const START_DEADLINE: Duration = Duration::from_secs(20);

/// Renews the gateway's grant until it is dropped.
pub struct Operator {
    exchange: Exchange,
    renewing: Renewing,
    /// Where the gateway tells of itself.
    http: SocketAddr,
    _api_server: ApiServer,
}

/// A thread that renews the grant while this is there. What the others measure keeps theirs busy.
struct Renewing {
    _end: oneshot::Sender<()>,
}

/// The way to ask the gateway.
struct Exchange {
    link: TlsLink,
    main_address: SocketAddr,
}

/// Starts it with room for so many sessions, which have a thread for each processor.
pub async fn start(
    program: &Path,
    processors: Processors,
    folder: &Path,
    listen: SocketAddr,
    main_address: SocketAddr,
    sessions: usize,
) -> Result<(Process, Operator)> {
    let api_server = ApiServer::start(api_server::cluster(main_address, sessions)).await?;
    let kubeconfig = folder.join(format!("kubeconfig-{}", listen.port()));
    fs::write(&kubeconfig, api_server.kubeconfig())?;
    let certificates = folder.join(format!("certificates-{}", listen.port()));
    let (control, http) = (free_address()?, free_address()?);
    let own = identify(&certificates)?;

    let mut command = Command::new(program);
    command
        .args([
            "gateway",
            "--cluster",
            CLUSTER.1,
            "--namespace",
            "default",
            "--pod-uid",
            POD,
        ])
        .args(["--log-level", "error", "--drain-seconds", "0"])
        .args(["--bind-address", &listen.to_string()])
        .args(["--control-bind-address", &control.to_string()])
        .args(["--read-bind-address", &free_address()?.to_string()])
        .args(["--http-bind-address", &http.to_string()])
        .arg("--control-certificates")
        .arg(&certificates)
        .env("KUBECONFIG", &kubeconfig);
    let mut process = Process::start(&command, processors)?;

    let exchange = || Exchange::new(control.port(), &own, main_address);
    let (renewal, exchange) = (exchange()?, exchange()?);
    let deadline = Instant::now() + START_DEADLINE;
    while let Err(error) = exchange.open(1).await {
        if process.has_ended()? || Instant::now() >= deadline {
            return Err(error.context("the gateway does not serve"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let operator = Operator {
        renewing: Renewing::begin(renewal, 1)?,
        exchange,
        http,
        _api_server: api_server,
    };
    Ok((process, operator))
}

/// Puts the gateway's certificates into this folder, and returns the operator's.
fn identify(folder: &Path) -> Result<Credentials> {
    let (uid, _) = CLUSTER;
    let now = Timestamp::now();
    let authorities = Authorities::default();
    let authorities = authorities.tended(uid, now)?.unwrap_or(authorities);
    let credentials = |role| -> Result<Credentials> {
        Ok(Credentials {
            leaf: authorities.sign(role, uid, now)?,
            bundle: authorities.bundle(),
        })
    };
    let gateway = credentials(Role::Gateway)?;
    fs::create_dir_all(folder)?;
    fs::write(folder.join("tls.crt"), &gateway.leaf.certificate)?;
    fs::write(folder.join("tls.key"), &gateway.leaf.key)?;
    fs::write(folder.join("ca.crt"), &gateway.bundle)?;
    credentials(Role::Operator)
}

impl Operator {
    /// Waits until so many sessions sleep, as the gateway's metrics tell.
    pub async fn until_asleep(&self, sessions: usize) -> Result<()> {
        let expected = format!("memgraph_gateway_sleeping_sessions {sessions}.0");
        let deadline = Instant::now() + ASLEEP_DEADLINE;
        while !self.metrics().await?.lines().any(|line| line == expected) {
            ensure!(
                Instant::now() < deadline,
                "{sessions} sessions have not fallen asleep in {ASLEEP_DEADLINE:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn metrics(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.http).await?;
        let request = b"GET /metrics HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Has every session cut, and returns how long it took until the gateway had confirmed that none is left.
    pub async fn fence(self) -> Result<Duration> {
        drop(self.renewing);
        let begin = Instant::now();
        loop {
            let response = self.exchange.ask(2, Route::Closed, Value::Null).await?;
            if response.report.confirms(CLUSTER.0, 2) {
                return Ok(begin.elapsed());
            }
            // An answer does not wait for ever; an operator asks again, too.
            if begin.elapsed() >= ANSWER_DEADLINE {
                bail!(
                    "the gateway does not confirm that the route is closed: {:?}",
                    response.report
                );
            }
        }
    }
}

impl Renewing {
    fn begin(exchange: Exchange, term: i64) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (end, mut ended) = oneshot::channel();
        thread::spawn(move || {
            runtime.block_on(async {
                while timeout(RENEW_EVERY, &mut ended).await.is_err() {
                    // What comes of a missing grant shows in the figures at once: every session is cut.
                    if let Err(error) = exchange.open(term).await {
                        eprintln!("cannot renew the gateway's grant: {error:#}");
                    }
                }
            });
        });
        Ok(Self { _end: end })
    }
}

impl Exchange {
    fn new(port: u16, own: &Credentials, main_address: SocketAddr) -> Result<Self> {
        let link = TlsLink::to_port(port);
        link.introduce(CLUSTER.0, own)?;
        Ok(Self { link, main_address })
    }

    /// Gives the gateway a new grant of this term.
    async fn open(&self, term: i64) -> Result<()> {
        let nonce = self.ask(term, Route::Open, Value::Null).await?.nonce;
        let grant = json!({
            "nonce": nonce,
            "cluster": CLUSTER.0,
            "term": term,
            "main": api_server::main_copy(),
            "address": self.main_address.to_string(),
            "podUID": POD,
            "ttlMillis": GRANT.as_millis() as u64,
        });
        match self.ask(term, Route::Open, grant).await?.refusal {
            None => Ok(()),
            Some(refusal) => Err(anyhow!("it refuses its grant: {refusal}")),
        }
    }

    /// Asks as operators do; what their questions may have besides is left out.
    async fn ask(&self, term: i64, route: Route, grant: Value) -> Result<Response> {
        let request = serde_json::from_value(json!({
            "version": VERSION,
            "cluster": CLUSTER.0,
            "position": {"term": term, "route": route, "main": MAIN},
            "grant": grant,
        }))?;
        let gateway = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let answer = self
            .link
            .exchange(CLUSTER.0, gateway, &request, ANSWER_DEADLINE)
            .await;
        answer.context("cannot ask the gateway")
    }
}
