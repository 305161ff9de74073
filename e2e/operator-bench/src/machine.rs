//! A process in which many instances and gateways run, each on a loopback address of its own: what the containers of a node
//! would be. It takes orders on standard input, says on standard output what becomes of them, and ends with its input.
//!
//! Instances are the simulator's server around its engine, with sockets and files; gateways are the operator's own code.
//! There are several such processes because one may not have as many sockets as all of them need.

use std::{
    cell::RefCell,
    collections::HashMap,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result};
use kube::Client;
use memgraph_operator::{
    api::names::{BOLT_PORT, CONTROL_PORT, GATEWAY_READ_PORT, HTTP_PORT},
    gateway::{self, Addresses, DEFAULT_DRAIN, GatewayConfig},
    traces::Traces,
};
use memgraph_sim::server::Guest;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::{AbortHandle, LocalSet, spawn_local},
    time::{MissedTickBehavior, interval},
};

use crate::orders::{Event, Order};

/// How often an instance is tried that has not opened its port yet (startup probe; the kubelet's is 1 s).
const STARTING: Duration = Duration::from_millis(50);
/// How often a gateway's readiness is asked for, as its pod has it.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// Runs until standard input ends.
pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let machine = Rc::new(Machine {
            client: Client::try_default().await?,
            processes: RefCell::default(),
        });
        let mut orders = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = orders.next_line().await? {
            let order = serde_json::from_str(&line).with_context(|| format!("no order: {line}"))?;
            machine.obey(order);
        }
        Ok(())
    })
}

struct Machine {
    client: Client,
    /// By number: the process and its probe.
    processes: RefCell<HashMap<u64, [AbortHandle; 2]>>,
}

impl Machine {
    fn obey(&self, order: Order) {
        match order {
            Order::Kill { id } => {
                let process = self.processes.borrow_mut().remove(&id);
                for task in process.into_iter().flatten() {
                    task.abort();
                }
            }
            Order::Instance {
                id,
                address,
                arguments,
            } => {
                let process = async move {
                    let why = match Guest::new(arguments, address) {
                        Ok(guest) => format!("{:?}", guest.run().await),
                        Err(error) => error.to_string(),
                    };
                    say(&Event::Failed { id, why });
                };
                self.start(id, process, probe_instance(id, address));
            }
            Order::Gateway {
                id,
                address,
                namespace,
                cluster,
                pod_uid,
                certificates,
            } => {
                let at = |port| SocketAddr::from((address, port));
                let config = GatewayConfig {
                    client: self.client.clone(),
                    namespace,
                    cluster,
                    pod_uid,
                    certificates,
                    tls: None,
                    instances_ca: None,
                    addresses: Addresses {
                        read_write: at(BOLT_PORT),
                        read: at(GATEWAY_READ_PORT),
                        http: at(HTTP_PORT),
                        control: at(CONTROL_PORT),
                    },
                    drain: DEFAULT_DRAIN,
                    traces: Traces::default(),
                };
                let process = async move {
                    let why = match gateway::run(config).await {
                        Ok(()) => "it was told to end".to_owned(),
                        Err(error) => error.to_string(),
                    };
                    say(&Event::Failed { id, why });
                };
                self.start(id, process, probe_gateway(id, at(HTTP_PORT)));
            }
        }
    }

    fn start(
        &self,
        id: u64,
        process: impl Future<Output = ()> + 'static,
        probe: impl Future<Output = ()> + 'static,
    ) {
        let tasks = [
            spawn_local(process).abort_handle(),
            spawn_local(probe).abort_handle(),
        ];
        self.processes.borrow_mut().insert(id, tasks);
    }
}

/// An instance that has opened its port is ready, as its pod's probes have it.
async fn probe_instance(id: u64, address: Ipv4Addr) {
    let mut ticks = interval(STARTING);
    loop {
        ticks.tick().await;
        if TcpStream::connect((address, BOLT_PORT)).await.is_ok() {
            return say(&Event::Ready { id, ready: true });
        }
    }
}

async fn probe_gateway(id: u64, at: SocketAddr) {
    // Not all of them in the same moment.
    tokio::time::sleep(PROBE_EVERY.mul_f64(fastrand::f64())).await;
    let mut ticks = interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        ticks.tick().await;
        let ready = is_ready(at).await.unwrap_or(false);
        if ready != told {
            say(&Event::Ready { id, ready });
            told = ready;
        }
    }
}

async fn is_ready(at: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(at).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

/// Whoever listens is gone only when this process is to end, too.
fn say(event: &Event) {
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(&line).and_then(|()| output.flush());
    }
}
