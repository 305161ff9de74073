//! Judges what has become of MAIN.

use super::{
    observation::{Container, Observation, Role, Sight},
    silence::{self, Others},
};
use crate::api::ledger::Ledger;

/// What has become of the ledger's MAIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It serves.
    Serving,
    /// It does not answer as it should, but nothing proves that it is dead.
    Unsure(String),
    /// Its process has ended.
    Dead(String),
    /// It has been silent for long enough before more than one observer, or has answered nothing for very long: it
    /// may live all the same.
    Suspected(String),
    /// It has restarted, as a replica: the start gate keeps it from taking writes by itself.
    Restarted(String),
    /// It goes on in the same life, but somebody has made it a replica.
    Demoted(String),
}

pub(super) fn fate(seen: &Observation, ledger: &Ledger) -> Fate {
    let name = &ledger.main.instance;
    let Some(main) = seen.instance(name) else {
        return Fate::Dead(format!("the pod of {name} is gone"));
    };
    let same_life = main.incarnation.as_ref() == Some(&ledger.main.incarnation);
    match (main.container, &main.sight) {
        (Container::Absent, _) => Fate::Dead(format!("the pod of {name} is gone")),
        (Container::Ended, _) => Fate::Dead(format!("the process of {name} has ended")),
        (Container::Waiting, _) => Fate::Dead(format!("{name} has not started again yet")),
        // The cache of volumes may be behind: that is no restart.
        (Container::Running, _) if main.incarnation.is_none() => {
            Fate::Unsure(format!("the volume of {name} is not known"))
        }
        (Container::Running, Sight::Serving(view)) => match view.role {
            Role::Main if same_life => Fate::Serving,
            // It may be MAIN only because this ledger promoted it, and it promoted another life.
            Role::Main => Fate::Dead(format!("{name} has restarted, and is MAIN without our word")),
            Role::Replica if same_life => Fate::Demoted(format!("{name} has been made a replica")),
            Role::Replica => Fate::Restarted(format!("{name} has restarted")),
        },
        (Container::Running, Sight::Refused) => Fate::Dead(format!("{name} refuses connections")),
        (Container::Running, _) if !same_life => {
            Fate::Dead(format!("{name} has restarted and does not answer yet"))
        }
        (Container::Running, Sight::Silent) if main.silent_for >= seen.settings.detection_timeout => {
            match silence::others(seen, ledger, main) {
                Others::HearNothing(who) => Fate::Suspected(format!("{name} is silent, for {who} too")),
                Others::HearIt(who) => Fate::Unsure(format!(
                    "{name} does not answer this operator, but completes handshakes with {who}"
                )),
                Others::CannotTell => Fate::Unsure(format!("{name} does not answer this operator")),
            }
        }
        // Its kernel and its accepting thread live, but no query is answered: slower than any wait of a healthy
        // MAIN (time-outs of `rpc/client.hpp`).
        (Container::Running, Sight::Handshake) if main.away_for >= seen.settings.hang_timeout => {
            Fate::Suspected(format!("{name} completes handshakes but answers no query"))
        }
        (Container::Running, Sight::Barred) => {
            Fate::Unsure(format!("{name} {}", super::failing::barred(seen)))
        }
        (Container::Running, Sight::Untrusted { why }) => {
            Fate::Unsure(format!("{name} {}", super::failing::untrusted(why)))
        }
        (Container::Running, _) => Fate::Unsure(format!("{name} does not answer this operator")),
    }
}

/// Whether MAIN is back without what it held: on another volume, or on its own, which does not show the mark of this history.
/// What it cannot tell yet is not taken for lost.
pub(super) fn has_lost_its_data(seen: &Observation, ledger: &Ledger) -> bool {
    let Some(main) = seen.instance(&ledger.main.instance) else {
        return false;
    };
    let Some(view) = main.view() else {
        return false;
    };
    let other_volume = main.incarnation.is_some() && !main.has_volume_of(&ledger.main.incarnation);
    let unmarked = ledger.opened && view.contents.is_some() && !main.carries(ledger);
    other_volume || unmarked
}
