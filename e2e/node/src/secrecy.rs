//! What must be read nowhere but in Secrets.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::ListParams;
use memgraph_operator::resources;

use crate::node::OPERATOR_NAMESPACE;
use crate::scene::Scene;

/// Kinds that people read who may read no Secret.
const OBJECTS: &str =
    "events,memgraphclusters,statefulsets,deployments,pods,configmaps,services,serviceaccounts,jobs";

/// Keys of Secrets whose whole value is secret.
const WHOLE: [&str; 2] = [resources::PASSWORD, "license"];

/// Neither an object that is no Secret nor a log has what the Secrets of this namespace hold: passwords, a license, private keys, those of
/// the control channel included. Nor what they held `before`.
///
/// # Errors
/// When it is there, or cannot be read. The error names the Secret, and does not have what it holds.
pub async fn nothing_shows_a_secret(scene: &Scene, before: &[&str]) -> Result<()> {
    let mut hidden: Vec<_> = before
        .iter()
        .map(|text| ("what was secret before".to_owned(), (*text).to_owned()))
        .collect();
    for secret in scene.api::<Secret>().list(&ListParams::default()).await? {
        for (key, value) in secret.data.iter().flatten() {
            let place = format!("{} of the Secret {}", key, secret.name_any());
            let found = secrets_in(key, &String::from_utf8_lossy(&value.0));
            hidden.extend(found.into_iter().map(|text| (place.clone(), text)));
        }
    }
    let mut texts = vec![scene.kubectl(&["get", OBJECTS, "--output", "yaml"])?];
    let ours = "app.kubernetes.io/name=memgraph";
    texts.push(scene.kubectl(&["logs", "--selector", ours, "--all-containers", "--tail", "-1"])?);
    let operator = ["--namespace", OPERATOR_NAMESPACE, "logs", "--selector"];
    let selector = ["app.kubernetes.io/name=memgraph-operator", "--tail", "-1"];
    texts.push(scene.node.kubectl(&[operator.as_slice(), &selector].concat())?);
    for kind in ["control-authority", "gateway-control"] {
        let looked_for = hidden.iter().any(|(place, _)| place.contains(kind));
        ensure!(looked_for, "no key of {kind} is looked for");
    }
    for (place, text) in &hidden {
        let shown = texts
            .iter()
            .flat_map(|all| all.lines())
            .find(|line| line.contains(text));
        let shown = shown.map(|line| line.replace(text, "***"));
        ensure!(shown.is_none(), "{place} is shown: {shown:?}");
    }
    Ok(())
}

/// What of a Secret's value must not be shown: all of it, or the lines of the private keys that it has. A log may have a key's lines one by
/// one, or in one line with `\n` between them.
fn secrets_in(key: &str, value: &str) -> Vec<String> {
    if WHOLE.contains(&key) {
        return vec![value.to_owned()];
    }
    let keys = value.split("-----BEGIN ").filter_map(|block| {
        let (kind, rest) = block.split_once("-----")?;
        let body = rest.split("-----END ").next()?;
        kind.contains("PRIVATE KEY").then_some(body)
    });
    let lines = keys.flat_map(|body| body.split(['\n', '\r', '\\', ' ']));
    // The first of these is of the form alone, and the same in many keys; the last one may be short enough to be found anywhere.
    let telling = lines.map(|line| line.strip_prefix('n').unwrap_or(line));
    telling
        .filter(|line| line.len() >= 24)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUpublicpublicpublic\n-----END CERTIFICATE-----\n\
                       -----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\nc2VjcmV0c2VjcmV0c2VjcmV0\nshort==\n\
                       -----END PRIVATE KEY-----\n";

    #[test]
    fn of_a_key_its_lines_are_secret_and_of_a_certificate_nothing() {
        let lines = ["MIGHAgEAMBMGByqGSM49AgEGCCqGSM49", "c2VjcmV0c2VjcmV0c2VjcmV0"];
        assert_eq!(secrets_in("tls.key", PEM), lines);
        let in_json = serde_json::json!([{"key": PEM}]).to_string();
        assert_eq!(secrets_in("authorities.json", &in_json), lines);
        assert_eq!(secrets_in("password", "a b"), ["a b"]);
        assert!(secrets_in("username", "app").is_empty());
    }
}
