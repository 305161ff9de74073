//! Locks between the tasks of one engine.
//!
//! The same type serves as Memgraph's engine lock, replication lock (a try-lock for admin queries), storage
//! access and RPC lock; only the [`Mode`]s differ. A waiter holds back later ones that it is incompatible
//! with: a pending writer gates new readers, as in Memgraph.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::channel::oneshot;

/// In which ways a lock can be held.
pub(crate) trait Mode: Copy + 'static {
    /// A number below [`MODES`].
    fn index(self) -> usize;
    /// Whether two holders with these modes can exist together.
    fn compatible(self, other: usize) -> bool;
}

/// The largest number of modes.
const MODES: usize = 4;

/// Held by one at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exclusive;

impl Mode for Exclusive {
    fn index(self) -> usize {
        0
    }

    fn compatible(self, _: usize) -> bool {
        false
    }
}

/// Many readers or one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shared {
    Read,
    Write,
}

impl Mode for Shared {
    fn index(self) -> usize {
        self as usize
    }

    fn compatible(self, other: usize) -> bool {
        self == Self::Read && other == Self::Read as usize
    }
}

/// Memgraph's storage access (`src/utils/resource_lock.hpp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reads, and runs beside everything but unique access.
    Read,
    /// May write, and runs beside other readers and writers.
    Write,
    /// Keeps writers out: index creation.
    ReadOnly,
    /// Alone: enums, storage mode.
    Unique,
}

impl Mode for Access {
    fn index(self) -> usize {
        self as usize
    }

    fn compatible(self, other: usize) -> bool {
        let is = |mode: Self| other == mode as usize;
        match self {
            Self::Read => !is(Self::Unique),
            Self::Write => is(Self::Read) || is(Self::Write),
            Self::ReadOnly => is(Self::Read) || is(Self::ReadOnly),
            Self::Unique => false,
        }
    }
}

type Waiter<M> = (M, oneshot::Sender<Guard<M>>);

struct State<M: Mode> {
    held: [usize; MODES],
    waiting: VecDeque<Waiter<M>>,
}

/// A lock.
pub(crate) struct Lock<M: Mode>(RefCell<State<M>>);

/// Holds a lock until it is dropped.
pub(crate) struct Guard<M: Mode> {
    lock: Rc<Lock<M>>,
    mode: M,
}

impl<M: Mode> Lock<M> {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self(RefCell::new(State {
            held: [0; MODES],
            waiting: VecDeque::new(),
        })))
    }

    /// Takes the lock if that is possible at once.
    pub(crate) fn try_acquire(self: &Rc<Self>, mode: M) -> Option<Guard<M>> {
        let mut state = self.0.borrow_mut();
        state.waiting.retain(|(_, waiter)| !waiter.is_canceled());
        let gated = state
            .waiting
            .iter()
            .any(|(waiting, _)| !mode.compatible(waiting.index()));
        (!gated && state.admits(mode)).then(|| {
            state.held[mode.index()] += 1;
            Guard {
                lock: Rc::clone(self),
                mode,
            }
        })
    }

    /// Waits for the lock.
    pub(crate) fn acquire(self: &Rc<Self>, mode: M) -> Acquire<M> {
        if let Some(guard) = self.try_acquire(mode) {
            return Acquire(Turn::Now(Some(guard)));
        }
        let (sender, receiver) = oneshot::channel();
        self.0.borrow_mut().waiting.push_back((mode, sender));
        Acquire(Turn::Later {
            lock: Rc::clone(self),
            receiver: Some(receiver),
        })
    }

    /// Hands the lock to whoever can have it now.
    fn settle(self: &Rc<Self>) {
        let mut granted = Vec::new();
        {
            let mut state = self.0.borrow_mut();
            let mut kept: VecDeque<Waiter<M>> = VecDeque::new();
            while let Some((mode, waiter)) = state.waiting.pop_front() {
                let gated = kept.iter().any(|(earlier, _)| !mode.compatible(earlier.index()));
                if waiter.is_canceled() {
                    continue;
                }
                if gated || !state.admits(mode) {
                    kept.push_back((mode, waiter));
                } else {
                    state.held[mode.index()] += 1;
                    granted.push((
                        waiter,
                        Guard {
                            lock: Rc::clone(self),
                            mode,
                        },
                    ));
                }
            }
            state.waiting = kept;
        }
        for (waiter, guard) in granted {
            // If the waiter has just gone, the guard is dropped, which settles again.
            drop(waiter.send(guard));
        }
    }
}

