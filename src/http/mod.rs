//! Answers HTTP: what operator and gateway have in common.

use std::{fmt::Display, io, net::SocketAddr, pin::pin, time::Duration};

use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};
use warp::{
    Filter, Rejection,
    http::StatusCode,
    reply::{Reply, with_status},
};

use crate::newest::Newest;

/// How long an answer under way may still take after the end was asked for.
const GRACE: Duration = Duration::from_secs(1);
/// How many connections there are at most. Probes and whoever collects metrics need a few, and each page that shows changes one,
/// which connects again by itself; anybody in the cluster may come.
pub const CONNECTIONS: usize = 64;
/// How long a request may take to come, and the next one after an answer.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// For how long nothing is accepted after a failure.
const BACKOFF: Duration = Duration::from_millis(50);

/// `GET /livez`: 200 while the process can answer at all.
pub fn livez() -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    warp::path!("livez").and(warp::get()).map(|| "ok\n")
}

/// `GET /readyz`: 200, or 503 with the reason as text. `check` is asked each time and must not block.
pub fn readyz<E: Display>(
    check: impl Fn() -> Result<(), E> + Clone + Send + Sync + 'static,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    warp::path!("readyz").and(warp::get()).map(move || match check() {
        Ok(()) => with_status("ok\n".to_owned(), StatusCode::OK),
        Err(reason) => with_status(format!("{reason}\n"), StatusCode::SERVICE_UNAVAILABLE),
    })
}

/// Listens for HTTP connections.
///
/// # Errors
///
/// Fails when the address is in use, not this host's, or not allowed to this user.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers requests until `stop`. Of more than [`CONNECTIONS`] at a time the one that came first is ended; so is one on which no
/// request comes for ten seconds.
pub async fn serve<F>(listener: TcpListener, answers: F, stop: CancellationToken)
where
    F: Filter<Error = Rejection> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let answers = warp::service(answers);
    let newest = Newest::of(CONNECTIONS);
    let connections = TaskTracker::new();
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (newcomer, over, stop) = (newest.admit(), over.clone(), stop.clone());
                let answers = TowerToHyperService::new(answers.clone());
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(REQUEST_DEADLINE)
                    .serve_connection(TokioIo::new(stream), answers);
                connections.spawn(async move {
                    let mut connection = pin!(connection);
                    let served = async {
                        tokio::select! {
                            biased;
                            ended = connection.as_mut() => ended,
                            () = stop.cancelled() => {
                                connection.as_mut().graceful_shutdown();
                                connection.await
                            }
                        }
                    };
                    tokio::select! {
                        biased;
                        () = over.cancelled() => {}
                        () = newcomer.is_to_leave() => {}
                        _broken = served => {}
                    }
                });
            }
            Err(error) => {
                debug!(%error, "cannot accept an HTTP connection; trying again");
                sleep(BACKOFF).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(GRACE, connections.wait()).await.is_err() {
        warn!("HTTP requests were still open at the end");
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::JoinHandle,
    };

    use super::*;

    async fn start() -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        (
            address,
            stop.clone(),
            tokio::spawn(serve(listener, livez(), stop)),
        )
    }

    /// Asks, and leaves the connection open.
    async fn ask(stream: &mut TcpStream) -> String {
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n")
            .await
            .unwrap();
        let mut answer = vec![0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn connections_that_say_nothing_keep_nobody_out() {
        let (address, stop, serving) = start().await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut asking = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut asking).await, "HTTP/1.1 200 OK");
        let end = timeout(Duration::from_secs(10), silent[0].read(&mut [0])).await;
        assert!(
            matches!(end, Ok(Ok(0) | Err(_))),
            "the first of them is still there: {end:?}"
        );
        stop.cancel();
        timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_ended() {
        let (address, _stop, _serving) = start().await;
        for asks_first in [false, true] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if asks_first {
                assert_eq!(ask(&mut stream).await, "HTTP/1.1 200 OK");
            }
            let rest = timeout(Duration::from_secs(3600), stream.read_to_end(&mut Vec::new())).await;
            assert!(
                rest.is_ok(),
                "it is there for ever, after a request: {asks_first}"
            );
        }
    }
}
