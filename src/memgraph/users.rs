//! The user that clients sign in as.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;

use super::{AdminError, Bolt, BoltError, Credentials, Row, Session, admin::bolt};

/// For how long a statement about users may take: it computes a hash, on a host that may be busy.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is known of a user on MAIN already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// That the password is right, if the user is there.
    Password,
}

/// Sees to it that this user is on MAIN, with this password: afterwards Memgraph lets in nobody without one.
///
/// Any user ends access without credentials (`SessionHL::Authenticate` in `src/glue/SessionHL.cpp`). Sessions that are signed in
/// already go on; those that came in while there were no users are refused from then on. Users that somebody else has made stay.
///
/// # Errors
/// When the user is not known to be there, or not with this password; on a replica too, which has no users of its own.
pub async fn settle_users<B: Bolt>(
    client: &B,
    main: SocketAddr,
    wanted: &Credentials,
    known: Known,
) -> Result<(), AdminError> {
    let user = wanted.username();
    let action = format!("set the password of {user}");
    let mut session = client.session(main);
    let users = session
        .run("SHOW USERS", DEADLINE)
        .await
        .map_err(bolt(action.as_str()))?;
    let name = quoted(user);
    let password = literal(wanted.password());
    let statement = if !is_listed(&users, user) {
        format!("CREATE USER {name} IDENTIFIED BY {password}")
    } else if known == Known::Password || is_let_in(client, main, wanted, &action).await? {
        return Ok(());
    } else {
        format!("SET PASSWORD FOR {name} TO {password}")
    };
    let done = session.run(&statement, DEADLINE).await;
    done.map(drop)
        .map_err(|error| bolt(action)(discreet(error, wanted)))
}

/// Whether these credentials are taken now: there are users, so that they are looked at.
async fn is_let_in<B: Bolt>(
    client: &B,
    main: SocketAddr,
    wanted: &Credentials,
    action: &str,
) -> Result<bool, AdminError> {
    let mut session = client.session_as(main, Some(wanted));
    match session.run("SHOW USERS", DEADLINE).await {
        Ok(_) => Ok(true),
        Err(BoltError::Unauthenticated { .. }) => Ok(false),
        Err(error) => Err(bolt(action)(error)),
    }
}

fn is_listed(users: &[Row], user: &str) -> bool {
    let names = users
        .iter()
        .filter_map(|row| row.get("user").and_then(Value::as_str));
    names.into_iter().any(|name| name == user)
}

/// A refusal without the password, of which an error about the syntax may quote a part.
fn discreet(error: BoltError, wanted: &Credentials) -> BoltError {
    match error {
        BoltError::Failure { code, message } if message.contains(wanted.password()) => BoltError::Failure {
            code,
            message: message.replace(wanted.password(), "***"),
        },
        other => other,
    }
}

/// The name of a user, which has no back-quote.
fn quoted(name: &str) -> String {
    format!("`{name}`")
}

/// A string in Cypher: `\` and `'` are escaped (`ParseStringLiteral` in `src/query/frontend/parsing.cpp`).
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_have_quotes() {
        assert_eq!(literal(r"a'b\c"), r"'a\'b\\c'");
    }

    #[test]
    fn an_error_does_not_quote_the_password() {
        let wanted = Credentials::new("app", "s3cret").unwrap();
        let error = BoltError::Failure {
            code: "c".to_owned(),
            message: "mismatched input 's3cret'".to_owned(),
        };
        assert!(!discreet(error, &wanted).to_string().contains("s3cret"));
    }
}
