//! The gateway's end.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Response as HttpResponse, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{MESSAGE_LIMIT, PATH};
use crate::{
    grants::{Request, Response},
    newest::{Newcomer, Newest},
};

/// How long a peer may take to show who it is.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// How many connections there are at most of peers that have not shown who they are. Operators are few; anybody in the cluster
/// may come.
pub const UNKNOWN: usize = 64;
/// How soon after one refusal was logged another one may be.
const LOG_PAUSE: Duration = Duration::from_secs(10);
/// After so long a connection is ended between two questions, so that each peer shows anew who it is.
const LONGEST_CONNECTION: Duration = Duration::from_secs(600);
/// For how long nothing is accepted after a failure that is not the connection's own.
const BACKOFF: Duration = Duration::from_millis(50);

/// What answers a question.
pub type Answer = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// Answers operators until `stop`. While there are no certificates, nobody is answered.
pub async fn serve(
    listener: TcpListener,
    certificates: watch::Receiver<Option<Arc<ServerConfig>>>,
    answer: Answer,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let newest = Newest::of(UNKNOWN);
    let refusals = Arc::<Mutex<Refusals>>::default();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                let config = certificates.borrow().clone();
                let (answer, stop) = (Arc::clone(&answer), stop.clone());
                let (newcomer, refusals) = (newest.admit(), Arc::clone(&refusals));
                connections.spawn(async move {
                    match config {
                        Some(config) => {
                            if let Some(stream) = identified(stream, config, newcomer, &refusals).await {
                                converse(stream, answer, stop).await;
                            }
                        }
                        None => debug!("an operator came before there were certificates"),
                    }
                });
            }
            Err(error) => {
                // As long as nothing changes, one line tells of it.
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "cannot accept connections of operators; trying again");
                }
                sleep(BACKOFF).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

/// Peers that were refused.
#[derive(Default)]
struct Refusals {
    so_far: u64,
    quiet_until: Option<Instant>,
}

impl Refusals {
    /// Counts one more, and logs it unless another one was logged a short time ago: whoever knocks again and again must not flood
    /// the log.
    fn tell(refusals: &Mutex<Self>, error: &io::Error) {
        let so_far = {
            let now = Instant::now();
            let mut refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
            refusals.so_far += 1;
            if refusals.quiet_until.is_some_and(|until| now < until) {
                return;
            }
            refusals.quiet_until = Some(now + LOG_PAUSE);
            refusals.so_far
        };
        warn!(%error, so_far, "refused somebody who is no operator of this cluster");
    }
}

/// The connection, once the peer has shown who it is; none: it has not.
async fn identified(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    newcomer: Newcomer,
    refusals: &Mutex<Refusals>,
) -> Option<TlsStream<TcpStream>> {
    let accepted = async {
        stream.set_nodelay(true)?;
        TlsAcceptor::from(config).accept(stream).await
    };
    tokio::select! {
        biased;
        accepted = timeout(HANDSHAKE_DEADLINE, accepted) => match accepted {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => Refusals::tell(refusals, &error),
            Err(_) => debug!("somebody did not say who it is"),
        },
        () = newcomer.is_to_leave() => debug!("somebody did not say who it is before many others had come"),
    }
    None
}

async fn converse(stream: TlsStream<TcpStream>, answer: Answer, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let answer = Arc::clone(&answer);
        async move { Ok::<_, Infallible>(respond(request, answer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = async { tokio::select! { () = stop.cancelled() => {} () = sleep(LONGEST_CONNECTION) => {} } } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an operator's connection broke");
    }
}

async fn respond(request: hyper::Request<Incoming>, answer: Answer) -> HttpResponse<Full<Bytes>> {
    if request.uri().path() != PATH {
        return refused(StatusCode::NOT_FOUND, "no such question");
    }
    if request.method() != Method::POST {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "a question is posted");
    }
    let body = match Limited::new(request.into_body(), MESSAGE_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let question = match serde_json::from_slice(&body) {
        Ok(question) => question,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match serde_json::to_vec(&answer(question).await) {
        Ok(text) => HttpResponse::new(Full::from(text)),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refused(status: StatusCode, reason: &str) -> HttpResponse<Full<Bytes>> {
    let mut response = HttpResponse::new(Full::from(format!("{reason}\n")));
    *response.status_mut() = status;
    response
}
