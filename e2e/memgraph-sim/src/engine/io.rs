//! Waiting for the outside world: timers and disk.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    channel::oneshot,
    future::{Either, select},
};

use super::event::{DiskError, DiskOperation, DiskReply, Effect, Level, Time, Token};

type DiskResult = Result<DiskReply, DiskError>;

/// The engine's side of everything that takes time.
#[derive(Default)]
pub(crate) struct Io {
    now: Cell<Time>,
    effects: RefCell<Vec<Effect>>,
    last_token: Cell<u64>,
    timers: RefCell<BTreeMap<(Time, Token), oneshot::Sender<()>>>,
    disk: RefCell<HashMap<Token, oneshot::Sender<DiskResult>>>,
    listening: RefCell<HashMap<Token, oneshot::Sender<bool>>>,
    reloading: RefCell<HashMap<Token, oneshot::Sender<Result<(), String>>>>,
}

/// The time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

impl Io {
    pub(crate) fn now(&self) -> Time {
        self.now.get()
    }

    pub(crate) fn effect(&self, effect: Effect) {
        self.effects.borrow_mut().push(effect);
    }

    pub(crate) fn take_effects(&self) -> Vec<Effect> {
        self.effects.take()
    }

    pub(crate) fn log(&self, level: Level, line: impl Into<String>) {
        self.effect(Effect::Log(level, line.into()));
    }

    fn token(&self) -> Token {
        self.last_token.set(self.last_token.get() + 1);
        Token(self.last_token.get())
    }

    /// Moves the clock forward, but fires nothing yet.
    pub(crate) fn set_clock(&self, now: Time) {
        self.now.set(self.now.get().max(now));
    }

    /// Moves the clock forward and fires what is due.
    pub(crate) fn advance(&self, now: Time) {
        self.set_clock(now);
        loop {
            let mut timers = self.timers.borrow_mut();
            match timers.first_entry() {
                Some(first) if first.key().0 <= self.now.get() => {
                    let sender = first.remove();
                    drop(timers);
                    // A timer that nobody waits for any more is of no interest.
                    let _ = sender.send(());
                }
                _ => break,
            }
        }
    }

    /// When the next timer is due.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.timers.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    /// Waits.
    pub(crate) fn sleep(&self, duration: Duration) -> Sleep<'_> {
        let key = (self.now.get() + duration, self.token());
        let (sender, receiver) = oneshot::channel();
        self.timers.borrow_mut().insert(key, sender);
        Sleep {
            io: self,
            key,
            receiver,
        }
    }

    /// Waits for `future`, but no longer than `limit`.
    pub(crate) async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        let future = std::pin::pin!(future);
        match select(future, self.sleep(limit)).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(((), _)) => Err(Elapsed),
        }
    }

    /// Writes without waiting. The driver ends the process when it fails, as Memgraph does.
    pub(crate) fn write(&self, operation: DiskOperation) {
        self.effect(Effect::Disk(None, operation));
    }

    async fn disk(&self, operation: DiskOperation) -> DiskResult {
        let token = self.token();
        let (sender, receiver) = oneshot::channel();
        self.disk.borrow_mut().insert(token, sender);
        self.effect(Effect::Disk(Some(token), operation));
        match receiver.await {
            Ok(result) => result,
            Err(oneshot::Canceled) => std::future::pending().await,
        }
    }

    pub(crate) fn disk_done(&self, token: Token, result: DiskResult) {
        if let Some(waiter) = self.disk.borrow_mut().remove(&token) {
            let _ = waiter.send(result);
        }
    }

    /// Does something on disk and waits for it.
    pub(crate) async fn perform(&self, operation: DiskOperation) -> Result<(), DiskError> {
        self.disk(operation).await.map(drop)
    }

    /// Reads a file; `None` when there is none.
    pub(crate) async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, DiskError> {
        match self.disk(DiskOperation::Read(path.to_owned())).await {
            Ok(DiskReply::Content(bytes)) => Ok(Some(bytes)),
            Ok(_) => Err(DiskError::Failed("the answer is not a file's content".into())),
            Err(DiskError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists the files of a folder.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<String>, DiskError> {
        match self.disk(DiskOperation::List(folder.to_owned())).await {
            Ok(DiskReply::Names(names)) => Ok(names),
            Ok(_) => Err(DiskError::Failed("the answer is not a list of files".into())),
            Err(DiskError::Missing) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Opens the replication port.
    pub(crate) async fn listen(&self, port: u16) -> bool {
        let token = self.token();
        let (sender, receiver) = oneshot::channel();
        self.listening.borrow_mut().insert(token, sender);
        self.effect(Effect::Listen(token, port));
        receiver.await.unwrap_or(false)
    }

    pub(crate) fn listening(&self, token: Token, open: bool) {
        if let Some(waiter) = self.listening.borrow_mut().remove(&token) {
            let _ = waiter.send(open);
        }
    }
}

impl Io {
    /// Has the files of the Bolt port's TLS read again.
    pub(crate) async fn reload_tls(&self) -> Result<(), String> {
        let token = self.token();
        let (sender, receiver) = oneshot::channel();
        self.reloading.borrow_mut().insert(token, sender);
        self.effect(Effect::ReloadTls(token));
        match receiver.await {
            Ok(result) => result,
            Err(oneshot::Canceled) => std::future::pending().await,
        }
    }

    pub(crate) fn tls_reloaded(&self, token: Token, result: Result<(), String>) {
        if let Some(waiter) = self.reloading.borrow_mut().remove(&token) {
            let _ = waiter.send(result);
        }
    }
}

/// A timer; dropping it cancels it.
pub(crate) struct Sleep<'a> {
    io: &'a Io,
    key: (Time, Token),
    receiver: oneshot::Receiver<()>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.receiver).poll(context).map(drop)
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.io.timers.borrow_mut().remove(&self.key);
    }
}
