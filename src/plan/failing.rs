//! Instances that do not come back by themselves: those that hang, and those whose process ends again and again.
//!
//! MAIN is none of them: what becomes of a lost MAIN is judged elsewhere.

use super::{
    Action, Situation, Step,
    members::Members,
    observation::{Access, Container, DataStatus, Instance, Observation, Registration, Settings, Sight},
    reset,
};
use crate::api::{ResetOutcome, conditions::Reason, ledger::Ledger};

/// An instance that has not answered in its present life may only be out of this operator's reach: so many times
/// `hangTimeout` are waited for, and as long again after each new pod.
const UNHEARD_OF: u32 = 10;

/// What a process ends with that ends itself by SIGABRT. Memgraph does so when it cannot read its data
/// (`LOG_FATAL` in `storage/v2/durability/durability.cpp`).
const ABORTED: i32 = 128 + 6;

/// What is said of an instance that lets this operator in with none of its passwords.
pub(super) fn barred(seen: &Observation) -> &'static str {
    match seen.access {
        Access::Free => {
            "asks for a password, because somebody has made users there; name one of them, with its password, in \
             auth.secretRef"
        }
        Access::Controlled { .. } | Access::Undeclared(_) => {
            "refuses the password of auth.secretRef and the former ones that are known; set the Secret's password for a \
             moment to the one that it has, and then back"
        }
    }
}

/// What is said of an instance that is not known to be who it should be.
pub(super) fn untrusted(why: &str) -> String {
    format!(
        "has a certificate that cannot be trusted ({why}): correct the Secret of tls.secretRef. Where the authority has changed, \
         put the former one into ca.crt, too; else delete the pods of such instances, MAIN's last, so that they start with the \
         certificate that is there now"
    )
}

/// Why an instance that is there does not answer this operator, where that is a matter of passwords or certificates.
fn locked(seen: &Observation, instance: &Instance) -> Option<String> {
    let name = &instance.name;
    let why = match &instance.sight {
        Sight::Barred => format!("{name} {}", barred(seen)),
        Sight::Untrusted { why } => format!("{name} {}", untrusted(why)),
        _ => return None,
    };
    (instance.away_for >= seen.settings.detection_timeout).then_some(why)
}

/// The same of any declared instance.
pub(super) fn lets_nobody_in(seen: &Observation) -> Option<String> {
    seen.declared().find_map(|instance| locked(seen, instance))
}

/// Whether an instance's process is there but answers nothing, for longer than any wait of a healthy one lasts.
fn hangs(settings: &Settings, instance: &Instance) -> bool {
    let patience = if instance.has_answered {
        settings.hang_timeout
    } else {
        settings.hang_timeout.saturating_mul(UNHEARD_OF)
    };
    matches!(instance.sight, Sight::Silent | Sight::Handshake)
        && instance.container == Container::Running
        && instance.stuck_for >= patience
}

/// Whether an instance's process ends again and again, and Kubernetes waits before it starts it once more.
pub(super) fn crash_loops(settings: &Settings, instance: &Instance) -> bool {
    let waits = instance
        .crash_loop
        .as_ref()
        .is_some_and(|crash_loop| crash_loop.waits);
    waits && instance.away_for >= settings.hang_timeout
}

/// Whether an instance's process ends again and again, for people: whether it waits just now, is started once more or has just ended.
pub(super) fn keeps_ending(instance: &Instance) -> bool {
    instance.crash_loop.is_some() && instance.view().is_none()
}

/// Whether an instance seems not to be able to read its data.
pub(super) fn is_unreadable(settings: &Settings, instance: &Instance) -> bool {
    crash_loops(settings, instance) && aborts(instance)
}

/// Whether an instance's process ends as it does where its data cannot be read. One whose data this very pod has set aside has another
/// reason.
fn aborts(instance: &Instance) -> bool {
    let aborted = instance
        .crash_loop
        .as_ref()
        .is_some_and(|crash_loop| crash_loop.exit_code == Some(ABORTED));
    aborted && !was_reset(instance)
}

