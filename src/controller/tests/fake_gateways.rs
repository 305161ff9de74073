//! Gateways without sockets: what they hold is decided by the production code.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::Client;
use tokio::time::Instant;

use crate::{
    api::{MemgraphCluster, ledger::Route},
    controller::{Acquaintance, GatewayLink, Unasked, Unprepared},
    grants::{Holder, MainReach, Report, Request, Response, VERSION},
};

/// The gateways by their addresses.
#[derive(Clone)]
pub(super) struct FakeGateways {
    begin: Instant,
    gateways: Arc<Mutex<BTreeMap<IpAddr, FakeGateway>>>,
}

struct FakeGateway {
    holder: Holder,
    silent: bool,
    /// A client waits for an answer of MAIN.
    waits: bool,
}

impl FakeGateways {
    pub(super) fn new() -> Self {
        Self {
            begin: Instant::now(),
            gateways: Arc::default(),
        }
    }

    /// A gateway in a pod with this UID.
    pub(super) fn start(&self, address: &str, pod_uid: &str) {
        let gateway = FakeGateway {
            holder: Holder::new(pod_uid.to_owned(), 1),
            silent: false,
            waits: false,
        };
        self.gateways
            .lock()
            .unwrap()
            .insert(address.parse().unwrap(), gateway);
    }

    /// Whether it answers from now on.
    pub(super) fn silence(&self, address: &str, silent: bool) {
        let mut gateways = self.gateways.lock().unwrap();
        gateways.get_mut(&address.parse().unwrap()).unwrap().silent = silent;
    }

    /// The term for which it may lead clients to MAIN now.
    pub(super) fn term(&self, address: &str) -> Option<i64> {
        let gateways = self.gateways.lock().unwrap();
        let holder = &gateways[&address.parse().unwrap()].holder;
        holder.permit(self.now()).map(|permit| permit.term)
    }

    /// Has a client wait for an answer of MAIN from now on.
    pub(super) fn wait(&self, address: &str) {
        let mut gateways = self.gateways.lock().unwrap();
        gateways.get_mut(&address.parse().unwrap()).unwrap().waits = true;
    }

    /// MAIN ends a connection of its.
    pub(super) fn taint(&self, address: &str) {
        let mut gateways = self.gateways.lock().unwrap();
        let holder = &mut gateways.get_mut(&address.parse().unwrap()).unwrap().holder;
        let term = holder.position().map_or(0, |position| position.term);
        holder.taint(term, self.begin.elapsed());
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }
}

impl GatewayLink for FakeGateways {
    async fn prepare(&self, _: &Client, _: &MemgraphCluster) -> Result<(), Unprepared> {
        Ok(())
    }

    async fn acquaint(&self, _: &Client, _: &Acquaintance) -> Result<(), Unprepared> {
        Ok(())
    }

    fn remember(&self, _: &Acquaintance) {}

    fn recall(&self) -> Vec<Acquaintance> {
        Vec::new()
    }

    fn forget(&self, _: &str) {}

    async fn exchange(
        &self,
        _: &str,
        gateway: IpAddr,
        request: &Request,
        deadline: Duration,
    ) -> Result<Response, Unasked> {
        let answered = {
            let now = self.now();
            let mut gateways = self.gateways.lock().unwrap();
            let gateway = gateways.get_mut(&gateway).ok_or(Unasked::Refused)?;
            (!gateway.silent).then(|| answer(gateway, request, now))
        };
        match answered {
            Some(response) => Ok(response),
            None => {
                tokio::time::sleep(deadline).await;
                Err(Unasked::Failed("no answer".to_owned()))
            }
        }
    }
}

fn answer(gateway: &mut FakeGateway, request: &Request, now: Duration) -> Response {
    let holder = &mut gateway.holder;
    if let Some(position) = &request.position {
        holder.learn(&request.cluster, position, now);
    }
    let refusal = request
        .grant
        .as_ref()
        .and_then(|grant| holder.accept(grant, now).err());
    let permit = holder.permit(now);
    Response {
        version: VERSION,
        pod_uid: holder.pod_uid().to_owned(),
        nonce: holder.nonce(now),
        report: Report {
            cluster: holder.cluster().map(str::to_owned),
            term: holder.position().map_or(0, |position| position.term),
            route: if permit.is_some() {
                Route::Open
            } else {
                Route::Closed
            },
            main: permit.map(|permit| permit.main.instance),
            held: holder.held(now),
            reach: MainReach {
                term: holder.position().map_or(0, |position| position.term),
                waiting_millis: gateway.waits.then_some(20_000),
                ..MainReach::default()
            },
            ..Report::default()
        },
        refusal: refusal.map(|refusal| refusal.to_string()),
    }
}
