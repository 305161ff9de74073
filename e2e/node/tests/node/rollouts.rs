//! New gateways take the place of old ones while clients talk.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{WatchEvent, WatchParams};
use memgraph_operator::api::names;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);
/// Clients of each gateway.
const CLIENTS: usize = 8;
/// What each still asks after its gateway was told to end.
const LAST_QUESTIONS: usize = 10;

/// A client of one gateway that asks one question after the other.
struct Client(TcpStream);

impl Client {
    async fn connect(gateway: &Pod) -> Result<Self> {
        let ip = gateway.status.as_ref().and_then(|status| status.pod_ip.as_ref());
        let ip: IpAddr = ip.context("a gateway without an address")?.parse()?;
        let mut stream = TcpStream::connect(SocketAddr::new(ip, names::BOLT_PORT)).await?;
        // Bolt 4.4 and nothing else.
        let mut handshake = vec![0x60, 0x60, 0xb0, 0x17, 0, 0, 4, 4];
        handshake.resize(20, 0);
        stream.write_all(&handshake).await?;
        let mut version = [0; 4];
        stream.read_exact(&mut version).await?;
        let mut client = Self(stream);
        client
            .say(b"\xb1\x01\xa2\x8auser_agent\x87rollout\x86scheme\x84none")
            .await?;
        Ok(client)
    }

    /// Says a message, and reads up to the summary of its answer, which must be a success.
    async fn say(&mut self, message: &[u8]) -> Result<()> {
        let length = u16::try_from(message.len())?.to_be_bytes();
        self.0.write_all(&[&length, message, &[0, 0]].concat()).await?;
        loop {
            let mut answer = vec![0; usize::from(self.0.read_u16().await?)];
            self.0.read_exact(&mut answer).await?;
            ensure!(self.0.read_u16().await? == 0, "an answer in several chunks");
            match answer.get(1) {
                Some(0x70) => return Ok(()),
                Some(0x71) => {}
                other => bail!("the answer is {other:x?}"),
            }
        }
    }

    /// Asks until it is told that its gateway ends, and some questions more. Returns how many.
    async fn talk(mut self, told: watch::Receiver<bool>) -> Result<usize> {
        let (mut asked, mut left) = (0, LAST_QUESTIONS);
        while left > 0 {
            if *told.borrow() {
                left -= 1;
            }
            let answered = async {
                self.say(b"\xb3\x10\x88RETURN 1\xa0\xa0").await?;
                self.say(b"\xb1\x3f\xa1\x81n\xff").await
            };
            timeout(LIMIT, answered)
                .await?
                .with_context(|| format!("question {asked}, with {left} to go"))?;
            asked += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(asked)
    }
}

/// What the gateway's process ended with, once its pod is gone.
async fn exit_code(scene: &Scene, pod: &Pod) -> Result<i32> {
    let name = pod.name_any();
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = scene.api::<Pod>().watch(&params, "0").await?.boxed();
    let ended = async {
        while let Some(event) = events.try_next().await? {
            let WatchEvent::Deleted(pod) = event else {
                continue;
            };
            let statuses = pod.status.and_then(|status| status.container_statuses);
            let state = statuses.and_then(|statuses| statuses.into_iter().next()?.state);
            let terminated = state.and_then(|state| state.terminated);
            return Ok(terminated
                .context("a gateway was removed before it had ended")?
                .exit_code);
        }
        bail!("the watch of {name} has ended")
    };
    timeout(LIMIT, ended)
        .await
        .with_context(|| format!("{name} is still there"))?
}

pub async fn of_gateways_drop_no_session_that_ends_in_time(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let old = scene.gateways().await?;
    let mut talking = Vec::new();
    for gateway in &old {
        let (tell, told) = watch::channel(false);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let client = Client::connect(gateway).await?;
            clients.push(tokio::spawn(client.talk(told.clone())));
        }
        talking.push((tell, clients));
    }
    let ends = old.iter().map(|gateway| {
        let (scene, gateway) = (Arc::clone(&scene), gateway.clone());
        tokio::spawn(async move { exit_code(&scene, &gateway).await })
    });
    let ends: Vec<_> = ends.collect();
    let writer = Writer::start(&database, "rollout").await?;

    let patch = json!({"spec": {"gateway": {"resources": {"requests": {"cpu": "11m"}}}}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    let begin = Instant::now();
    let told_to_end = old.iter().zip(talking).map(async |(gateway, (tell, clients))| {
        let name = gateway.name_any();
        until("the gateway to be told to end", LIMIT, async || {
            let pod = scene.api::<Pod>().get_opt(&name).await?;
            Ok(pod
                .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
                .then_some(()))
        })
        .await?;
        tell.send_replace(true);
        let mut asked = 0;
        for client in clients {
            asked += client.await?.with_context(|| format!("a client of {name}"))?;
        }
        Ok::<_, anyhow::Error>(asked)
    });
    let asked: usize = try_join_all(told_to_end).await?.into_iter().sum();
    for end in ends {
        let code = end.await??;
        ensure!(code == 0, "a gateway ended with {code}");
    }
    let written = writer.stop().await?;
    eprintln!(
        "          gateways replaced within {:.1} s, {asked} questions answered meanwhile; {written}",
        begin.elapsed().as_secs_f64()
    );
    database.settled().await?;
    database.expect_everywhere(&written.tokens()).await
}
