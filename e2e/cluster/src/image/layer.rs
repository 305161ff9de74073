//! A layer of an image: a tar archive whose bytes depend on the files' contents, owners and permissions only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tar::{Builder, EntryType, Header};

use super::digest;
use super::spec::{File, ImageSpec, User};

/// A finished layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The uncompressed tar archive. It never leaves the machine, so that compressing it would only cost time.
    pub tar: Vec<u8>,
    /// Its digest, as OCI writes it.
    pub digest: String,
}

/// The entries of a layer by their paths in the image, without a leading slash.
#[derive(Debug)]
pub struct Entries {
    layout: Layout,
    entries: BTreeMap<String, Entry>,
}

/// Where programs and libraries lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// As the paths say.
    Plain,
    /// As in Debian: `/bin`, `/lib`, `/lib64` and `/sbin` are links into `/usr`. What is meant for one of them has to go
    /// where the link leads, or the link of a lower layer would be replaced by a folder.
    Debian,
}

/// The folders that [`Layout::Debian`] has below `/usr`.
pub const MERGED_FOLDERS: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

impl Layout {
    /// The path, without slashes at its ends, at which something meant for `path` is put.
    fn place(self, path: &str) -> String {
        let path = path.trim_matches('/');
        let first = path.split('/').next().unwrap_or_default();
        if self == Self::Debian && MERGED_FOLDERS.contains(&first) {
            format!("usr/{path}")
        } else {
            path.to_owned()
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    kind: Kind,
    mode: u32,
    uid: u32,
    gid: u32,
}

#[derive(Debug, Clone)]
enum Kind {
    Folder,
    File(Content),
    Link(String),
}

#[derive(Debug, Clone)]
enum Content {
    Bytes(Vec<u8>),
    Of(PathBuf),
}

/// Whose files they become.
#[derive(Debug, Clone, Copy)]
pub enum Owner {
    /// Whoever owns them on this machine.
    AsOnDisk,
    /// This user and group.
    Ids(u32, u32),
}

/// The layer of an image's own files.
///
/// # Errors
/// When a file cannot be read.
pub fn of_spec(spec: &ImageSpec) -> Result<Layer> {
    let debian = !spec.debian.packages.is_empty();
    let mut entries = Entries::new(if debian { Layout::Debian } else { Layout::Plain });
    entries.base(&spec.users);
    for folder in &spec.folders {
        entries.folder(
            &folder.path,
            folder.mode.map_or(0o755, |mode| mode.0),
            folder.uid,
            folder.gid,
        );
    }
    for file in &spec.files {
        entries.file(file)?;
    }
    for (path, target) in &spec.links {
        entries.link(path, target);
    }
    entries.into_layer()
}

impl Entries {
    /// No entries yet.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            entries: BTreeMap::new(),
        }
    }

    /// What every image has: /tmp, the users, and the order in which names are looked up (glibc asks no name server
    /// without it).
    fn base(&mut self, users: &[User]) {
        let root = User {
            name: "root".into(),
            uid: 0,
            gid: 0,
            home: "/root".into(),
        };
        let nobody = User {
            name: "nobody".into(),
            uid: 65534,
            gid: 65534,
            home: "/".into(),
        };
        let (mut passwd, mut group) = (String::new(), String::new());
        for User { name, uid, gid, home } in [&root].into_iter().chain(users).chain([&nobody]) {
            passwd.push_str(&format!("{name}:x:{uid}:{gid}:{name}:{home}:/bin/sh\n"));
            group.push_str(&format!("{name}:x:{gid}:\n"));
        }
        self.folder("/tmp", 0o1777, 0, 0);
        self.text("/etc/passwd", &passwd);
        self.text("/etc/group", &group);
        self.text(
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n",
        );
    }

    fn text(&mut self, path: &str, text: &str) {
        let kind = Kind::File(Content::Bytes(text.as_bytes().to_vec()));
        self.insert(
            path,
            Entry {
                kind,
                mode: 0o644,
                uid: 0,
                gid: 0,
            },
        );
    }

    fn folder(&mut self, path: &str, mode: u32, uid: u32, gid: u32) {
        self.insert(
            path,
            Entry {
                kind: Kind::Folder,
                mode,
                uid,
                gid,
            },
        );
    }

