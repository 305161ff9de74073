//! Who has which right, and which one a request needs.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use e2e_cluster::audit::Request;
use e2e_node::node::OPERATOR_USER;
use serde::Deserialize;
use serde_yaml::Value;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// The operator.
    Operator,
    /// The gateways of a cluster.
    Gateway,
    /// The init containers of a cluster's instances.
    Instance,
}

impl Account {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Operator, Self::Gateway, Self::Instance];

    /// Whose this name in the audit log is.
    pub fn of(username: &str) -> Option<Self> {
        if username == OPERATOR_USER {
            return Some(Self::Operator);
        }
        let name = username.strip_prefix("system:serviceaccount:")?;
        if name.ends_with("-gateway") {
            Some(Self::Gateway)
        } else if name.ends_with("-instance") {
            Some(Self::Instance)
        } else {
            None
        }
    }

    /// The rights in the manifests of the project; those that the operator gives are in the objects of an example.
    pub fn rights(self, project: &Path) -> Result<BTreeSet<Right>> {
        let (files, name): (&[&str], Option<&str>) = match self {
            Self::Operator => (
                &["config/rbac/role.yaml", "config/rbac/leader_election_role.yaml"],
                None,
            ),
            Self::Gateway => (&["src/resources/golden/quickstart.yaml"], Some("demo-gateway")),
            Self::Instance => (&["src/resources/golden/quickstart.yaml"], Some("demo-instance")),
        };
        let mut rights = BTreeSet::new();
        for file in files {
            let path = project.join(file);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            for document in serde_yaml::Deserializer::from_str(&text) {
                let object = Value::deserialize(document).with_context(|| path.display().to_string())?;
                let is_role = object["kind"].as_str().is_some_and(|kind| kind.ends_with("Role"));
                if is_role && (name.is_none() || object["metadata"]["name"].as_str() == name) {
                    let rules: Vec<Rule> = serde_yaml::from_value(object["rules"].clone())?;
                    rights.extend(rules.iter().flat_map(Rule::rights));
                }
            }
        }
        Ok(rights)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "the operator",
            Self::Gateway => "a gateway",
            Self::Instance => "an instance",
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

impl Rule {
    fn rights(&self) -> impl Iterator<Item = Right> {
        let resources = self
            .api_groups
            .iter()
            .flat_map(|group| self.resources.iter().map(move |resource| (group, resource)));
        resources.flat_map(|(group, resource)| {
            self.verbs.iter().map(|verb| Right {
                group: group.clone(),
                resource: resource.clone(),
                verb: verb.clone(),
            })
        })
    }
}

/// To do something with objects of a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    group: String,
    resource: String,
    verb: String,
}

impl Right {
    /// What a request needs: a server-side apply that has created an object is a `patch` and a `create`.
    pub fn needed_for(request: &Request) -> Vec<Self> {
        let Some(object) = &request.object_ref else {
            return Vec::new();
        };
        let resource = match object.subresource.as_str() {
            "" => object.resource.clone(),
            subresource => format!("{}/{subresource}", object.resource),
        };
        let created = request.verb == "patch"
            && request
                .response_status
                .as_ref()
                .is_some_and(|status| status.code == 201);
        let verbs = std::iter::once(request.verb.as_str()).chain(created.then_some("create"));
        verbs
            .map(|verb| Self {
                group: object.api_group.clone(),
                resource: resource.clone(),
                verb: verb.to_owned(),
            })
            .collect()
    }

    /// Whether it is needed although tests may end without it. An admission plugin looks whether who makes an owner reference that
    /// blocks deletion may change the owner's finalizers; and an Event is patched when it happens again within six minutes.
    pub fn may_be_idle(&self) -> bool {
        self.resource.ends_with("/finalizers") || (self.resource == "events" && self.verb == "patch")
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = if self.group.is_empty() {
            "core"
        } else {
            &self.group
        };
        write!(f, "{} {} ({group})", self.verb, self.resource)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(verb: &str, object: serde_json::Value, code: u16) -> Request {
        serde_json::from_value(json!({
            "verb": verb,
            "requestURI": "/",
            "user": {},
            "objectRef": object,
            "responseStatus": {"code": code},
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000001Z",
        }))
        .unwrap()
    }

    fn told(request: &Request) -> Vec<String> {
        Right::needed_for(request)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_apply_that_has_created_something_needs_two_rights() {
        let sets = json!({"resource": "statefulsets", "apiGroup": "apps"});
        assert_eq!(
            told(&request("patch", sets.clone(), 200)),
            ["patch statefulsets (apps)"]
        );
        assert_eq!(
            told(&request("patch", sets, 201)),
            ["patch statefulsets (apps)", "create statefulsets (apps)"]
        );
        let status =
            json!({"resource": "memgraphclusters", "apiGroup": "memgraph.dev", "subresource": "status"});
        assert_eq!(
            told(&request("update", status, 200)),
            ["update memgraphclusters/status (memgraph.dev)"]
        );
        assert_eq!(told(&request("get", json!(null), 200)), Vec::<String>::new());
    }

    #[test]
    fn each_account_has_rights_in_the_manifests() {
        let project = Path::new(super::super::PROJECT);
        let count = |account: Account| account.rights(project).unwrap().len();
        assert_eq!((count(Account::Gateway), count(Account::Instance)), (3, 1));
        assert!(count(Account::Operator) > 40);
    }

    #[test]
    fn accounts_are_known_by_their_names() {
        assert_eq!(Account::of(OPERATOR_USER), Some(Account::Operator));
        let of = |name| Account::of(&format!("system:serviceaccount:graphs:{name}"));
        assert_eq!(of("demo-gateway"), Some(Account::Gateway));
        assert_eq!(of("demo-instance"), Some(Account::Instance));
        assert_eq!(of("default"), None);
        assert_eq!(Account::of("admin"), None);
    }
}
