//! What instances say to each other, recorded; and messages lost by chance.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value as Json;

use crate::network::{Fate, Network};

/// A request of a MAIN and its answer. One is asked at a time.
#[derive(Debug, Clone)]
pub struct Call {
    pub main: String,
    pub replica: String,
    /// The name of the request.
    pub name: &'static str,
    /// The fields of the request.
    pub request: Json,
    /// The answer, if it was sent.
    pub reply: Option<Json>,
}

impl Call {
    /// Whether the replica has done what it was asked for.
    pub fn worked(&self) -> bool {
        let Some(reply) = &self.reply else { return false };
        reply["Success"] == Json::Bool(true) || reply["Recovered"].is_u64()
    }
}

/// Sees all messages between the instances of a network.
#[derive(Clone)]
pub struct Watch {
    calls: Rc<RefCell<Vec<Call>>>,
    /// How likely a message is to get lost, or to break its connection.
    pub faults: Rc<Cell<f64>>,
}

impl Watch {
    pub fn on(network: &mut Network, seed: u64) -> Self {
        let watch = Self {
            calls: Rc::default(),
            faults: Rc::default(),
        };
        let (calls, faults) = (Rc::clone(&watch.calls), Rc::clone(&watch.faults));
        let mut dice = StdRng::seed_from_u64(seed);
        network.decide(move |from, to, message| {
            let fate = match dice.random_bool(faults.get()) {
                false => Fate::Delivered,
                true if dice.random_bool(0.3) => Fate::Lost,
                true if dice.random_bool(0.5) => Fate::LastOne,
                true => Fate::Cut,
            };
            let json = serde_json::to_value(message).unwrap();
            let mut calls = calls.borrow_mut();
            if message.name() == "Reply" {
                let open = calls
                    .iter_mut()
                    .rev()
                    .find(|call| call.main == to && call.replica == from);
                if json["Reply"] != "InProgress"
                    && let Some(call) = open
                {
                    call.reply = Some(json["Reply"].clone());
                }
            } else {
                let request = match &json["Request"] {
                    Json::Object(fields) => fields.values().next().cloned().unwrap(),
                    _ => Json::Null,
                };
                calls.push(Call {
                    main: from.to_owned(),
                    replica: to.to_owned(),
                    name: message.name(),
                    request,
                    reply: None,
                });
            }
            fate
        });
        watch
    }

    /// Takes what was said since the last time.
    pub fn take(&self) -> Vec<Call> {
        self.calls.take()
    }
}
