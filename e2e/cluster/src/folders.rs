//! Where things lie: caches that are kept, and the state of clusters that `down` removes.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::address::BoxName;

/// The user's folders for this project.
#[derive(Debug, Clone)]
pub struct Folders {
    cache: PathBuf,
    state: PathBuf,
}

impl Folders {
    /// The folders of the user who runs this program: `memgraph-operator` in `$XDG_CACHE_HOME` (or `~/.cache`) and in
    /// `$XDG_STATE_HOME` (or `~/.local/state`).
    ///
    /// # Errors
    /// When neither these variables nor `HOME` name an absolute path.
    pub fn of_user() -> Result<Self> {
        Ok(Self {
            cache: base("XDG_CACHE_HOME", ".cache")?,
            state: base("XDG_STATE_HOME", ".local/state")?,
        })
    }

    /// Folders below given ones, for tests.
    pub fn below(folder: &Path) -> Self {
        Self {
            cache: folder.join("cache"),
            state: folder.join("state"),
        }
    }

    /// Holds one folder of Kubernetes binaries per build key.
    pub fn kubernetes(&self) -> PathBuf {
        self.cache.join("kubernetes")
    }

    /// Holds downloaded and unpacked Debian packages.
    pub fn debian(&self) -> PathBuf {
        self.cache.join("debian")
    }

    /// Holds one folder per cluster.
    pub fn clusters(&self) -> PathBuf {
        self.state.join("clusters")
    }

    /// Everything about one cluster; exists from the start of `up` to the end of `down`.
    pub fn cluster(&self, name: &str) -> ClusterFolder {
        ClusterFolder {
            path: self.clusters().join(name),
        }
    }

    /// Logs of a cluster that has been removed, until the next one of its name is.
    pub fn last_logs(&self, name: &str) -> PathBuf {
        self.state.join("last-logs").join(name)
    }

    /// Locked while a command changes the cluster.
    pub fn lock_file(&self, name: &str) -> PathBuf {
        self.state.join("locks").join(name)
    }
}

fn base(variable: &str, below_home: &str) -> Result<PathBuf> {
    let folder = match env::var_os(variable).filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => match env::var_os("HOME").filter(|value| !value.is_empty()) {
            Some(home) => Path::new(&home).join(below_home),
            None => bail!("neither {variable} nor HOME is set: set HOME"),
        },
    };
    if !folder.is_absolute() {
        bail!(
            "{} is not an absolute path: set {variable} or HOME to one",
            folder.display()
        );
    }
    Ok(folder.join("memgraph-operator"))
}

/// The state of one cluster.
#[derive(Debug, Clone)]
pub struct ClusterFolder {
    path: PathBuf,
}

impl ClusterFolder {
    /// For a box's own process, which is told the path.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the cluster was started with ([`crate::spec::ClusterSpec`]).
    pub fn spec(&self) -> PathBuf {
        self.path.join("cluster.json")
    }

    /// Exists once the cluster has come up.
    pub fn up(&self) -> PathBuf {
        self.path.join("up")
    }

    /// The program `devcluster` that runs in the boxes: a copy, which a later build does not change.
    pub fn program(&self) -> PathBuf {
        self.path.join("devcluster")
    }

    /// Keys and certificates.
    pub fn pki(&self) -> PathBuf {
        self.path.join("pki")
    }

    /// The cluster administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("admin")
    }

    /// The kubeconfig of one of the cluster's programs.
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.path.join("kubeconfig").join(format!("{user}.yaml"))
    }

    /// Image archives that every node has, or gets when it is switched on.
    pub fn images(&self) -> PathBuf {
        self.path.join("images")
    }

    /// The API server's audit log: one JSON object per line.
    pub fn audit_log(&self) -> PathBuf {
        self.of_box(BoxName::ControlPlane).join("audit.log")
    }

    /// What a box keeps over a power cut.
    pub fn of_box(&self, name: BoxName) -> PathBuf {
        self.path.join(name.to_string())
    }

    /// Logs of a box's programs.
    pub fn logs(&self, name: BoxName) -> PathBuf {
        self.of_box(name).join("log")
    }

    /// A file in here named after a program keeps that program from running.
    pub fn held_programs(&self, name: BoxName) -> PathBuf {
        self.of_box(name).join("hold")
    }
}

/// Makes a folder and its parents.
///
/// # Errors
/// When that fails, naming the folder.
pub fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Writes a file, whole.
///
/// # Errors
/// When that fails, naming the file.
pub fn write(file: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    fs::write(file, contents).with_context(|| format!("cannot write {}", file.display()))
}

/// Reads a file, whole.
///
/// # Errors
/// When that fails, naming the file.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
