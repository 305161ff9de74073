//! What an instance is asked at a look.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    Whom,
    memory::{Memory, is_main},
};
use crate::{
    memgraph::Question,
    plan::{
        STUCK_AFTER,
        observation::{Role, Sight, StorageMode},
        parse_registration_name,
    },
};

/// For how long an answer of an instance that answered last time is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// The same for one that did not: it must not hold up what is done about the others.
pub(super) const IMPATIENCE: Duration = Duration::from_millis(250);

/// How often a MAIN without replicas is asked for its storage mode. While it replicates nothing in that, it is asked at every look.
pub(super) const MODE_EVERY: Duration = Duration::from_secs(10);

/// How often one that does not answer is given the full time all the same: it may only be slow.
pub(super) const PATIENT_EVERY: u32 = 4;

/// What an instance has told of its storage mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode {
    /// What it was then.
    pub(super) role: Role,
    /// When it was asked last.
    pub(super) asked: Instant,
    /// What it has answered last; none: nothing that is understood.
    pub(super) told: Option<StorageMode>,
}

/// What to ask an instance of which this is remembered; None: nothing.
pub(super) fn question(
    before: Option<&Memory>,
    emptiness: bool,
    whom: Whom<'_>,
    name: &str,
) -> Option<Question> {
    let missing = before.is_some_and(|memory| {
        matches!(
            memory.sight,
            Sight::Silent | Sight::Handshake | Sight::Barred | Sight::Untrusted { .. }
        )
    });
    let wanted = match whom {
        Whom::Answering(main) => !missing || main == Some(name),
        Whom::Missing => missing,
    };
    if !wanted {
        return None;
    }
    let version = before.and_then(|memory| match &memory.sight {
        Sight::Serving(view) => Some(view.version.clone()),
        _ => None,
    });
    let now_and_then = |memory: &Memory| memory.missed.is_multiple_of(PATIENT_EVERY);
    let patience = match (before.map(|memory| &memory.sight), whom) {
        (Some(Sight::Serving(_)) | None, _) => PATIENCE,
        (Some(_), Whom::Missing) if before.is_some_and(now_and_then) => PATIENCE,
        (Some(_), _) => IMPATIENCE,
    };
    let is_stale =
        |mode: Mode| mode.asked.elapsed() >= MODE_EVERY || mode.told.is_some_and(|told| !told.replicates());
    let as_main = before
        .and_then(|memory| memory.mode)
        .filter(|mode| mode.role == Role::Main);
    let storage_mode = as_main.is_none_or(is_stale);
    Some(Question {
        version,
        emptiness,
        storage_mode,
        replica_mode: false,
        patience,
    })
}

/// Whether this is a replica that has told of a storage mode in which it takes nothing from MAIN.
pub(super) fn takes_nothing(memory: &Memory) -> bool {
    let told = memory.mode.filter(|mode| mode.role == Role::Replica);
    told.and_then(|mode| mode.told)
        .is_some_and(|mode| !mode.replicates())
}

/// The ordinals of the replicas to which MAIN has not got through for long, by what it says of them.
pub(super) fn unreached<'a>(memories: impl Iterator<Item = &'a Memory>) -> BTreeSet<i32> {
    let unwell = memories
        .filter(|memory| is_main(&memory.sight))
        .flat_map(|main| &main.unwell);
    let long = unwell.filter(|(_, unwell)| {
        unwell
            .invalid_since
            .is_some_and(|since| since.elapsed() >= STUCK_AFTER)
    });
    long.filter_map(|(name, _)| Some(parse_registration_name(name)?.0))
        .collect()
}

/// The number at the end of an instance's name.
pub(super) fn ordinal(instance: &str) -> Option<i32> {
    instance.rsplit_once('-')?.1.parse().ok()
}

/// One that was not `asked` now, or did not tell, is in the mode that it has told last, where nothing that it says speaks against that.
pub(super) fn keep_mode(before: Option<Mode>, sight: &mut Sight, asked: Option<Instant>) -> Option<Mode> {
    let Sight::Serving(view) = sight else {
        return before;
    };
    // Once its role is another one, it is asked anew.
    let before = before.filter(|mode| mode.role == view.role);
    let known = before.and_then(|mode| mode.told);
    let replicates = known.is_some_and(StorageMode::replicates);
    match view.storage_mode {
        None | Some(StorageMode::Untold) if known.is_some() && !replicates => view.storage_mode = known,
        None if view.role == Role::Main && !view.is_silent_of_replicas() => view.storage_mode = known,
        _ => {}
    }
    // That it did not tell counts for this look alone.
    let told = view
        .storage_mode
        .filter(|mode| *mode != StorageMode::Untold)
        .or(known);
    let asked = asked.or(before.map(|mode| mode.asked))?;
    Some(Mode {
        role: view.role,
        asked,
        told,
    })
}
