//! When somebody had no rights because they had been taken away: what it asked for then does not speak against its roles. The
//! operator goes on for a moment while it is uninstalled, and gateways while their cluster is deleted, since their roles go before
//! their processes do. And an API server that has just started knows no role yet.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use e2e_cluster::audit::Request;
use jiff::{SignedDuration, Timestamp};

use crate::rights::Account;

/// What gives the operator its rights. All objects of an installation begin with its name.
const GIVERS: [&str; 5] = [
    "namespaces",
    "clusterroles",
    "clusterrolebindings",
    "roles",
    "rolebindings",
];
const INSTALLATION: &str = "memgraph-operator";
/// What gives rights within a namespace: to a cluster's account those of its own name.
const WITHIN: [&str; 2] = ["roles", "rolebindings"];
/// The API server's authorizer learns of roles by watches of its own: for so long it may not know of one that was made.
const LAG: SignedDuration = SignedDuration::from_secs(5);

/// Where the API server says whether it is ready: before that it may know no role at all.
const READY: &str = "/readyz";

/// An object that gives rights.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Giver {
    kind: String,
    namespace: String,
    /// None: all of that namespace.
    name: Option<String>,
}

impl Giver {
    /// Whether this account has its rights from it.
    fn gives(&self, account: Account, username: &str) -> bool {
        let name = self.name.as_deref();
        if account == Account::Operator {
            return name.is_some_and(|name| name.starts_with(INSTALLATION));
        }
        let own = username.strip_prefix("system:serviceaccount:");
        let own = own.and_then(|own| own.split_once(':'));
        own.is_some_and(|(namespace, own)| {
            let is_it = name.is_none_or(|name| name == own);
            WITHIN.contains(&self.kind.as_str()) && self.namespace == namespace && is_it
        })
    }
}

/// Follows requests in the order in which they came in.
#[derive(Default)]
pub struct Absence {
    gone: BTreeSet<Giver>,
    /// When each was made again.
    back: BTreeMap<Giver, Timestamp>,
    /// When the API server said that it was not ready.
    unready: BTreeSet<Timestamp>,
}

impl Absence {
    /// For these requests, none of which is noted yet.
    pub fn of(requests: &[Request]) -> Result<Self> {
        let is_unready = |request: &&Request| {
            let code = request.response_status.as_ref().map(|status| status.code);
            request.uri.starts_with(READY) && code != Some(200)
        };
        Ok(Self {
            unready: requests
                .iter()
                .filter(is_unready)
                .map(at)
                .collect::<Result<_>>()?,
            ..Self::default()
        })
    }

    /// Takes note of a request, which may take rights away or give them back.
    pub fn note(&mut self, request: &Request) -> Result<()> {
        let Some(object) = &request.object_ref else {
            return Ok(());
        };
        if !GIVERS.contains(&object.resource.as_str()) {
            return Ok(());
        }
        let giver = Giver {
            kind: object.resource.clone(),
            namespace: object.namespace.clone(),
            name: Some(object.name.clone()).filter(|name| !name.is_empty()),
        };
        let created = request.response_status.as_ref().is_some_and(|it| it.code == 201);
        if matches!(request.verb.as_str(), "delete" | "deletecollection") {
            self.gone.insert(giver);
        } else if created && self.gone.remove(&giver) {
            self.back.insert(giver, at(request)?);
        }
        Ok(())
    }

    /// Whether this account may have lacked its rights when this request came in.
    pub fn excuses(&self, account: Account, request: &Request) -> Result<bool> {
        let is_its = |giver: &&Giver| giver.gives(account, &request.user.username);
        let now = at(request)?;
        let mut back = self.back.iter().filter(|(giver, _)| is_its(giver));
        let recently = back.any(|(_, since)| now.duration_since(*since) < LAG);
        // Whether this request or the question whether it is ready came first is chance.
        let mut near = self.unready.range(now - LAG..=now + LAG);
        Ok(recently || near.next().is_some() || self.gone.iter().any(|giver| is_its(&giver)))
    }
}

fn at(request: &Request) -> Result<Timestamp> {
    let text = &request.request_received_timestamp;
    text.parse().with_context(|| format!("{text} is no time"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(verb: &str, resource: &str, name: &str, code: u16, second: u32) -> Request {
        serde_json::from_value(json!({
            "verb": verb,
            "requestURI": "/",
            "user": {"username": "system:serviceaccount:graphs:demo-gateway"},
            "objectRef": {"resource": resource, "namespace": "graphs", "name": name},
            "responseStatus": {"code": code},
            "requestReceivedTimestamp": format!("2026-01-01T00:00:{second:02}.000001Z"),
        }))
        .unwrap()
    }

    #[test]
    fn from_the_first_role_that_goes_until_all_are_known_again() {
        let mut absence = Absence::default();
        let asks = |second| request("list", "pods", "", 403, second);
        assert!(!absence.excuses(Account::Operator, &asks(0)).unwrap());
        for (resource, second) in [("clusterrolebindings", 1), ("rolebindings", 2)] {
            let delete = request("delete", resource, "memgraph-operator", 200, second);
            absence.note(&delete).unwrap();
            assert!(absence.excuses(Account::Operator, &asks(second)).unwrap());
        }
        for (resource, second) in [("clusterrolebindings", 10), ("rolebindings", 20)] {
            let create = request("patch", resource, "memgraph-operator", 201, second);
            absence.note(&create).unwrap();
            assert!(absence.excuses(Account::Operator, &asks(second + 4)).unwrap());
        }
        assert!(!absence.excuses(Account::Operator, &asks(26)).unwrap());
    }

    #[test]
    fn what_is_not_the_operators_says_nothing_of_its_rights() {
        let mut absence = Absence::default();
        absence
            .note(&request("delete", "rolebindings", "demo-gateway", 200, 1))
            .unwrap();
        absence
            .note(&request("delete", "pods", "memgraph-operator-1", 200, 1))
            .unwrap();
        let asks = request("list", "pods", "", 403, 2);
        assert!(!absence.excuses(Account::Operator, &asks).unwrap());
    }

    #[test]
    fn an_api_server_that_has_just_started_knows_nobodys_rights() {
        let told = |code| {
            let mut told = request("get", "", "", code, 10);
            told.uri = "/readyz?verbose".to_owned();
            told
        };
        let (unready, ready) = (told(500), told(200));
        for (witness, second, excused) in [
            (&unready, 9, true),
            (&unready, 12, true),
            (&unready, 16, false),
            (&unready, 4, false),
            (&ready, 10, false),
        ] {
            let absence = Absence::of(std::slice::from_ref(witness)).unwrap();
            let asks = request("list", "pods", "", 403, second);
            let told = absence.excuses(Account::Operator, &asks).unwrap();
            assert_eq!(told, excused, "{second}: {witness:?}");
        }
    }

    #[test]
    fn a_gateway_outlives_the_role_of_its_own_cluster() {
        let asks = request("get", "memgraphclusters", "demo", 403, 2);
        let told = |request: &Request| {
            let mut absence = Absence::default();
            absence.note(request).unwrap();
            absence.excuses(Account::Gateway, &asks).unwrap()
        };
        assert!(told(&request("delete", "roles", "demo-gateway", 200, 1)));
        assert!(told(&request("deletecollection", "rolebindings", "", 200, 1)));
        assert!(!told(&request("delete", "roles", "other-gateway", 200, 1)));
        assert!(!told(&request("delete", "pods", "demo-gateway", 200, 1)));
    }
}
