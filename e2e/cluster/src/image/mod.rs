//! Container images made from files, without a container engine and without a registry: the same files give the same image,
//! bit for bit, wherever and whenever it is made.

pub mod archive;
pub mod debian;
pub mod digest;
pub mod layer;
pub mod spec;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::folders::{self, Folders};
use archive::Archive;
use layer::Layer;
use spec::{Architecture, ImageSpec};

/// Makes an image and writes it to `file` as an OCI archive.
///
/// # Errors
/// When a file of the image cannot be read, a Debian package cannot be had, or the archive cannot be written.
pub fn build(spec: &ImageSpec, folders: &Folders, file: &Path) -> Result<Archive> {
    let built = layers(spec, folders).and_then(|layers| archive::write(spec, &layers, file));
    built.with_context(|| format!("cannot make the image {}", spec.name))
}

/// The Debian packages' files come first: that layer is the same for many images.
fn layers(spec: &ImageSpec, folders: &Folders) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    if !spec.debian.packages.is_empty() {
        ensure!(
            spec.architecture == Architecture::default(),
            "Debian packages are had for amd64 only: leave them out, or make the image for that"
        );
        layers.push(debian::layer(&spec.debian, &folders.debian())?);
    }
    layers.push(layer::of_spec(spec)?);
    Ok(layers)
}

/// The images that every cluster needs: the one that holds a pod's namespaces, and the cluster's DNS.
///
/// # Errors
/// As [`build`].
pub fn build_for_cluster(binaries: &Path, folders: &Folders, target: &Path) -> Result<[Archive; 2]> {
    folders::make(target)?;
    let make = |program: &str, user: &str| {
        let spec = ImageSpec {
            name: format!("localhost/{program}"),
            files: vec![spec::File::program(
                &binaries.join(program),
                &format!("/{program}"),
            )],
            entrypoint: vec![format!("/{program}")],
            user: user.to_owned(),
            ..ImageSpec::default()
        };
        build(&spec, folders, &path_of(target, program))
    };
    Ok([make("pause", "65535:65535")?, make("coredns", "")?])
}

fn path_of(folder: &Path, image: &str) -> PathBuf {
    folder.join(format!("{image}.tar"))
}
