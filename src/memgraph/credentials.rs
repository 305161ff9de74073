//! A user's name and password, which show themselves in no log.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A user's name and password. Only [`password`](Self::password) shows the latter: it is not printed otherwise.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    password: SecretString,
}

/// Why Memgraph would not take a name or a password. It does not tell the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableCredentials {
    /// The name is empty, too long, or has a character that Memgraph refuses.
    #[error("username must have 1 to 128 characters of a-z, A-Z, 0-9 and _.+-@")]
    Username,
    /// The password is empty or too long.
    #[error("password must have 1 to 512 bytes")]
    Length,
    /// The password has a control character.
    #[error(
        "password has a line break or another control character; one at its end comes from a file that was made by \
         `echo` without -n"
    )]
    Control,
    /// Memgraph would take the password for a hash.
    #[error(
        "password must not begin with bcrypt:, sha256: or sha256-multiple:, which Memgraph takes for a hash"
    )]
    Hash,
}

/// What makes Memgraph take a password for its hash (`UserDefinedHash` in `src/auth/crypto.cpp`).
const HASHES: [&str; 3] = ["bcrypt:", "sha256:", "sha256-multiple:"];

impl Credentials {
    /// Credentials that Memgraph takes with its default settings.
    ///
    /// # Errors
    /// When it would not: its `--auth-user-or-role-name-regex` is `[a-zA-Z0-9_.+-@]+`.
    pub fn new(username: &str, password: &str) -> Result<Self, UnusableCredentials> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.+-@".contains(c);
        if !(1..=128).contains(&username.len()) || !username.chars().all(allowed) {
            return Err(UnusableCredentials::Username);
        }
        if !(1..=512).contains(&password.len()) {
            return Err(UnusableCredentials::Length);
        }
        if password.chars().any(char::is_control) {
            return Err(UnusableCredentials::Control);
        }
        if HASHES.iter().any(|hash| password.starts_with(hash)) {
            return Err(UnusableCredentials::Hash);
        }
        Ok(Self {
            username: username.to_owned(),
            password: password.into(),
        })
    }

    /// The name.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password, in clear.
    #[must_use]
    pub fn password(&self) -> &str {
        self.password.expose_secret()
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.username == other.username && self.password() == other.password()
    }
}

impl Eq for Credentials {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What may be logged of a statement: of one that has a password, what it does.
pub(super) fn shown(statement: &str) -> &str {
    ["CREATE USER", "SET PASSWORD"]
        .into_iter()
        .find(|kind| statement.starts_with(kind))
        .unwrap_or(statement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_printed() {
        let own = Credentials::new("app", "s3cret").unwrap();
        assert!(!format!("{own:?} {own:#?}").contains("s3cret"));
        assert_eq!(shown("CREATE USER `app` IDENTIFIED BY 's3cret'"), "CREATE USER");
        assert_eq!(shown("SET PASSWORD FOR `app` TO 's3cret'"), "SET PASSWORD");
        assert_eq!(shown("SHOW USERS"), "SHOW USERS");
    }

    #[test]
    fn what_memgraph_refuses_is_refused() {
        let refused = |username: &str, password: &str| Credentials::new(username, password).unwrap_err();
        for name in ["", "a b", "a`b", "ä", &"a".repeat(129)] {
            assert_eq!(refused(name, "p"), UnusableCredentials::Username, "{name}");
        }
        assert_eq!(refused("app", ""), UnusableCredentials::Length);
        assert_eq!(refused("app", "p\n"), UnusableCredentials::Control);
        assert_eq!(refused("app", "sha256:abc"), UnusableCredentials::Hash);
        assert!(Credentials::new("first.last+x@example.com", "pässword 'quoted' \\ \"").is_ok());
    }
}
