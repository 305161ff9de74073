//! Sessions that say nothing: after a while they sleep, and after `idleTimeout` they end.
//!
//! Both are found by looks at all sessions, so that none needs a timer.

use std::{future::pending, io, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::{
    dormitory::Dormitory,
    gate::Gate,
    session::Session,
    sleeper::{self, Sleeper},
    statistics::Ending,
};

/// So often at most is it looked for sessions within the time that they may say nothing: each look is at all of them, and finds one
/// so much of that time too late at most.
const LOOKS: u32 = 16;

/// How many fall asleep at a time: while they do, others have to wait for their turn.
const AT_ONCE: usize = 1024;

/// Finds sessions that pass nothing for `idleTimeout`, and ends them, for as long as this is polled.
pub async fn find_idle(gate: &Gate) {
    let mut timeout = gate.idle_timeout();
    loop {
        let allowed = *timeout.borrow_and_update();
        let until_the_next = async {
            if allowed.is_zero() {
                pending::<()>().await;
            }
            let soonest = Instant::now() + allowed / LOOKS;
            sleep_until(end_idle(gate, allowed).max(soonest)).await;
        };
        tokio::select! {
            biased;
            // Without its sender there is nobody any more to look after.
            _ = timeout.changed() => {}
            () = until_the_next => {}
        }
    }
}

/// Lets sessions sleep that have said nothing for a while, and wakes them when something comes, for as long as this is polled.
///
/// # Errors
///
/// Fails when the system does not tell any more what comes.
pub async fn tend_sleepers(gate: &Arc<Gate>) -> io::Result<()> {
    let Some(dormitory) = gate.dormitory() else {
        return pending().await;
    };
    tokio::select! {
        failed = dormitory.watch(|sleeper| wake(gate, sleeper)) => failed,
        () = find_quiet(gate, dormitory) => Ok(()),
    }
}

/// Lets a session sleep, or go on if it cannot.
pub fn lay_down(gate: &Arc<Gate>, sleeper: Sleeper) {
    let awake = match gate.dormitory() {
        Some(dormitory) => dormitory.lay_down(sleeper),
        None => Err(Box::new(sleeper)),
    };
    if let Err(sleeper) = awake
        && let Some(session) = awake_again(gate, *sleeper)
    {
        session.stay_awake();
        tokio::spawn(session.run());
    }
}

fn wake(gate: &Arc<Gate>, sleeper: Sleeper) {
    if let Some(session) = awake_again(gate, sleeper) {
        tokio::spawn(session.run());
    }
}

fn awake_again(gate: &Arc<Gate>, sleeper: Sleeper) -> Option<Session> {
    let address = sleeper.address;
    match Session::awake(sleeper, Arc::clone(gate)) {
        Ok(session) => Some(session),
        Err(error) => {
            debug!(client = %address, %error, "session cannot be woken, and has ended");
            None
        }
    }
}

/// Ends those of now, the ones that are awake by telling them. Returns when the next one will be idle, at the earliest.
fn end_idle(gate: &Gate, allowed: Duration) -> Instant {
    // Sessions that are paused are not idle.
    let awake = gate
        .in_use()
        .iter()
        .map(|line| line.patience.find_idle(allowed))
        .min();
    let (idle, asleep) = match gate.dormitory() {
        Some(dormitory) => dormitory.take_idle(allowed),
        None => (Vec::new(), None),
    };
    sleeper::end_all(idle, Ending::Idle);
    let next = awake.into_iter().chain(asleep).min();
    next.unwrap_or_else(|| Instant::now() + allowed)
}

async fn find_quiet(gate: &Gate, dormitory: &Dormitory) {
    let after = dormitory.after();
    loop {
        let now = Instant::now();
        let (mut left, mut next) = (AT_ONCE, now + after);
        for line in gate.in_use() {
            let (told, of_line) = line.patience.find_quiet(after, left);
            left -= told;
            next = next.min(of_line);
        }
        sleep_until(next.max(now + after / LOOKS)).await;
    }
}
