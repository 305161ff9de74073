//! The thread that ends a process whose leadership has run out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use super::super::{BootClock, Clock, Leadership, leadership::Deadline, watchdog::Watchdog};

#[test]
fn it_barks_when_leadership_has_run_out() {
    let deadline = Arc::new(Deadline::default());
    deadline.set(BootClock.now() + Duration::from_millis(20));
    let leadership = Leadership::new(BootClock, Arc::clone(&deadline));
    let (barked, heard) = mpsc::channel();
    let asked = leadership.clone();
    let _watchdog =
        Watchdog::start(leadership, move || barked.send(asked.check().is_err()).unwrap()).unwrap();
    let was_over = heard.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(was_over, "not before the deadline");
}

#[test]
fn it_is_silent_when_leadership_was_given_up() {
    let leads = Arc::new(AtomicBool::new(true));
    let (barked, heard) = mpsc::channel::<()>();
    let watchdog = Watchdog::start(Leadership::while_true(Arc::clone(&leads)), move || {
        barked.send(()).unwrap();
    })
    .unwrap();
    watchdog.dismiss();
    leads.store(false, Ordering::Release);
    // The thread ends, and with it the only sender.
    assert_eq!(heard.recv(), Err(mpsc::RecvError));
}
