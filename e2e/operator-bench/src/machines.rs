//! The machines, as the bench sees them.

use std::{path::Path, process::Stdio};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::orders::{Event, Order};

/// The argument with which this program is a machine.
pub const ROLE: &str = "machine";

/// Some machines. They end with this value.
pub struct Machines {
    orders: Vec<UnboundedSender<Order>>,
    _processes: Vec<Child>,
}

impl Machines {
    /// Starts so many, and tells what they say.
    pub fn start(count: usize, kubeconfig: &Path) -> Result<(Self, UnboundedReceiver<Event>)> {
        let (events, said) = unbounded_channel();
        let mut machines = Self {
            orders: Vec::new(),
            _processes: Vec::new(),
        };
        for _ in 0..count {
            let program = std::env::current_exe().context("cannot find this program")?;
            let mut process = Command::new(program)
                .arg(ROLE)
                .env("KUBECONFIG", kubeconfig)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .context("cannot start a machine")?;
            let (input, output) = (process.stdin.take(), process.stdout.take());
            let (mut input, output) = input.zip(output).context("a machine has no input or output")?;
            let (sender, mut receiver) = unbounded_channel::<Order>();
            tokio::spawn(async move {
                while let Some(order) = receiver.recv().await {
                    let Ok(mut line) = serde_json::to_vec(&order) else {
                        continue;
                    };
                    line.push(b'\n');
                    if input.write_all(&line).await.is_err() {
                        return;
                    }
                }
            });
            let events = events.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(output).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    match serde_json::from_str(&line) {
                        Ok(event) => drop(events.send(event)),
                        Err(_) => eprintln!("a machine says: {line}"),
                    }
                }
            });
            machines.orders.push(sender);
            machines._processes.push(process);
        }
        Ok((machines, said))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.orders.len()
    }

    /// Tells one of them what to do.
    pub fn tell(&self, machine: usize, order: Order) {
        if let Some(orders) = self.orders.get(machine) {
            // One that has ended shows in its processes, which do not become ready.
            let _ = orders.send(order);
        }
    }
}
