//! What texts become, release by release.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy allows it only inside of test functions"
)]

mod admin;
mod classify;
mod expressions;
mod properties;
mod queries;
mod refusals;
mod schema;

use cypher_subset::{Error, Version, ast::Statement, parse};

/// Reads a text as the default release does.
fn parsed(text: &str) -> Statement {
    match parse(text, Version::V3_12) {
        Ok(statement) => statement,
        Err(error) => panic!("{text}: {error}"),
    }
}

/// Memgraph's refusal of a text.
fn refusal(text: &str, version: Version) -> String {
    match parse(text, version) {
        Err(Error::Refused(message)) => message,
        other => panic!("{text} on {version}: {other:?}"),
    }
}

/// The construct for which a text is not taken.
fn unsupported(text: &str) -> String {
    match parse(text, Version::Head) {
        Err(Error::Unsupported(construct)) => construct,
        other => panic!("{text}: {other:?}"),
    }
}

/// Whether each release reads the text at all.
fn exists_since(text: &str, since: Version) {
    for version in Version::ALL {
        let taken = match parse(text, version) {
            Ok(_) | Err(Error::Unsupported(_)) => true,
            Err(Error::Refused(_)) => false,
        };
        assert_eq!(taken, version >= since, "{text} on {version}");
    }
}
