//! Files that the kubelet mounts into this process's pod, and replaces when what they are made of changes.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::warn;

/// How often files are looked at. The kubelet replaces them within minutes, and certificates change days before they must;
/// files that come late, though, keep others waiting.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A file that is not there, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: a Secret is mounted there, which must exist and have this key", .path.display())]
pub struct Unreadable {
    path: PathBuf,
    source: io::Error,
}

/// The text of a mounted file.
///
/// # Errors
/// When it cannot be read.
pub fn text(path: &Path) -> Result<String, Unreadable> {
    fs::read_to_string(path).map_err(|source| Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// Calls `look` again and again for ever. A failure is logged when the look before has not failed, as one at what is
/// `for_what`.
pub async fn follow<E: Error>(for_what: &str, mut look: impl FnMut() -> Result<(), E>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let looked = look();
        if let Err(error) = &looked
            && !failing
        {
            let error = crate::controller::chain(error);
            warn!(
                error,
                "mounted files cannot be used for {for_what}; what they said before goes on"
            );
        }
        failing = looked.is_err();
    }
}
