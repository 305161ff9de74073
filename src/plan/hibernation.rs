//! A cluster that a human puts to sleep: gateways end, then instances; volumes and ledger stay. Awake again, it is where the loss
//! of power of all instances at once would have left it.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    Plan, Situation,
    fate::Fate,
    observation::{Container, Instance, Observation},
};
use crate::api::conditions::{ConditionType, Reason, Truth};

/// For how long what has begun with a closed route may take to end before the cluster is put to sleep all the same: it may wait
/// for an instance that does not come back, and whatever is broken off goes on when the cluster is awake.
const PATIENCE: Duration = Duration::from_secs(30);

/// For how long gateways may take to end, which have 30 s for it: the node of one that takes longer does not answer, and may never
/// again.
const OVERDUE: Duration = Duration::from_secs(60);

/// What the condition `Hibernated` has said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Said {
    /// Nothing of the kind.
    #[default]
    Nothing,
    /// It is being put to sleep.
    Hibernating,
    /// It is asleep.
    Hibernated,
    /// It was asleep or on its way there, and pods are still to be made anew, or MAIN does not serve yet.
    Waking,
}

impl Said {
    /// Among the conditions of a cluster.
    #[must_use]
    pub fn among(conditions: &[Condition]) -> Self {
        let mut conditions = conditions.iter();
        let told = conditions.find(|condition| condition.type_ == ConditionType::Hibernated.as_str());
        let reason = told.map(|told| told.reason.as_str()).unwrap_or_default();
        let all = [
            (Reason::Hibernating, Self::Hibernating),
            (Reason::Hibernated, Self::Hibernated),
            (Reason::Waking, Self::Waking),
        ];
        let mut all = all.into_iter();
        let found = all.find(|(known, _)| known.as_str() == reason);
        found.map(|(_, said)| said).unwrap_or_default()
    }
}

/// What tells how far a cluster is on its way to sleep, or back.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    /// `spec.hibernated`.
    pub asked: bool,
    /// `spec.paused`.
    pub paused: bool,
    /// What was reported last.
    pub said: Said,
    /// For how long this process has seen the route closed; none: it is open, or nothing was begun.
    pub closed_for: Option<Duration>,
    /// There are gateways that have not ended, and this process has seen them being ended for so long.
    pub gateways: Option<Duration>,
    /// There are pods of instances.
    pub instances: bool,
    /// There is a StatefulSet that asks for no instance.
    pub set_aside: bool,
    /// Pods are still to be made from the StatefulSet as it is.
    pub returns: bool,
}

/// How far a cluster is on its way to sleep, or back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nobody wants it to sleep, or it cannot begin to because of a pause.
    #[default]
    Awake,
    /// It is to sleep; what has begun with a closed route is finished first.
    Finishing,
    /// Its gateways end.
    Gateways,
    /// Its instances end.
    Instances,
    /// No pod is left.
    Asleep,
    /// It is to be awake; pods are still to be made anew, each as it was. A MAIN that serves meanwhile may be one that is about to end.
    Returning,
    /// It is to be awake, and MAIN has not served since all pods were made anew.
    Waking,
}

impl Stage {
    /// How far a cluster is.
    ///
    /// All that is looked at is the spec, the status and what there is: a new leader goes on where the last one stopped. A pause
    /// keeps a cluster as it is, awake or asleep; that a human has scaled its StatefulSet down in a pause is no sleep. What a
    /// cluster had begun while it woke up goes on when it wakes up again.
    #[must_use]
    pub fn of(signs: Signs) -> Self {
        let set_aside = signs.set_aside && (signs.asked || !signs.paused);
        let begun = matches!(signs.said, Said::Hibernating | Said::Hibernated) || set_aside;
        let asked = if signs.paused { begun } else { signs.asked };
        let waking = signs.said == Said::Waking;
        if !asked {
            return match begun || waking {
                false => Self::Awake,
                true if signs.returns => Self::Returning,
                true => Self::Waking,
            };
        }
        if !begun && !waking && signs.closed_for.is_some_and(|time| time < PATIENCE) {
            Self::Finishing
        } else if signs.gateways.is_some_and(|time| time < OVERDUE) {
            Self::Gateways
        } else if signs.instances {
            Self::Instances
        } else {
            Self::Asleep
        }
    }

