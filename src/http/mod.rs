//! Answers HTTP: what operator and gateway have in common.

use std::{fmt::Display, io, net::SocketAddr, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use warp::{
    Filter, Rejection,
    http::StatusCode,
    reply::{Reply, with_status},
};

/// How long an answer under way may still take after the end was asked for.
const GRACE: Duration = Duration::from_secs(1);

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

/// Answers requests until `stop`.
pub async fn serve<F>(listener: TcpListener, answers: F, stop: CancellationToken)
where
    F: Filter<Error = Rejection> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    let served = warp::serve(answers)
        .incoming(listener)
        .graceful(stop.clone().cancelled_owned())
        .run();
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = served => {}
        () = overdue => warn!("HTTP requests were still open at the end"),
    }
}
