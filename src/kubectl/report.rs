//! A report for whoever is to help: all about one cluster in one file, without what is secret.

use std::{
    io::{self, Cursor, Write},
    path::{Path, PathBuf},
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, LogParams},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{Error, Outcome, access::Access, args::ReportArgs, render};
use crate::api::{MemgraphCluster, names};

/// Group, version, kind and plural of a resource.
type Kind = (&'static str, &'static str, &'static str, &'static str);

const SECRETS: Kind = ("", "v1", "Secret", "secrets");
const EVENTS: Kind = ("", "v1", "Event", "events");
/// What belongs to a cluster, by its label.
const KINDS: [Kind; 13] = [
    ("", "v1", "Pod", "pods"),
    ("", "v1", "Service", "services"),
    SECRETS,
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("apps", "v1", "Deployment", "deployments"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
];
/// What belongs to the operator.
const OPERATOR_KINDS: [Kind; 3] = [
    ("", "v1", "Pod", "pods"),
    ("apps", "v1", "Deployment", "deployments"),
    ("coordination.k8s.io", "v1", "Lease", "leases"),
];
/// No log has more lines in the report: its end counts.
const LOG_LINES: i64 = 20_000;
/// An annotation that repeats the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Words in the names of variables whose values are nobody's business.
const SECRET_WORDS: [&str; 5] = ["PASSWORD", "SECRET", "TOKEN", "KEY", "HEADERS"];

/// The file while it is made.
struct Archive {
    zip: ZipWriter<Cursor<Vec<u8>>>,
    folder: String,
    at: DateTime,
    files: usize,
    /// What could not be read, and why.
    unread: Vec<String>,
}

impl Archive {
    fn add(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        let mut options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        if let Ok(at) = zip::DateTime::try_from(self.at) {
            options = options.last_modified_time(at);
        }
        self.zip.start_file(format!("{}/{name}", self.folder), options)?;
        self.zip.write_all(content)?;
        self.files += 1;
        Ok(())
    }

    fn add_yaml(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        let text = serde_yaml::to_string(value)?;
        self.add(name, text.as_bytes())
    }

    fn note(&mut self, what: &str, why: &kube::Error) {
        let why = match why {
            kube::Error::Api(answer) => answer.message.clone(),
            other => crate::controller::chain(other),
        };
        self.unread.push(format!("{what}: {why}"));
    }
}

pub(super) async fn write(
    asked: &ReportArgs,
    access: &Access,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    let name = &asked.name;
    let cluster = access.get(name).await?;
    let at = Timestamp::now();
    let stem = format!(
        "memgraph-{}-{name}-{}",
        access.namespace,
        at.strftime("%Y%m%dT%H%M%SZ")
    );
    let path = asked
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{stem}.zip")));
    let failed = |source| Error::File {
        path: path.clone(),
        source,
    };
    // What somebody has stays, and a place that cannot be written to is noticed before anything is read.
    if path.try_exists().map_err(failed)? {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file = || NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(failed);
    drop(file()?);
    let mut archive = Archive {
        zip: ZipWriter::new(Cursor::new(Vec::new())),
        folder: stem,
        at: TimeZone::UTC.to_datetime(at),
        files: 0,
        unread: Vec::new(),
    };
    let collected = collect(&mut archive, &cluster, access, progress).await;
    let (files, unread) = (archive.files, archive.unread.len());
    let written = collected.and_then(|()| {
        let bytes = archive.zip.finish()?.into_inner();
        // It gets its name when it is whole: half a report is none.
        let mut file = file()?;
        file.write_all(&bytes).map_err(failed)?;
        file.persist_noclobber(&path)
            .map_err(|refused| failed(refused.error))?;
        Ok(bytes.len())
    });
    let size = written?;
    writeln!(
        progress,
        "{}: {files} files, {} kB. Secrets are left out; logs are as they were written: look through them before you pass them on",
        path.display(),
        size.div_ceil(1000)
    )?;
    if unread > 0 {
        writeln!(
            progress,
            "{unread} things could not be read: unread.txt names them"
        )?;
    }
    Ok(Outcome::Done)
}

async fn collect(
    archive: &mut Archive,
    cluster: &MemgraphCluster,
    access: &Access,
    progress: &mut dyn io::Write,
) -> Result<(), Error> {
    let (name, namespace) = (cluster.name_any(), access.namespace.clone());
    writeln!(progress, "reading {namespace}/{name}")?;
    archive.add_yaml("cluster.yaml", &redacted(serde_json::to_value(cluster)?))?;
    let seen = access.see(Some(&name), false).await?;
    for status in &seen.clusters {
        let text = render::cluster(status, Timestamp::now());
        let plain = anstream::adapter::strip_str(&text).to_string();
        archive.add("status.txt", plain.as_bytes())?;
        archive.add("status.json", &serde_json::to_vec_pretty(status)?)?;
    }
    archive
        .unread
        .extend(seen.blind.map(|why| format!("the operator's status: {why}")));
    let versions = versions(access, archive.at).await;
    archive.add_yaml("versions.yaml", &versions)?;

    let selector = format!("{}={name}", names::CLUSTER_LABEL);
    for kind in KINDS {
        for object in list(archive, access, &namespace, kind, &selector).await {
            let file = format!("objects/{}/{}.yaml", kind.3, text(&object, "/metadata/name"));
            archive.add_yaml(&file, &redacted(object))?;
        }
    }
    if let Some(auth) = &cluster.spec.auth {
        let secret = &auth.secret_ref.name;
        let api = dynamic(access, &namespace, SECRETS);
        match api.get(secret).await {
            Ok(found) => {
                let found = redacted(object(SECRETS, found)?);
                archive.add_yaml(&format!("objects/secrets/{secret}.yaml"), &found)?;
            }
            Err(error) => archive.note(&format!("the Secret {secret}"), &error),
        }
    }
    let events = list(archive, access, &namespace, EVENTS, "").await;
    let of_it: Vec<_> = events
        .into_iter()
        .filter(|event| is_about(event, &name))
        .collect();
    archive.add_yaml("events.yaml", &Value::Array(of_it))?;

    writeln!(progress, "reading logs")?;
    logs(archive, access, &namespace, &selector, "logs").await?;
    let operator = access.operator_namespace.clone();
    let label = access.operator_pods().await;
    for kind in OPERATOR_KINDS {
        let label = if kind.3 == "leases" { "" } else { &label };
        let unread = archive.unread.len();
        let found = list(archive, access, &operator, kind, label).await;
        if kind.3 == "pods" && found.is_empty() && archive.unread.len() == unread {
            archive.unread.push(format!(
                "the operator: no pod in {operator} has {label}; --operator-namespace and --operator-service say where it is"
            ));
        }
        for object in found {
            let file = format!("operator/{}/{}.yaml", kind.3, text(&object, "/metadata/name"));
            archive.add_yaml(&file, &redacted(object))?;
        }
    }
    logs(archive, access, &operator, &label, "operator/logs").await?;
    if !archive.unread.is_empty() {
        let unread = archive.unread.join("\n") + "\n";
        archive.add("unread.txt", unread.as_bytes())?;
    }
    Ok(())
}

async fn versions(access: &Access, at: DateTime) -> Value {
    let server = access.client.apiserver_version().await.ok();
    json!({
        "collectedAtUtc": at.to_string(),
        "plugin": env!("CARGO_PKG_VERSION"),
        "kubernetes": server.map(|version| version.git_version),
    })
}

fn dynamic(access: &Access, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    let (group, version, kind, plural) = kind;
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::namespaced_with(access.client.clone(), namespace, &resource)
}

async fn list(
    archive: &mut Archive,
    access: &Access,
    namespace: &str,
    kind: Kind,
    selector: &str,
) -> Vec<Value> {
    let mut wanted = ListParams::default();
    if !selector.is_empty() {
        wanted = wanted.labels(selector);
    }
    match dynamic(access, namespace, kind).list(&wanted).await {
        Ok(found) => found
            .items
            .into_iter()
            .filter_map(|found| object(kind, found).ok())
            .collect(),
        Err(error) => {
            archive.note(&format!("{} of {namespace}", kind.3), &error);
            Vec::new()
        }
    }
}

/// The object with its type, which lists leave out.
fn object(kind: Kind, found: DynamicObject) -> Result<Value, Error> {
    let mut value = serde_json::to_value(found)?;
    let (group, version, name, _) = kind;
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    value["apiVersion"] = json!(api_version);
    value["kind"] = json!(name);
    Ok(value)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether an Event is about the cluster or something that is named after it.
fn is_about(event: &Value, cluster: &str) -> bool {
    let about = text(event, "/involvedObject/name");
    about == cluster
        || about
            .strip_prefix(cluster)
            .is_some_and(|rest| rest.starts_with('-'))
        || about == names::data_claim(cluster)
        || about.starts_with(&names::data_claim(&format!("{cluster}-")))
}

/// Without the contents of Secrets, and without what variables say whose name tells that it is one.
fn redacted(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    if let Some(annotations) = object
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    if text(&object, "/kind") == "Secret" {
        for part in ["data", "stringData"] {
            let values = object.get_mut(part).and_then(Value::as_object_mut);
            for (_, value) in values.into_iter().flatten() {
                *value = json!("left out");
            }
        }
    }
    hide_variables(&mut object);
    object
}

/// Hides the values of such variables, wherever they are listed.
fn hide_variables(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(hide_variables),
        Value::Object(fields) => {
            let secret = fields.get("name").and_then(Value::as_str).is_some_and(|name| {
                let name = name.to_uppercase();
                SECRET_WORDS.iter().any(|word| name.contains(word))
            });
            if let Some(value) = fields
                .get_mut("value")
                .filter(|value| secret && value.is_string())
            {
                *value = json!("left out");
            }
            fields.values_mut().for_each(hide_variables);
        }
        _ => {}
    }
}

/// The logs of all containers of these pods, also those of the process before.
async fn logs(
    archive: &mut Archive,
    access: &Access,
    namespace: &str,
    selector: &str,
    folder: &str,
) -> Result<(), Error> {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), namespace);
    let listed = match pods.list(&ListParams::default().labels(selector)).await {
        Ok(listed) => listed.items,
        // That they cannot be listed was noted with the objects.
        Err(_) => return Ok(()),
    };
    for pod in listed {
        let status = pod.status.clone().unwrap_or_default();
        let containers = status.container_statuses.into_iter().flatten();
        for container in containers.chain(status.init_container_statuses.into_iter().flatten()) {
            for previous in [false, true] {
                if previous && container.restart_count == 0 {
                    continue;
                }
                let wanted = LogParams {
                    container: Some(container.name.clone()),
                    previous,
                    timestamps: true,
                    tail_lines: Some(LOG_LINES),
                    ..LogParams::default()
                };
                let which = if previous { ".previous" } else { "" };
                let file = format!("{folder}/{}/{}{which}.log", pod.name_any(), container.name);
                match pods.logs(&pod.name_any(), &wanted).await {
                    Ok(log) => archive.add(&file, log.as_bytes())?,
                    Err(error) => archive.note(&file, &error),
                }
            }
        }
    }
    Ok(())
}
