//! What of a look may change a decision.

use crate::plan::observation::{Contents, Role, Sight, StorageMode};

/// What of a sight a decision may depend on. How far a replica is behind changes with every write and is left
/// out: it matters only where it stays as it is, or together with something else that changes.
#[derive(PartialEq)]
pub(super) enum Outline<'a> {
    Serving {
        role: Role,
        contents: Option<&'a Contents>,
        empty: Option<bool>,
        storage_mode: Option<StorageMode>,
        registrations: Vec<(&'a str, bool, bool)>,
    },
    Handshake,
    Barred,
    Untrusted,
    Refused,
    Silent,
    Unseen,
}

pub(super) fn outline(sight: &Sight) -> Outline<'_> {
    match sight {
        Sight::Serving(view) => Outline::Serving {
            role: view.role,
            contents: view.contents.as_ref(),
            empty: view.empty,
            storage_mode: view.storage_mode,
            registrations: view
                .registrations
                .iter()
                .map(|r| (r.name.as_str(), r.follows(), r.lacks_a_commit()))
                .collect(),
        },
        Sight::Handshake => Outline::Handshake,
        Sight::Barred => Outline::Barred,
        Sight::Untrusted { .. } => Outline::Untrusted,
        Sight::Refused => Outline::Refused,
        Sight::Silent => Outline::Silent,
        Sight::Unseen => Outline::Unseen,
    }
}