fn was_reset(instance: &Instance) -> bool {
    instance
        .reset_note
        .as_ref()
        .is_some_and(|note| note.outcome == ResetOutcome::Done)
}

/// Replaces the pod of a replica that hangs: a promotion that somebody has ordered of it, for example, waits for ever for a
/// thread that waits for it.
///
/// MAIN serves, and holds everything. It has nothing of this replica either, so that nothing is made worse; its volume stays.
/// A copy that the ledger relies on is no less promotable afterwards if it is registered as STRICT_SYNC: one that has restarted
/// may follow a MAIN that does not come back. Others are left to a human.
pub(super) fn replace_hanging(members: &Members<'_>) -> Option<Step> {
    let settings = &members.seen.settings;
    // One that loads what MAIN sends answers late, and MAIN notices by itself if it has stopped.
    let is_fed = |r: &Registration| r.follows() || r.status == Some(DataStatus::Recovery);
    let fed = |i: &Instance| members.registration_of(i).is_some_and(is_fed);
    let hanging = members.others().find(|i| {
        let spared = is_relied_on(members.seen, members.ledger, i);
        hangs(settings, i) && !i.terminating && !fed(i) && !spared
    })?;
    Some(Step::Do(Action::DeletePod {
        instance: hanging.name.clone(),
        pod_uid: hanging.pod_uid.clone()?,
    }))
}

/// Whether the ledger relies on what would be gone with the present process, or with its pod where the data lies in that: one that hangs
/// may only be held up, and may hold then what MAIN, if it is lost meanwhile, held.
fn is_relied_on(seen: &Observation, ledger: &Ledger, instance: &Instance) -> bool {
    let pod = instance.pod_uid.as_ref().filter(|_| seen.settings.data_in_pods);
    ledger.relies_on_this_life_of(&instance.name) || pod.is_some_and(|pod| ledger.relies_on_pod(pod))
}

/// What a human must do about an instance that will not come back by itself.
pub(super) fn complaint(seen: &Observation, ledger: &Ledger) -> Option<Situation> {
    let settings = &seen.settings;
    let mut others = seen.declared().filter(|i| i.name != ledger.main.instance);
    let text = others.find_map(|instance| {
        let name = &instance.name;
        let relied_on = ledger.relies_on(name);
        if let Some(why) = locked(seen, instance) {
            return Some(why);
        }
        if hangs(settings, instance) && is_relied_on(seen, ledger, instance) {
            let why = if settings.data_in_pods {
                "its data goes with its pod"
            } else {
                "as it is registered it can only be promoted in its present life"
            };
            return Some(format!(
                "{name} runs but answers nothing. It was in sync, and {why}: delete its pod if MAIN is well"
            ));
        }
        if !keeps_ending(instance) || instance.away_for < settings.hang_timeout {
            return None;
        }
        let order = ledger.resets.iter().any(|order| order.instance == *name);
        let by_itself = aborts(instance)
            && settings.reset_diverged
            && !ledger.recovered
            && !relied_on;
        if order || by_itself {
            return None;
        }
        let code = instance.crash_loop.as_ref().and_then(|crash_loop| crash_loop.exit_code);
        let code = code.map(|code| format!(", the last time with exit code {code}")).unwrap_or_default();
        let remedy = if was_reset(instance) {
            "Its data was set aside already, so that this is not the reason".to_owned()
        } else if relied_on {
            "It was in sync: if its data cannot be read, add an instance, or set replication.dataDurability to Preferred, so \
             that MAIN can go on without it; then its data can be set aside"
                .to_owned()
        } else {
            let outcome = reset::outcome(seen);
            format!("If its data cannot be read, annotate its pod with memgraph.dev/reset=yes to have {outcome}")
        };
        Some(format!(
            "the process of {name} ends again and again{code}; its log says why. {remedy}"
        ))
    })?;
    Some(Situation::Stalled(Reason::InstanceFailing, text))
}
