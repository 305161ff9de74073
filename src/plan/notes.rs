//! Notes on the volumes who is MAIN, in case that the ledger is lost.

use super::{Action, Step, observation::Observation};
use crate::api::{VolumeNote, ledger::Ledger};

/// Notes `ledger` on the volume claims that do not say so yet.
pub(super) fn note_volumes(seen: &Observation, ledger: &Ledger) -> Option<Step> {
    let note = VolumeNote::of(ledger);
    let claims: Vec<_> = seen
        .declared()
        .filter_map(|i| Some((i, i.claim.as_ref()?)))
        .filter(|(_, claim)| claim.note.as_ref() != Some(&note))
        .map(|(i, claim)| (i.name.clone(), claim.uid.clone()))
        .collect();
    (!claims.is_empty()).then_some(Step::Do(Action::NoteVolumes { claims, note }))
}
