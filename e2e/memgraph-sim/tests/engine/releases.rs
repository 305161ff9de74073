//! Tests that run once per release.

use bolt_server::Version;

/// Names the release at which a test has failed.
struct Named(Version);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this is how it went with Memgraph {}", self.0);
        }
    }
}

/// Runs a test for every release.
pub fn each_release(test: impl Fn(Version)) {
    each_release_since(Version::V3_4, test);
}

/// Runs a test for every release from `first` on.
pub fn each_release_since(first: Version, test: impl Fn(Version)) {
    for version in Version::ALL.into_iter().filter(|version| *version >= first) {
        let _named = Named(version);
        test(version);
    }
}

/// Runs a test for every release and each of its replication modes.
pub fn each_mode(test: impl Fn(Version, &str)) {
    each_release(|version| {
        for mode in modes(version) {
            test(version, mode);
        }
    });
}

/// The keywords of REGISTER REPLICA that a release knows.
pub fn modes(version: Version) -> &'static [&'static str] {
    if version < Version::V3_5 {
        &["SYNC", "ASYNC"]
    } else {
        &["SYNC", "ASYNC", "STRICT_SYNC"]
    }
}
