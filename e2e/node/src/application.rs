//! An application with an official driver that writes all the time, and leaves what goes wrong to the driver.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memgraph_operator::api::names;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::database::{Database, SETTLE_LIMIT, run};
use crate::wait::until;

const PROGRAM: &str = include_str!("application.py");

/// Sessions that write at once.
const WRITERS: usize = 4;

/// The application, which runs in the pod `client`.
pub struct Application {
    /// It ends when this is closed.
    input: ChildStdin,
    program: Program,
    acknowledged: watch::Receiver<usize>,
    reading: JoinHandle<Result<Transactions>>,
}

/// Ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What became of an application's transactions.
#[derive(Debug, Default)]
pub struct Transactions {
    /// The tokens of those that were acknowledged.
    pub acknowledged: Vec<String>,
    /// How many were tried more than once.
    pub repeated: usize,
    /// How often a connection was lost during COMMIT.
    pub unanswered: usize,
    /// Why others have failed for the application, and how often.
    pub failed: BTreeMap<String, usize>,
    /// The longest time between two acknowledgements.
    pub longest: Duration,
}

/// A line of the program's.
#[derive(Deserialize)]
struct Line {
    token: String,
    tries: usize,
    unanswered: usize,
    failure: Option<String>,
    /// In seconds, by the program's clock.
    at: f64,
}

impl Application {
    /// Begins to write tokens whose names begin with `prefix` through the gateway, and returns when the first one was
    /// acknowledged.
    ///
    /// # Errors
    /// When it cannot be started, or no write is acknowledged in time.
    pub async fn start(database: &Database, prefix: &str) -> Result<Self> {
        let scene = &database.scene;
        scene.start_client()?;
        // With some thousand tokens, each MERGE would look at all of them. The node's proxy learns of the Service's endpoints a moment
        // after they are ready.
        let gateway = database.gateway().await?;
        until("the gateway's Service to lead there", SETTLE_LIMIT, async || {
            Ok(Some(run(gateway, "CREATE INDEX ON :Token(id)").await?))
        })
        .await?;
        let uri = format!("bolt://{}:{}", names::gateway(&database.name), names::BOLT_PORT);
        let writers = WRITERS.to_string();
        let (own, python) = (["--namespace", &scene.namespace], ["python3", "-c", PROGRAM]);
        let mut command = scene.node.cluster.kubectl().command(&own);
        command
            .args(["exec", "--stdin", "client", "--"])
            .args(python)
            .args([&uri, prefix, &writers]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Program(command.spawn().context("cannot start kubectl")?);
        let (input, output) = (program.0.stdin.take(), program.0.stdout.take());
        let (input, output) = input.zip(output).context("kubectl without input and output")?;
        let (told, acknowledged) = watch::channel(0);
        let reading = tokio::task::spawn_blocking(move || read(output, &told));
        let mut application = Self {
            input,
            program,
            acknowledged,
            reading,
        };
        application.goes_on(1).await?;
        Ok(application)
    }

    /// Waits until this many further tokens were acknowledged.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn goes_on(&mut self, further: usize) -> Result<()> {
        let wanted = *self.acknowledged.borrow() + further;
        let reached = self.acknowledged.wait_for(|acknowledged| *acknowledged >= wanted);
        tokio::time::timeout(SETTLE_LIMIT, reached)
            .await
            .with_context(|| format!("{further} further writes: not acknowledged after {SETTLE_LIMIT:?}"))?
            .context("the application has ended")?;
        Ok(())
    }

    /// Ends it, after the transactions that are under way, and returns what became of all.
    ///
    /// # Errors
    /// When it was ended by something else.
    pub async fn stop(mut self) -> Result<Transactions> {
        drop(self.input);
        let transactions = self.reading.await??;
        let status = tokio::task::block_in_place(|| self.program.0.wait())?;
        ensure!(status.success(), "the application has ended with {status}");
        Ok(transactions)
    }
}

impl Transactions {
    /// The tokens as [`Database::expect_everywhere`] takes them.
    pub fn tokens(&self) -> Vec<&str> {
        self.acknowledged.iter().map(String::as_str).collect()
    }

    /// How many have failed for the application.
    pub fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    /// Checks that none has failed for the application, and that each is found on every instance.
    ///
    /// # Errors
    /// When one has failed, or is missing.
    pub async fn expect_all(&self, database: &Database) -> Result<()> {
        ensure!(self.failed.is_empty(), "transactions have failed: {self}");
        database.expect_everywhere(&self.tokens()).await
    }
}

impl fmt::Display for Transactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (acknowledged, repeated, failures) = (self.acknowledged.len(), self.repeated, self.failures());
        let (unanswered, longest) = (self.unanswered, self.longest.as_secs_f64());
        write!(
            f,
            "{acknowledged} transactions acknowledged, {repeated} of them at a further try, {unanswered} COMMITs without an \
             answer, {failures} failed, longest pause {longest:.2} s"
        )?;
        for (reason, times) in &self.failed {
            write!(f, "\n          {times} x {reason}")?;
        }
        Ok(())
    }
}

fn read(output: ChildStdout, told: &watch::Sender<usize>) -> Result<Transactions> {
    let (mut transactions, mut last) = (Transactions::default(), None::<f64>);
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what the application says")?;
        let line: Line =
            serde_json::from_str(&line).with_context(|| format!("the application says {line}"))?;
        transactions.unanswered += line.unanswered;
        if let Some(reason) = line.failure {
            *transactions.failed.entry(reason).or_default() += 1;
            continue;
        }
        if let Some(last) = last.replace(line.at) {
            // Lines of several writers may come in another order.
            let pause = Duration::from_secs_f64((line.at - last).max(0.0));
            transactions.longest = transactions.longest.max(pause);
        }
        transactions.repeated += usize::from(line.tries > 1);
        transactions.acknowledged.push(line.token);
        told.send_replace(transactions.acknowledged.len());
    }
    Ok(transactions)
}
