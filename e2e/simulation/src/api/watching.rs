//! One watch: changes of a resource from a version on, later than they happened.

use std::{io, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    connection::{Conditions, Outage, Way},
    request::Resource,
    selector::Selector,
    server::ApiServer,
    store::{Change, Refusal, key_of},
};
use crate::{life::Life, signal::Follower};

/// A watch that is open.
pub(super) struct Watching {
    pub(super) server: ApiServer,
    pub(super) resource: Resource,
    pub(super) selector: Selector,
    /// What was shown last.
    pub(super) version: u64,
    /// When the server ends it.
    pub(super) ends: Instant,
    pub(super) way: Way,
    pub(super) life: Life,
    pub(super) changed: Follower<u64>,
}

fn broken() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "the connection to the API server was reset",
    )
}

impl Watching {
    /// The lines that the client gets.
    pub(super) fn lines(self) -> impl Stream<Item = Result<Frame<Bytes>, io::Error>> + Send {
        stream::unfold(Some(self), |watching| async move {
            let mut watching = watching?;
            match watching.next().await {
                Ok(Some(line)) => Some((Ok(Frame::data(line)), Some(watching))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// The next line. None: the server has ended the watch.
    async fn next(&mut self) -> Result<Option<Bytes>, io::Error> {
        let mut conditions = self.way.conditions();
        loop {
            self.life.awake().await.map_err(|_| broken())?;
            let now = conditions.get_and_see();
            if now.is_refusing() {
                return Err(broken());
            }
            if Instant::now() >= self.ends && !now.is_silent() {
                return Ok(None);
            }
            let change = self.server.store().next_change(&self.resource, self.version);
            let due = match change {
                Err(refusal) if !now.is_silent() => return Ok(Some(self.refused(refusal))),
                Ok(Some(change)) if !now.is_silent() => {
                    let due = change.at + now.lag;
                    if due <= Instant::now() {
                        self.version = change.version;
                        if let Some(line) = self.line(&change) {
                            return Ok(Some(line));
                        }
                        continue;
                    }
                    due
                }
                // What is lost on a silent way is never sent again: the connection is over when it comes back.
                _ if now.is_silent() => {
                    conditions.wait_for(|now| !now.is_silent()).await;
                    return Err(broken());
                }
                _ => self.ends,
            };
            tokio::select! {
                biased;
                () = conditions.changed() => {}
                () = self.changed.changed() => {}
                () = sleep_until(due.min(self.ends)) => {}
            }
        }
    }

    fn refused(&mut self, refusal: Refusal) -> Bytes {
        // Whoever is told so lists anew.
        self.ends = Instant::now();
        self.version = u64::MAX;
        line("ERROR", &refusal.status().to_string())
    }

    fn line(&self, change: &Change) -> Option<Bytes> {
        let shown = |object: &Option<super::Object>| {
            let object = object.as_ref()?;
            self.selector
                .shows(&key_of(object), object)
                .then(|| super::Object::clone(object))
        };
        match (shown(&change.before), shown(&change.now)) {
            (None, None) => None,
            (None, Some(_)) => Some(line("ADDED", change.text())),
            (Some(_), Some(_)) => Some(line("MODIFIED", change.text())),
            (Some(last), None) => {
                let mut last = Value::clone(&last);
                last["metadata"]["resourceVersion"] = json!(change.version.to_string());
                Some(line("DELETED", &last.to_string()))
            }
        }
    }
}

fn line(kind: &str, object: &str) -> Bytes {
    Bytes::from(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n"))
}

/// For how long a server keeps a watch open whose client did not say.
pub(super) const LONGEST: Duration = Duration::from_secs(300);

impl Conditions {
    /// Whether nothing gets through.
    pub(super) fn blocked(&self) -> bool {
        self.is_refusing() || self.is_silent()
    }

    pub(super) fn is_refusing(&self) -> bool {
        self.refuses || self.outage == Some(Outage::Refuses)
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent || self.outage == Some(Outage::Silent)
    }
}