impl<M: Mode> State<M> {
    fn admits(&self, mode: M) -> bool {
        self.held
            .iter()
            .enumerate()
            .all(|(other, count)| *count == 0 || mode.compatible(other))
    }
}

impl<M: Mode> Drop for Guard<M> {
    fn drop(&mut self) {
        self.lock.0.borrow_mut().held[self.mode.index()] -= 1;
        self.lock.settle();
    }
}

/// Waits for a lock; dropping it gives up.
pub(crate) struct Acquire<M: Mode>(Turn<M>);

enum Turn<M: Mode> {
    Now(Option<Guard<M>>),
    Later {
        lock: Rc<Lock<M>>,
        receiver: Option<oneshot::Receiver<Guard<M>>>,
    },
}

impl<M: Mode> Unpin for Acquire<M> {}

impl<M: Mode> Future for Acquire<M> {
    type Output = Guard<M>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Guard<M>> {
        match &mut self.0 {
            Turn::Now(guard) => guard.take().map_or(Poll::Pending, Poll::Ready),
            Turn::Later { receiver, .. } => {
                let Some(waiting) = receiver else {
                    return Poll::Pending;
                };
                match Pin::new(waiting).poll(context) {
                    Poll::Ready(Ok(guard)) => {
                        *receiver = None;
                        Poll::Ready(guard)
                    }
                    // The lock keeps the sender of every waiter that has not gone.
                    Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl<M: Mode> Drop for Acquire<M> {
    fn drop(&mut self) {
        if let Turn::Later { lock, receiver } = &mut self.0
            && receiver.take().is_some()
        {
            // Whoever was gated by this waiter may go on.
            lock.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_pending_writer_gates_new_readers() {
        let lock = Lock::new();
        let reader = lock.try_acquire(Shared::Read).unwrap();
        let mut writer = lock.acquire(Shared::Write);
        assert!((&mut writer).now_or_never().is_none());
        assert!(lock.try_acquire(Shared::Read).is_none());
        drop(reader);
        let writer = writer.now_or_never().unwrap();
        assert!(lock.try_acquire(Shared::Read).is_none());
        drop(writer);
        assert!(lock.try_acquire(Shared::Read).is_some());
    }

    #[test]
    fn a_waiter_that_gives_up_lets_the_others_go_on() {
        let lock = Lock::new();
        let reader = lock.try_acquire(Access::Read).unwrap();
        let unique = lock.acquire(Access::Unique);
        let mut second = lock.acquire(Access::Read);
        assert!((&mut second).now_or_never().is_none());
        drop(unique);
        assert!(second.now_or_never().is_some());
        drop(reader);
    }

    #[test]
    fn a_lock_granted_to_nobody_is_free_again() {
        let lock = Lock::new();
        let first = lock.try_acquire(Exclusive).unwrap();
        let second = lock.acquire(Exclusive);
        drop(first);
        drop(second);
        assert!(lock.try_acquire(Exclusive).is_some());
    }

    #[test]
    fn index_creation_keeps_writers_out_but_not_readers() {
        let lock = Lock::new();
        let index = lock.try_acquire(Access::ReadOnly).unwrap();
        assert!(lock.try_acquire(Access::Read).is_some());
        assert!(lock.try_acquire(Access::Write).is_none());
        drop(index);
        assert!(lock.try_acquire(Access::Write).is_some());
    }
}
