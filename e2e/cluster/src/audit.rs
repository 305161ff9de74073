//! Reads the API server's audit log, so that tests can count requests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// Who asked.
    pub user: User,
    /// The program that asked, as it calls itself; empty if it does not.
    #[serde(default)]
    pub user_agent: String,
    /// What was asked for; `None` for requests such as `/readyz`.
    pub object_ref: Option<Object>,
    /// How it was answered.
    pub response_status: Option<Status>,
    /// What plugins of the API server noted about it, such as whether the caller had the right.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When it came in, in RFC 3339 with microseconds: these sort as text.
    pub request_received_timestamp: String,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct User {
    /// Such as `system:serviceaccount:NAMESPACE:NAME`.
    #[serde(default)]
    pub username: String,
    /// What else is known of it, such as by which of its tokens it is known.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The token of a ServiceAccount by which it is known: the token's claim `jti`. None for other users.
    pub fn token(&self) -> Option<&str> {
        let id = self
            .extra
            .get("authentication.kubernetes.io/credential-id")?
            .first()?;
        id.strip_prefix("JTI=")
    }
}

/// What was asked for. Empty where it does not apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    /// Plural, lower case.
    pub resource: String,
    /// Such as `status`.
    pub subresource: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// API group.
    pub api_group: String,
}

/// How a request was answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// HTTP status.
    #[serde(default)]
    pub code: u16,
}

impl Request {
    /// Whether it was meant to change something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// Whether it was refused because the caller has not the right to it.
    pub fn is_forbidden(&self) -> bool {
        let decision = self.annotations.get("authorization.k8s.io/decision");
        decision.is_some_and(|decision| decision == "forbid")
    }

    /// Whether it was about this kind of object.
    pub fn is_about(&self, resource: &str) -> bool {
        self.object_ref
            .as_ref()
            .is_some_and(|object| object.resource == resource)
    }
}

/// A log that is read on from where it was left.
#[derive(Debug)]
pub struct Follower {
    log: PathBuf,
    read: u64,
}

impl Follower {
    /// Begins before the first request of a log.
    pub fn of(log: &Path) -> Self {
        Self {
            log: log.to_owned(),
            read: 0,
        }
    }

    /// The requests since the last call, in the order in which they were answered.
    ///
    /// # Errors
    /// When the file cannot be read or a line of it is not understood.
    pub fn news(&mut self) -> Result<Vec<Request>> {
        let opened = || format!("cannot open {}", self.log.display());
        let mut file = File::open(&self.log).with_context(opened)?;
        file.seek(SeekFrom::Start(self.read)).with_context(opened)?;
        let (requests, read) = parse(BufReader::new(file)).with_context(|| {
            format!(
                "cannot understand {} after byte {}",
                self.log.display(),
                self.read
            )
        })?;
        self.read += read;
        Ok(requests)
    }
}

/// Reads all requests of a log in the order in which they were answered.
///
/// # Errors
/// When the file cannot be read or a line of it is not understood.
pub fn read(log: &Path) -> Result<Vec<Request>> {
    Follower::of(log).news()
}

/// The requests, and how many bytes of the log they take.
fn parse(mut log: impl BufRead) -> Result<(Vec<Request>, u64)> {
    let (mut requests, mut line, mut read) = (Vec::new(), String::new(), 0);
    while log.read_line(&mut line)? > 0 {
        // The last line may be half written yet.
        if line.ends_with('\n') {
            requests.push(
                serde_json::from_str(&line).with_context(|| format!("in line {}", requests.len() + 1))?,
            );
            read += line.len() as u64;
        }
        line.clear();
    }
    Ok((requests, read))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = concat!(
        r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete","#,
        r#""requestURI":"/api/v1/namespaces/a/pods/x/status?t=1","verb":"patch","user":{"username":"u","groups":["g"]},"#,
        r#""userAgent":"demo/1","objectRef":{"resource":"pods","namespace":"a","name":"x","apiVersion":"v1","#,
        r#""subresource":"status"},"responseStatus":{"metadata":{},"code":200},"#,
        r#""requestReceivedTimestamp":"2026-01-01T00:00:00.000001Z"}"#,
        "\n",
        r#"{"requestURI":"/readyz","verb":"get","user":{},"requestReceivedTimestamp":"2026-01-01T00:00:00.000002Z"}"#,
        "\n",
        r#"{"requestURI":"/rea"#,
    );

    #[test]
    fn requests_are_read_and_a_half_written_one_is_left() {
        let (requests, read) = parse(LOG.as_bytes()).unwrap();
        assert!(
            LOG[..read as usize].ends_with("}\n")
                && LOG[read as usize..].starts_with("{\"requestURI\":\"/rea")
        );
        assert_eq!(requests.len(), 2);
        assert!(requests[0].is_write() && requests[0].is_about("pods") && !requests[0].is_about("services"));
        assert_eq!(requests[0].object_ref.as_ref().unwrap().subresource, "status");
        assert_eq!(requests[0].response_status, Some(Status { code: 200 }));
        assert!(!requests[1].is_write() && requests[1].object_ref.is_none());
    }

    #[test]
    fn nonsense_is_refused() {
        let error = format!("{:#}", parse("{}\n".as_bytes()).unwrap_err());
        assert!(error.contains("line 1"), "{error}");
    }
}