    fn file(&mut self, file: &File) -> Result<()> {
        let owner = Owner::Ids(file.uid, file.gid);
        match file.mode {
            None => self.tree(&file.source, &file.path, owner, &|_| false),
            Some(mode) => {
                if !file.source.is_file() {
                    bail!("{}: only a file can be given a mode", file.source.display());
                }
                let kind = Kind::File(Content::Of(file.source.clone()));
                self.insert(
                    &file.path,
                    Entry {
                        kind,
                        mode: mode.0,
                        uid: file.uid,
                        gid: file.gid,
                    },
                );
                Ok(())
            }
        }
    }

    /// Adds a file, or a folder with all below it, except what `skip` says by its path in the image.
    ///
    /// # Errors
    /// When something cannot be read, or is neither a file nor a folder nor a symbolic link.
    pub fn tree(
        &mut self,
        source: &Path,
        path: &str,
        owner: Owner,
        skip: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        if skip(path) {
            return Ok(());
        }
        let metadata =
            fs::symlink_metadata(source).with_context(|| format!("cannot read {}", source.display()))?;
        let (uid, gid) = match owner {
            Owner::AsOnDisk => (metadata.uid(), metadata.gid()),
            Owner::Ids(uid, gid) => (uid, gid),
        };
        let kind = if metadata.is_dir() {
            Kind::Folder
        } else if metadata.is_file() {
            Kind::File(Content::Of(source.to_owned()))
        } else if metadata.is_symlink() {
            let target =
                fs::read_link(source).with_context(|| format!("cannot read {}", source.display()))?;
            Kind::Link(target.to_string_lossy().into_owned())
        } else {
            bail!(
                "{} is neither a file nor a folder nor a symbolic link",
                source.display()
            );
        };
        let is_folder = matches!(kind, Kind::Folder);
        if !path.trim_matches('/').is_empty() {
            let mode = metadata.permissions().mode() & 0o7777;
            self.insert(path, Entry { kind, mode, uid, gid });
        }
        if is_folder {
            let children =
                fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))?;
            for child in children {
                let child = child?;
                let below = format!(
                    "{}/{}",
                    path.trim_end_matches('/'),
                    child.file_name().to_string_lossy()
                );
                self.tree(&child.path(), &below, owner, skip)?;
            }
        }
        Ok(())
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.insert(
            path,
            Entry {
                kind: Kind::Link(target.to_owned()),
                mode: 0o777,
                uid: 0,
                gid: 0,
            },
        );
    }

    /// Makes a folder at the root a link to the one of its name below `/usr`.
    pub fn merged_folder(&mut self, name: &str) {
        self.folder(&format!("/usr/{name}"), 0o755, 0, 0);
        let link = Entry {
            kind: Kind::Link(format!("usr/{name}")),
            mode: 0o777,
            uid: 0,
            gid: 0,
        };
        self.entries.insert(name.to_owned(), link);
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        self.entries.insert(self.layout.place(path), entry);
    }

    /// The archive. Parents that are not among the entries are added as folders of root.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn into_layer(mut self) -> Result<Layer> {
        let parents: BTreeSet<String> = self.entries.keys().flat_map(|path| parents(path)).collect();
        for parent in parents {
            let folder = Entry {
                kind: Kind::Folder,
                mode: 0o755,
                uid: 0,
                gid: 0,
            };
            self.entries.entry(parent).or_insert(folder);
        }
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            append(&mut tar, path, entry).with_context(|| format!("cannot add {path}"))?;
        }
        let tar = tar.into_inner().context("cannot finish the layer")?;
        Ok(Layer {
            digest: digest::oci(&tar),
            tar,
        })
    }
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, entry: &Entry) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(0);
    header.set_size(0);
    match &entry.kind {
        Kind::Folder => {
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        Kind::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            tar.append_link(&mut header, path, target)?;
        }
        Kind::File(Content::Bytes(bytes)) => {
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes.as_slice())?;
        }
        Kind::File(Content::Of(source)) => {
            let mut file =
                fs::File::open(source).with_context(|| format!("cannot open {}", source.display()))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)
                .with_context(|| format!("cannot read {}", source.display()))?;
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes.as_slice())?;
        }
    }
    Ok(())
}

