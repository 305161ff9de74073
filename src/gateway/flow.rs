//! Whether the bytes of sessions move: they can be held, in both directions, without a session being cut or a byte lost.

use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

/// The bytes of all sessions of one target.
///
/// Each copy, a read and the write that belongs to it, is one step under a lock that many may hold at once. Holding takes
/// that lock for itself. So once [`Flow::hold`] has returned no copy is under way, none begins before [`Flow::release`],
/// and what has come meanwhile waits in the sockets' buffers.
#[derive(Debug, Default)]
pub struct Flow {
    held: RwLock<bool>,
    changed: watch::Sender<bool>,
}

impl Flow {
    /// Makes one copy. None: bytes are held, and nothing was done.
    pub fn pass<T>(&self, copy: impl FnOnce() -> T) -> Option<T> {
        // A copy that panicked has moved nothing that another one relies on.
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        (!*held).then(copy)
    }

    /// Holds all bytes. When it returns, none moves.
    pub fn hold(&self) {
        self.set(true);
    }

    /// Lets them move again.
    pub fn release(&self) {
        self.set(false);
    }

    /// Whether bytes are held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        *self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when bytes may move.
    pub async fn released(&self) {
        let mut changes = self.changed.subscribe();
        // The sender is this flow's own.
        let _ = changes.wait_for(|held| !held).await;
    }

    fn set(&self, held: bool) {
        let mut now = self.held.write().unwrap_or_else(PoisonError::into_inner);
        *now = held;
        // Under the lock, so that the last one told is the last one in force.
        self.changed.send_replace(held);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn nothing_is_copied_while_bytes_are_held() {
        let flow = Flow::default();
        assert_eq!(flow.pass(|| 1), Some(1));
        flow.hold();
        assert!(flow.is_held());
        assert_eq!(flow.pass(|| 2), None);
        flow.release();
        assert_eq!(flow.pass(|| 3), Some(3));
    }

    #[test]
    fn holding_waits_for_a_copy_that_is_under_way() {
        let flow = Arc::new(Flow::default());
        let (begun, copying) = std::sync::mpsc::channel();
        let copied = Arc::new(AtomicBool::new(false));
        let copy = {
            let (flow, copied) = (Arc::clone(&flow), Arc::clone(&copied));
            thread::spawn(move || {
                flow.pass(|| {
                    begun.send(()).unwrap();
                    // Long enough for the other thread to have gone on if nothing kept it.
                    thread::sleep(Duration::from_millis(20));
                    copied.store(true, Ordering::SeqCst);
                })
            })
        };
        copying.recv().unwrap();
        flow.hold();
        assert!(copied.load(Ordering::SeqCst));
        copy.join().unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_when_bytes_may_move() {
        let flow = Arc::new(Flow::default());
        flow.released().await;
        flow.hold();
        let waiting = tokio::spawn({
            let flow = Arc::clone(&flow);
            async move { flow.released().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        flow.release();
        waiting.await.unwrap();
    }
}
