//! Notes on the volumes who is MAIN, and which terms there were, in case that the ledger is lost.

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

/// Notes on the volume claims that a set-up has begun, before the first registration: if its ledger is lost before clients are
/// let in, no other one uses its numbers. What else is noted stays as it is, since it tells of data that clients were told of.
pub(super) fn note_beginning(seen: &Observation, ledger: &Ledger) -> Vec<Step> {
    let ignorant = seen.declared().filter_map(|i| {
        let claim = i.claim.as_ref()?;
        let note = claim.note.clone().unwrap_or_default();
        (note.newest_term() < ledger.term).then(|| {
            Step::Do(Action::NoteVolumes {
                claims: vec![(i.name.clone(), claim.uid.clone())],
                note: VolumeNote {
                    begun: ledger.term,
                    ..note
                },
            })
        })
    });
    ignorant.collect()
}
