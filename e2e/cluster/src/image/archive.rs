//! OCI archives: an image in one file, as containerd imports it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tar::{Builder, Header};

use super::digest;
use super::layer::Layer;
use super::spec::ImageSpec;

/// Number of hexadecimal digits of the manifest's digest that make an image's tag.
const TAG_DIGITS: usize = 12;

/// Search path of programs in images, as Docker sets it.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The annotation that gives containerd the image's full name.
const NAME_ANNOTATION: &str = "io.containerd.image.name";

/// An image in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The file.
    pub file: PathBuf,
    /// `NAME:TAG` for use in pods. The tag comes from the content, so that it always means the same image.
    pub reference: String,
    /// `NAME@sha256:DIGEST`, which a pod may use as well.
    pub name: String,
}

/// Writes an image with these layers.
///
/// # Errors
/// When the file cannot be written.
pub fn write(spec: &ImageSpec, layers: &[Layer], file: &Path) -> Result<Archive> {
    spec.check()?;
    let contents = Contents::new(spec, layers)?;
    // Under another name first, so that nobody reads half an archive.
    let unfinished = file.with_extension("unfinished");
    let failed = || format!("cannot write {}", file.display());
    let mut writer = BufWriter::new(fs::File::create(&unfinished).with_context(failed)?);
    contents.write(layers, &mut writer).with_context(failed)?;
    writer.flush().with_context(failed)?;
    fs::rename(&unfinished, file).with_context(failed)?;
    Ok(Archive {
        file: file.to_owned(),
        reference: contents.reference,
        name: contents.name,
    })
}

/// The image in an archive that [`write()`] wrote.
///
/// # Errors
/// When the file is no such archive.
pub fn read(file: &Path) -> Result<Archive> {
    let failed = || format!("{} is not an image archive made by devcluster", file.display());
    let index = read_index(file).with_context(failed)?;
    let manifest = &index["manifests"][0];
    let reference = manifest["annotations"][NAME_ANNOTATION]
        .as_str()
        .with_context(failed)?;
    let digest = manifest["digest"].as_str().with_context(failed)?;
    let (name, _) = reference.rsplit_once(':').with_context(failed)?;
    Ok(Archive {
        file: file.to_owned(),
        reference: reference.to_owned(),
        name: format!("{name}@{digest}"),
    })
}

fn read_index(file: &Path) -> Result<Value> {
    let mut archive = tar::Archive::new(fs::File::open(file)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()? == Path::new("index.json") {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            return Ok(serde_json::from_str(&text)?);
        }
    }
    bail!("it has no index.json")
}

/// The small files of an archive, and the image's names that follow from them.
struct Contents {
    index: Vec<u8>,
    /// By digest.
    blobs: BTreeMap<String, Vec<u8>>,
    reference: String,
    name: String,
}

impl Contents {
    fn new(spec: &ImageSpec, layers: &[Layer]) -> Result<Self> {
        let mut blobs = BTreeMap::new();
        let mut blob = |kind: &str, bytes: Vec<u8>| {
            let digest = digest::oci(&bytes);
            let descriptor = json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": digest,
                "size": bytes.len(),
            });
            blobs.insert(digest, bytes);
            descriptor
        };
        let config = blob("config.v1+json", serde_json::to_vec(&config(spec, layers))?);
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| {
                json!({
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": layer.digest,
                    "size": layer.tar.len(),
                })
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
        });
        let mut descriptor = blob("manifest.v1+json", serde_json::to_vec(&manifest)?);
        let digest = descriptor["digest"].as_str().unwrap_or_default().to_owned();
        let tag = digest
            .trim_start_matches("sha256:")
            .get(..TAG_DIGITS)
            .context("the digest is too short")?;
        let reference = format!("{}:{tag}", spec.name);
        descriptor["annotations"] =
            json!({NAME_ANNOTATION: reference, "org.opencontainers.image.ref.name": tag});
        descriptor["platform"] = json!({"architecture": spec.architecture, "os": "linux"});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [descriptor],
        });
        Ok(Self {
            index: serde_json::to_vec(&index)?,
            blobs,
            reference,
            name: format!("{}@{digest}", spec.name),
        })
    }

    fn write(&self, layers: &[Layer], target: &mut impl Write) -> Result<()> {
        let mut tar = Builder::new(target);
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut tar, "index.json", &self.index)?;
        for (digest, bytes) in &self.blobs {
            append(&mut tar, &blob_path(digest), bytes)?;
        }
        for layer in layers {
            append(&mut tar, &blob_path(&layer.digest), &layer.tar)?;
        }
        tar.finish()?;
        Ok(())
    }
}

