//! The manifests under `config/` fit the operator that they install.

use kube::CustomResourceExt;
use serde::Deserialize;

use super::*;

fn path(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file)
}

fn read(file: &str) -> Value {
    let path = path(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One rule of a role, as roles and cluster roles write it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

fn operators_rules() -> Vec<Rule> {
    serde_json::from_value(read("rbac/role.yaml")["rules"].clone()).unwrap()
}

fn allows(rules: &[Rule], group: &str, resource: &str, verb: &str) -> bool {
    let contains = |list: &[String], item: &str| list.iter().any(|entry| entry == item);
    rules.iter().any(|rule| {
        contains(&rule.api_groups, group)
            && contains(&rule.resources, resource)
            && contains(&rule.verbs, verb)
    })
}

#[test]
fn the_definition_is_that_of_the_code() {
    let file = "crd/bases/memgraphclusters.yaml";
    let current = serde_yaml::to_string(&MemgraphCluster::crd()).unwrap();
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path(file), &current).unwrap();
    }
    let current: Value = serde_yaml::from_str(&current).unwrap();
    assert!(
        read(file) == current,
        "config/{file} is not current; run `make crds`"
    );
}

#[test]
fn the_operator_may_do_what_it_must() {
    let rules = operators_rules();
    let mut off = defaults();
    off.gateway.enabled = false;
    let applied = built(defaults()).objects;
    for object in applied {
        let resource = object.key().kind.api_resource();
        for verb in ["get", "list", "watch", "create", "patch"] {
            assert!(
                allows(&rules, &resource.group, &resource.plural, verb),
                "{verb} {}",
                resource.plural
            );
        }
    }
    // It is replaced when volumes are to have another size, and so are claims that wait for one in vain.
    assert!(allows(&rules, "apps", "statefulsets", "delete"));
    assert!(allows(&rules, "", "persistentvolumeclaims", "delete"));
    for key in built(off).absent {
        let resource = key.kind.api_resource();
        assert!(
            allows(&rules, &resource.group, &resource.plural, "delete"),
            "delete {}",
            resource.plural
        );
    }
}

/// The API server lets nobody give a right that he does not have.
#[test]
fn the_operator_has_the_rights_that_it_gives() {
    let rules = operators_rules();
    let objects = built(MemgraphClusterSpec::default()).objects;
    let roles: Vec<_> = objects
        .iter()
        .filter(|object| object.key().kind == Kind::Role)
        .collect();
    assert_eq!(roles.len(), 2, "the gateways' and the instances'");
    for role in roles {
        let given: Vec<Rule> = serde_json::from_value(role.content()["rules"].take()).unwrap();
        for rule in given {
            for (group, resource) in rule.api_groups.iter().zip(&rule.resources) {
                for verb in &rule.verbs {
                    assert!(allows(&rules, group, resource, verb), "{verb} {resource}");
                }
            }
        }
    }
}

/// Two processes of the operator agree on who acts through a Lease beside their pods.
/// Elsewhere: each question to an instance is a command that runs in its pod, through API server and kubelet, and the right
/// to that is as good as root on every database.
#[test]
fn l32_nobody_may_run_commands_in_pods() {
    let mut rules = operators_rules();
    for object in built(MemgraphClusterSpec::default()).objects {
        if object.key().kind == Kind::Role {
            let given: Vec<Rule> = serde_json::from_value(object.content()["rules"].take()).unwrap();
            rules.extend(given);
        }
    }
    for rule in rules {
        let far_reaching = |resource: &&String| resource.contains('*') || resource.starts_with("pods/");
        assert_eq!(rule.resources.iter().find(far_reaching), None);
    }
}

#[test]
fn the_operator_may_take_part_in_its_election() {
    let role = read("rbac/leader_election_role.yaml");
    let deployment = read("manager/deployment.yaml");
    assert_eq!(role["metadata"]["namespace"], deployment["metadata"]["namespace"]);
    assert_eq!(deployment["spec"]["replicas"], 2);
    let rules: Vec<Rule> = serde_json::from_value(role["rules"].clone()).unwrap();
    for verb in ["get", "create", "update"] {
        assert!(allows(&rules, "coordination.k8s.io", "leases", verb), "{verb}");
    }
}

#[test]
fn operator_and_gateways_run_the_image_of_this_version() {
    let image = concat!(
        "ghcr.io/memgraph-operator/memgraph-operator:",
        env!("CARGO_PKG_VERSION")
    );
    let deployment = read("manager/deployment.yaml");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], image);
    let variables = container["env"].as_array().unwrap();
    let gateways = variables
        .iter()
        .find(|variable| variable["name"] == "OPERATOR_IMAGE")
        .unwrap();
    assert_eq!(gateways["value"], image);
    let replaced = &read("default/kustomization.yaml")["images"][0];
    let (name, tag) = image.rsplit_once(':').unwrap();
    assert_eq!(
        (&replaced["name"], &replaced["newTag"]),
        (&name.into(), &tag.into())
    );
}

#[test]
fn each_kustomization_names_files_that_are_there_and_all_of_them() {
    for folder in [
        "crd",
        "rbac",
        "manager",
        "default",
        "prometheus",
        "network-policy",
        "samples",
    ] {
        let resources = read(&format!("{folder}/kustomization.yaml"))["resources"].clone();
        let named: BTreeSet<String> = serde_json::from_value(resources).unwrap();
        for resource in &named {
            assert!(path(folder).join(resource).exists(), "{folder}/{resource}");
        }
        for file in fs::read_dir(path(folder)).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            if file.ends_with(".yaml") && file != "kustomization.yaml" {
                assert!(named.contains(&file), "{folder}/{file} is in no kustomization");
            }
        }
    }
}