/// `usr/bin/env` lies in `usr` and `usr/bin`.
fn parents(path: &str) -> Vec<String> {
    path.match_indices('/')
        .map(|(end, _)| path[..end].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::spec::{Folder, Mode};

    fn listing(layer: &Layer) -> Vec<String> {
        let mut archive = tar::Archive::new(layer.tar.as_slice());
        let entries = archive.entries().unwrap().map(Result::unwrap);
        entries
            .map(|entry| {
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                let (mode, uid, gid) = (
                    header.mode().unwrap(),
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                );
                assert_eq!(header.mtime().unwrap(), 0);
                format!("{path} {mode:o} {uid}:{gid}")
            })
            .collect()
    }

    fn spec(folder: &Path) -> ImageSpec {
        fs::create_dir_all(folder.join("tree/sub")).unwrap();
        fs::write(folder.join("tree/sub/file"), "x").unwrap();
        fs::set_permissions(folder.join("tree/sub/file"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(folder.join("tree/sub"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(folder.join("tree"), fs::Permissions::from_mode(0o755)).unwrap();
        ImageSpec {
            name: "localhost/demo".into(),
            files: vec![
                File::program(&folder.join("tree/sub/file"), "/usr/bin/demo"),
                File {
                    source: folder.join("tree"),
                    path: "/opt/tree".into(),
                    mode: None,
                    uid: 1,
                    gid: 2,
                },
            ],
            folders: vec![Folder {
                path: "/var/data".into(),
                mode: Some(Mode(0o750)),
                uid: 101,
                gid: 103,
            }],
            links: BTreeMap::from([("/bin".to_owned(), "usr/bin".to_owned())]),
            users: vec![User {
                name: "demo".into(),
                uid: 101,
                gid: 103,
                home: "/var/data".into(),
            }],
            ..ImageSpec::default()
        }
    }

    #[test]
    fn a_layer_holds_what_was_asked_for_and_all_parents() {
        let folder = tempfile::tempdir().unwrap();
        let expected = [
            "bin 777 0:0",
            "etc/ 755 0:0",
            "etc/group 644 0:0",
            "etc/nsswitch.conf 644 0:0",
            "etc/passwd 644 0:0",
            "opt/ 755 0:0",
            "opt/tree/ 755 1:2",
            "opt/tree/sub/ 755 1:2",
            "opt/tree/sub/file 640 1:2",
            "tmp/ 1777 0:0",
            "usr/ 755 0:0",
            "usr/bin/ 755 0:0",
            "usr/bin/demo 755 0:0",
            "var/ 755 0:0",
            "var/data/ 750 101:103",
        ];
        assert_eq!(listing(&of_spec(&spec(folder.path())).unwrap()), expected);
    }

    #[test]
    fn the_same_files_elsewhere_and_later_give_the_same_layer() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = of_spec(&spec(one.path())).unwrap();
        let second = spec(other.path());
        let file = fs::File::options()
            .write(true)
            .open(other.path().join("tree/sub/file"))
            .unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(of_spec(&second).unwrap().digest, first.digest);
        fs::write(other.path().join("tree/sub/file"), "y").unwrap();
        assert_ne!(of_spec(&second).unwrap().digest, first.digest);
    }

    #[test]
    fn a_debian_layout_puts_programs_below_usr() {
        for (path, placed) in [
            ("/bin/sh", "usr/bin/sh"),
            ("/lib64", "usr/lib64"),
            ("/libx/a", "libx/a"),
            ("/etc", "etc"),
        ] {
            assert_eq!(Layout::Debian.place(path), placed);
            assert_eq!(Layout::Plain.place(path), path.trim_start_matches('/'));
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let spec = ImageSpec {
            files: vec![File {
                source: "/no/such/file".into(),
                path: "/x".into(),
                mode: None,
                uid: 0,
                gid: 0,
            }],
            ..ImageSpec::default()
        };
        assert!(format!("{:#}", of_spec(&spec).unwrap_err()).contains("/no/such/file"));
    }
}
