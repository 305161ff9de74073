//! When the operator had no rights because somebody had taken them from it: what it asked for then does not speak against its roles.
//! It goes on for a moment while it is uninstalled, since its roles go before its process does.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use e2e_cluster::audit::Request;
use jiff::{SignedDuration, Timestamp};

/// What gives the operator its rights. All objects of an installation begin with its name.
const GIVERS: [&str; 5] = [
    "namespaces",
    "clusterroles",
    "clusterrolebindings",
    "roles",
    "rolebindings",
];
const INSTALLATION: &str = "memgraph-operator";
/// The API server's authorizer learns of roles by watches of its own: for so long it may not know of one that was made.
const LAG: SignedDuration = SignedDuration::from_secs(5);

/// An object: its kind, namespace and name.
type Giver = (String, String, String);

/// Follows requests in the order in which they came in.
#[derive(Default)]
pub struct Absence {
    gone: BTreeSet<Giver>,
    whole_since: Option<Timestamp>,
}

impl Absence {
    /// Takes note of a request, which may take rights away or give them back.
    pub fn note(&mut self, request: &Request) -> Result<()> {
        let Some(object) = &request.object_ref else {
            return Ok(());
        };
        let gives = GIVERS.contains(&object.resource.as_str()) && object.name.starts_with(INSTALLATION);
        if !gives {
            return Ok(());
        }
        let giver = (
            object.resource.clone(),
            object.namespace.clone(),
            object.name.clone(),
        );
        let created = request.response_status.as_ref().is_some_and(|it| it.code == 201);
        if request.verb == "delete" {
            self.gone.insert(giver);
        } else if created && self.gone.remove(&giver) && self.gone.is_empty() {
            self.whole_since = Some(at(request)?);
        }
        Ok(())
    }

    /// Whether the operator may have lacked its rights when this request came in.
    pub fn excuses(&self, request: &Request) -> Result<bool> {
        let recent = match self.whole_since {
            Some(since) => at(request)?.duration_since(since) < LAG,
            None => false,
        };
        Ok(recent || !self.gone.is_empty())
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
            "user": {},
            "objectRef": {"resource": resource, "name": name},
            "responseStatus": {"code": code},
            "requestReceivedTimestamp": format!("2026-01-01T00:00:{second:02}.000001Z"),
        }))
        .unwrap()
    }

    #[test]
    fn from_the_first_role_that_goes_until_all_are_known_again() {
        let mut absence = Absence::default();
        let asks = |second| request("list", "pods", "", 403, second);
        assert!(!absence.excuses(&asks(0)).unwrap());
        for (resource, second) in [("clusterrolebindings", 1), ("rolebindings", 2)] {
            let delete = request("delete", resource, "memgraph-operator", 200, second);
            absence.note(&delete).unwrap();
            assert!(absence.excuses(&asks(second)).unwrap());
        }
        for (resource, second) in [("clusterrolebindings", 10), ("rolebindings", 20)] {
            let create = request("patch", resource, "memgraph-operator", 201, second);
            absence.note(&create).unwrap();
            assert!(absence.excuses(&asks(second + 4)).unwrap());
        }
        assert!(!absence.excuses(&asks(26)).unwrap());
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
        assert!(!absence.excuses(&request("list", "pods", "", 403, 2)).unwrap());
    }
}
