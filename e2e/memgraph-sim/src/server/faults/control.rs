//! The port on which faults are asked for: HTTP with JSON.
//!
//! It runs on a thread of its own, so that it also answers while the server is frozen.

use std::{
    convert::Infallible,
    io,
    net::{AddrParseError, SocketAddr, TcpListener},
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::task::{LocalSet, spawn_local};

use super::{Fault, Faults};

/// Where the port is. The real server has no such variable.
const VARIABLE: &str = "MEMGRAPH_SIM_FAULTS";
/// The longest request.
const LONGEST: usize = 16 * 1024;

/// Why faults cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The variable is not an address.
    #[error("{VARIABLE}: {value:?} is not an address such as 127.0.0.1:7999: {error}")]
    Address {
        /// What it is.
        value: String,
        /// What is wrong with it.
        error: AddrParseError,
    },
    /// The address cannot be used.
    #[error("cannot listen on {address} for {VARIABLE}: {error}; name a free port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        error: io::Error,
    },
}

/// The port, before anybody answers on it.
pub(in super::super) struct Control {
    listener: TcpListener,
}

/// A fault and its number.
#[derive(Serialize)]
struct Listed {
    id: u64,
    #[serde(flatten)]
    fault: Fault,
}

impl Control {
    /// Opens the port, if the environment asks for one.
    pub(in super::super) fn open() -> Result<Option<Self>, ControlError> {
        let value = match std::env::var(VARIABLE) {
            Ok(value) if !value.is_empty() => value,
            _ => return Ok(None),
        };
        let address = value
            .parse()
            .map_err(|error| ControlError::Address { value, error })?;
        let failed = |error| ControlError::Listen { address, error };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Some(Self { listener }))
    }

    /// Answers from now on, until the process ends.
    pub(in super::super) fn answer(self, faults: Arc<Faults>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("faults".into())
            .spawn(move || LocalSet::new().block_on(&runtime, serve(self.listener, faults)))?;
        Ok(())
    }
}

async fn serve(listener: TcpListener, faults: Arc<Faults>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("cannot answer on the port of {VARIABLE}: {error}"),
    };
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a connection to the port of {VARIABLE}: {error}");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let faults = Arc::clone(&faults);
        spawn_local(async move {
            let service = service_fn(move |request| {
                let faults = Arc::clone(&faults);
                async move { Ok::<_, Infallible>(answer(&faults, request).await) }
            });
            if let Err(error) = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
            {
                tracing::debug!("a connection to the port of {VARIABLE} ended: {error}");
            }
        });
    }
}

async fn answer(faults: &Faults, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path: Vec<_> = request.uri().path().split('/').skip(1).collect();
    match (request.method(), &path[..]) {
        (&Method::GET, ["faults"]) => {
            let listed = faults.list().into_iter().map(|(id, fault)| Listed { id, fault });
            json(StatusCode::OK, &listed.collect::<Vec<_>>())
        }
        (&Method::POST, ["faults"]) => match read(request.into_body()).await {
            Ok(fault) => add(faults, fault).await,
            Err(reason) => text(StatusCode::BAD_REQUEST, &format!("not a fault: {reason}")),
        },
        (&Method::DELETE, ["faults"]) => {
            faults.clear(None);
            respond(StatusCode::NO_CONTENT, Bytes::new())
        }
        (&Method::DELETE, ["faults", id]) => match id.parse() {
            Ok(id) if faults.clear(Some(id)) => respond(StatusCode::NO_CONTENT, Bytes::new()),
            _ => text(StatusCode::NOT_FOUND, &format!("there is no fault {id}")),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "there are GET, POST and DELETE of /faults, and DELETE of /faults/ID",
        ),
    }
}

async fn read(body: impl Body<Data = Bytes, Error = hyper::Error>) -> Result<Fault, String> {
    let body = Limited::new(body, LONGEST).collect().await;
    let bytes = body.map_err(|error| error.to_string())?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

async fn add(faults: &Faults, fault: Fault) -> Response<Full<Bytes>> {
    if fault == Fault::PowerLoss {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("cannot lose power: {}", lose_power(faults)),
        );
    }
    let frozen = matches!(fault, Fault::Freeze { .. }).then(|| faults.frozen.subscribe());
    let id = faults.add(fault.clone());
    if let Some(mut frozen) = frozen {
        // Who asked can rely on it from the answer on. The sender lives as long as the process.
        let _ = frozen.wait_for(|seen| *seen >= id).await;
    }
    json(StatusCode::CREATED, &Listed { id, fault })
}

/// Ends the process. Returns only if that does not work.
fn lose_power(faults: &Faults) -> io::Error {
    // Nothing can be written any more.
    let ledger = faults.ledger();
    match ledger.lose() {
        Ok(lost) => tracing::warn!("power loss: {lost} bytes were not synced"),
        Err(error) => return error,
    }
    match rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL) {
        Ok(()) => io::Error::other("the process survives SIGKILL"),
        Err(error) => error.into(),
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = respond(status, body.into());
            let kind = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    respond(status, format!("{text}\n").into())
}

fn respond(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}
