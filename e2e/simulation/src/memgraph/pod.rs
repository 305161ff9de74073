//! Pods: an address, a kernel, and at most one process of Memgraph.

use std::{collections::BTreeMap, net::IpAddr};

use memgraph_sim::engine::{ConnectionId, Event, SessionId};
use tokio::sync::mpsc;

use super::{
    Place, Pod, Process, Volume,
    connection::{Owner, Side},
    core::Core,
    process::{Exit, Input},
    session::ServerSession,
    stream::Stream,
};

/// The port of clients.
pub const BOLT_PORT: u16 = 7687;

/// A pod.
#[derive(Debug)]
pub(super) struct PodState {
    pub(super) place: Place,
    pub(super) address: IpAddr,
    /// It is there and has power: its kernel answers.
    pub(super) is_lit: bool,
    pub(super) process: Option<Process>,
    /// What its last process had mounted.
    pub(super) volume: Option<Volume>,
    /// Programs of others that listen here.
    pub(super) listeners: BTreeMap<u16, mpsc::UnboundedSender<Stream>>,
}

impl Core {
    pub(super) fn add_pod(&mut self, place: Place, address: IpAddr) -> Pod {
        let pod = Pod::new(self.pods.len());
        self.pods.push(PodState {
            place,
            address,
            is_lit: true,
            process: None,
            volume: None,
            listeners: BTreeMap::new(),
        });
        self.addresses.insert(address, pod);
        pod
    }

    /// Ends what runs in the pod, and gives its address back.
    pub(super) fn remove_pod(&mut self, pod: Pod) {
        if let Some(process) = self.pods[pod.index()].process {
            self.end(process, Exit::Killed);
        }
        let state = &mut self.pods[pod.index()];
        state.is_lit = false;
        state.listeners.clear();
        if self.addresses.get(&state.address) == Some(&pod) {
            self.addresses.remove(&state.address);
        }
    }

    /// Takes the power from the pod's host: nobody is told, and of the disk only what was synced is sure to stay.
    pub(super) fn power_off(&mut self, pod: Pod) {
        let state = &mut self.pods[pod.index()];
        state.is_lit = false;
        state.listeners.clear();
        let process = state.process;
        for connection in self.connections.values_mut() {
            for end in &mut connection.ends {
                if end.pod == Some(pod) {
                    end.owner = Owner::Vanished;
                }
            }
        }
        if let Some(process) = process {
            self.end(process, Exit::PowerLost);
        }
        if let Some(volume) = self.pods[pod.index()].volume {
            let disk = &mut self.volumes[volume.index()].disk;
            disk.lose_power(self.now, &mut self.random);
        }
    }

    /// Makes the called end of a connection, if anybody listens.
    pub(super) fn accept(&mut self, pod: Pod, port: u16, key: u64) -> Option<Owner> {
        let state = &self.pods[pod.index()];
        if let Some(listener) = state.listeners.get(&port) {
            let (sink, incoming) = mpsc::unbounded_channel();
            let stream = Stream {
                key,
                commands: self.commands.clone(),
                incoming,
                linger: true,
            };
            listener.send(stream).ok()?;
            return Some(Owner::Stream(sink));
        }
        let process = state.process?;
        let running = &mut self.processes[process.index()];
        if port == BOLT_PORT && running.is_ready() {
            running.last_session += 1;
            let id = SessionId(running.last_session);
            running.sessions.insert(id, ServerSession::new(key));
            self.input(process, Input::Event(Event::SessionOpened(id)));
            return Some(Owner::Session(process, id));
        }
        if running.listening == Some(port) {
            running.last_accepted += 1;
            let id = ConnectionId(2 * running.last_accepted + 1);
            running.links.insert(id, (key, Side::Called));
            self.input(process, Input::Event(Event::Accepted(id)));
            return Some(Owner::Peer(process, id));
        }
        None
    }
}