    /// Whether pods end or have ended: nothing is done to instances then, and no gateway is to be there.
    #[must_use]
    pub fn ends_pods(self) -> bool {
        matches!(self, Self::Gateways | Self::Instances | Self::Asleep)
    }

    /// Whether it is on its way back.
    fn wakes(self) -> bool {
        matches!(self, Self::Returning | Self::Waking)
    }
}

/// What is told in place of a plan, which is for instances that are to stay.
pub(super) fn without_steps(seen: &Observation) -> Plan {
    let (reason, text) = told(seen);
    Plan::new(seen, Situation::Waiting(reason, text))
}

/// What is told of a cluster whose pods end, or have ended.
fn told(seen: &Observation) -> (Reason, String) {
    let is = |instance: &&Instance| instance.container != Container::Absent;
    let left: Vec<_> = seen
        .instances
        .iter()
        .filter(is)
        .map(|i| i.name.as_str())
        .collect();
    match seen.stage {
        Stage::Asleep if seen.ledger.is_none() => {
            let text = "the cluster is asleep; it is set up once spec.hibernated is false".to_owned();
            (Reason::Hibernated, text)
        }
        Stage::Asleep => {
            let text = "the cluster is asleep, and its volumes hold its data; it wakes up once spec.hibernated is false";
            (Reason::Hibernated, text.to_owned())
        }
        Stage::Instances if !left.is_empty() => {
            let text = format!(
                "instances end, and their volumes stay (spec.hibernated): {}",
                left.join(", ")
            );
            (Reason::Hibernating, text)
        }
        _ => {
            let text = "gateways end, and instances after them (spec.hibernated)".to_owned();
            (Reason::Hibernating, text)
        }
    }
}

/// What is told of a cluster whose pods are being started again: that MAIN is not there yet is no loss.
pub(super) fn waking(seen: &Observation, situation: Situation) -> Situation {
    match situation {
        Situation::MainLost(Reason::NoCandidate | Reason::MainUnreachable, why) if seen.stage.wakes() => {
            Situation::Waiting(
                Reason::Waking,
                format!("the cluster was asleep, and wakes up: {why}"),
            )
        }
        other => other,
    }
}

/// Whether a MAIN that is not there is on its way up, as all others are: whoever may lack something that it holds must not take
/// its place meanwhile.
pub(super) fn awaits_main(seen: &Observation, main: Option<&Instance>, fate: &Fate) -> bool {
    let just_started =
        main.is_none_or(|main| main.view().is_none() && main.away_for < seen.settings.hang_timeout);
    seen.stage.wakes() && matches!(fate, Fate::Dead(_) | Fate::Suspected(_)) && just_started
}

/// What the condition says. `serves`: MAIN takes clients. `trouble`: what is wrong as a whole.
pub(super) fn verdict(
    seen: &Observation,
    serves: bool,
    trouble: Option<(Reason, String)>,
) -> (Truth, Reason, String) {
    let expected = |text: &str| (Truth::False, Reason::AsExpected, text.to_owned());
    match seen.stage {
        Stage::Gateways | Stage::Instances | Stage::Asleep => {
            let (reason, text) = told(seen);
            (Truth::from(seen.stage == Stage::Asleep), reason, text)
        }
        Stage::Finishing => {
            let (reason, what) = trouble.unwrap_or((Reason::Hibernating, "it begins in a moment".to_owned()));
            (Truth::False, reason, format!("this is finished first: {what}"))
        }
        // Without a ledger there is nothing to come back to.
        Stage::Returning if serves && seen.ledger.is_some() => {
            let away = |i: &&Instance| i.terminating || i.container == Container::Absent;
            let away: Vec<_> = seen.declared().filter(away).map(|i| i.name.as_str()).collect();
            let mut text = "the cluster was to sleep; pods of instances are made anew".to_owned();
            if !away.is_empty() {
                text = format!("{text}, these still: {}", away.join(", "));
            }
            (Truth::False, Reason::Waking, text)
        }
        Stage::Returning | Stage::Waking if !serves && seen.ledger.is_some() => {
            let text = "the cluster was asleep; MAIN does not serve yet".to_owned();
            (Truth::False, Reason::Waking, text)
        }
        Stage::Awake if seen.settings.hibernated => {
            let text = "spec.hibernated waits until spec.paused is false".to_owned();
            (Truth::False, Reason::Paused, text)
        }
        Stage::Awake | Stage::Returning | Stage::Waking => expected("spec.hibernated is false"),
    }
}