fn config(spec: &ImageSpec, layers: &[Layer]) -> Value {
    let mut env = vec![format!("PATH={SEARCH_PATH}")];
    env.extend(spec.env.iter().map(|(name, value)| format!("{name}={value}")));
    json!({
        "architecture": spec.architecture,
        "os": "linux",
        "config": {
            "Env": env,
            "Entrypoint": spec.entrypoint,
            "Cmd": spec.cmd,
            "User": spec.user,
            "WorkingDir": if spec.workdir.is_empty() { "/" } else { &spec.workdir },
        },
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>()},
    })
}

fn append(tar: &mut Builder<impl Write>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)?;
    Ok(())
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{layer, spec::Architecture};

    fn build(folder: &Path, text: &str) -> Archive {
        let program = folder.join("program");
        fs::write(&program, text).unwrap();
        let spec = ImageSpec {
            name: "localhost/demo".into(),
            files: vec![super::super::spec::File::program(&program, "/demo")],
            entrypoint: vec!["/demo".into()],
            user: "101:103".into(),
            env: BTreeMap::from([("A".into(), "b".into())]),
            architecture: Architecture::Arm64,
            ..ImageSpec::default()
        };
        write(&spec, &[layer::of_spec(&spec).unwrap()], &folder.join("demo.tar")).unwrap()
    }

    /// Checks that each blob is what its name says.
    fn verify(file: &Path) {
        let mut archive = tar::Archive::new(fs::File::open(file).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            if let Some(expected) = path.strip_prefix("blobs/sha256/") {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                assert_eq!(digest::sha256_hex(&bytes), expected);
            }
        }
    }

    #[test]
    fn an_archive_is_complete_and_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let archive = build(folder.path(), "x");
        verify(&archive.file);
        assert_eq!(read(&archive.file).unwrap(), archive);
        let tag = archive.reference.strip_prefix("localhost/demo:").unwrap();
        assert!(
            archive.name.starts_with(&format!("localhost/demo@sha256:{tag}")),
            "{archive:?}"
        );
    }

    #[test]
    fn every_blob_that_is_named_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let archive = build(folder.path(), "x");
        let mut tar = tar::Archive::new(fs::File::open(&archive.file).unwrap());
        let files: BTreeMap<String, Vec<u8>> = tar
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                (entry.path().unwrap().display().to_string(), bytes)
            })
            .collect();
        let blob = |descriptor: &Value| {
            let bytes = &files[&blob_path(descriptor["digest"].as_str().unwrap())];
            assert_eq!(descriptor["size"], bytes.len());
            bytes.clone()
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        assert_eq!(config["config"]["User"], "101:103");
        assert_eq!(config["architecture"], "arm64");
        assert_eq!(
            index["manifests"][0]["platform"],
            json!({"architecture": "arm64", "os": "linux"})
        );
        assert_eq!(config["config"]["Env"][1], "A=b");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        blob(&manifest["layers"][0]);
    }

    #[test]
    fn the_tag_depends_on_the_content_alone() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = build(one.path(), "x");
        assert_eq!(build(other.path(), "x").name, first.name);
        assert_eq!(
            fs::read(&first.file).unwrap(),
            fs::read(other.path().join("demo.tar")).unwrap()
        );
        assert_ne!(build(other.path(), "y").reference, first.reference);
    }

    #[test]
    fn another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.tar");
        fs::write(&file, "nonsense").unwrap();
        assert!(format!("{:#}", read(&file).unwrap_err()).contains("not an image archive"));
    }
}
