//! What the tests on real clusters share. They need root and minutes, and run one after the other:
//! `cargo test -p e2e-cluster --test teardown --test cluster -- --ignored --test-threads=1`.

// Each test program uses a part of it. Clippy takes only functions marked as tests for tests.
#![allow(dead_code, clippy::unwrap_used)]

use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use e2e_cluster::cluster::Cluster;
use e2e_cluster::folders::Folders;
use e2e_cluster::image::{self, spec::Debian, spec::ImageSpec};
use e2e_cluster::interrupt::Interrupt;
use e2e_cluster::progress::Progress;
use e2e_cluster::spec::Options;

/// A cluster that is removed at the end of its test.
pub struct TestCluster {
    cluster: Cluster,
    folders: Folders,
}

impl TestCluster {
    pub fn up(options: &Options) -> Self {
        let folders = folders();
        Cluster::down(
            &options.name,
            &folders,
            &mut Progress::silent(),
            &Interrupt::never(),
        )
        .unwrap();
        let cluster =
            Cluster::up(options, &folders, &mut Progress::on_stderr(), &Interrupt::never()).unwrap();
        Self { cluster, folders }
    }

    /// Runs kubectl and returns what it prints.
    pub fn run(&self, args: &[&str]) -> String {
        self.kubectl().output(args).unwrap()
    }

    /// Creates or changes objects.
    pub fn apply(&self, manifests: &str) {
        self.kubectl().apply(manifests).unwrap();
    }

    /// A command in the only container of a pod of the default namespace.
    pub fn exec(&self, pod: &str, script: &str) -> anyhow::Result<String> {
        let output = self.kubectl().output(&["exec", pod, "--", "sh", "-c", script])?;
        Ok(output.trim().to_owned())
    }

    pub fn wait_ready(&self, pod: &str) {
        self.run(&[
            "wait",
            "--for=condition=Ready",
            &format!("pod/{pod}"),
            "--timeout=90s",
        ]);
    }

    /// Loads an image with a shell and Python and returns its name.
    pub fn load_python(&self) -> String {
        let packages = ["coreutils", "dash", "procps", "python3"]
            .map(str::to_owned)
            .to_vec();
        let spec = ImageSpec {
            name: "localhost/e2e-cluster-python".to_owned(),
            debian: Debian {
                packages,
                without: Vec::new(),
            },
            cmd: vec!["sleep".to_owned(), "infinity".to_owned()],
            ..ImageSpec::default()
        };
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python.tar");
        image::build(&spec, &self.folders, &file).unwrap();
        self.load_image(&file).unwrap().reference
    }
}

impl Deref for TestCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        let name = &self.cluster.spec().name;
        let removed = Cluster::down(name, &self.folders, &mut Progress::silent(), &Interrupt::never());
        if let Err(error) = removed {
            eprintln!("cannot remove cluster {name}: {error:#}");
        }
    }
}

pub fn folders() -> Folders {
    Folders::of_user().unwrap()
}

/// Waits until something holds.
pub fn eventually(what: &str, seconds: u64, condition: impl FnMut() -> anyhow::Result<bool>) {
    Interrupt::never()
        .wait_until(what, Duration::from_secs(seconds), condition)
        .unwrap();
}
