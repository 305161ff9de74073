//! Keeps files where they are while somebody needs them: whoever has locked the data directory, or the
//! recovery of a replica (`src/utils/file_locker.cpp`). What is removed in the meantime goes afterwards.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use super::{
    Node,
    event::{DiskOperation, Level},
};

/// Who holds what, and what waits to be removed.
#[derive(Default)]
pub(super) struct Retainer {
    /// LOCK DATA DIRECTORY. A restart forgets it.
    directory_locked: Cell<bool>,
    /// How many hold each file.
    held: RefCell<HashMap<String, usize>>,
    doomed: RefCell<Vec<String>>,
}

impl Retainer {
    fn holds(&self, path: &str) -> bool {
        self.directory_locked.get() || self.held.borrow().contains_key(path)
    }
}

/// Holds files until it is dropped.
pub(super) struct Hold {
    node: Rc<Node>,
    paths: Vec<String>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        {
            let mut held = self.node.retainer.held.borrow_mut();
            for path in &self.paths {
                if let Some(count) = held.get_mut(path) {
                    *count -= 1;
                    if *count == 0 {
                        held.remove(path);
                    }
                }
            }
        }
        self.node.remove_doomed();
    }
}

impl Node {
    /// `LOCK DATA DIRECTORY`; `false` if it is locked already.
    pub(super) fn lock_directory(&self) -> bool {
        !self.retainer.directory_locked.replace(true)
    }

    /// `UNLOCK DATA DIRECTORY`; `false` if it is not locked.
    pub(super) fn unlock_directory(&self) -> bool {
        let locked = self.retainer.directory_locked.replace(false);
        self.remove_doomed();
        locked
    }

    /// `DATA DIRECTORY LOCK STATUS`
    pub(super) fn is_directory_locked(&self) -> bool {
        self.retainer.directory_locked.get()
    }

    /// Keeps files from being removed for a while.
    pub(super) fn hold_files(self: &Rc<Self>, paths: Vec<String>) -> Hold {
        let mut held = self.retainer.held.borrow_mut();
        for path in &paths {
            *held.entry(path.clone()).or_default() += 1;
        }
        drop(held);
        Hold {
            node: Rc::clone(self),
            paths,
        }
    }

    /// Removes a file, now or when nobody holds it any more.
    pub(super) fn remove_file(&self, path: String) {
        if self.retainer.holds(&path) {
            self.retainer.doomed.borrow_mut().push(path);
        } else {
            self.io.write(DiskOperation::Remove(path));
        }
    }

    /// Renames a file. One that is held is copied, and its old name removed later.
    pub(super) fn move_file(self: &Rc<Self>, from: String, to: String) {
        if !self.retainer.holds(&from) {
            return self.io.write(DiskOperation::Rename(from, to));
        }
        let node = Rc::clone(self);
        let hold = self.hold_files(vec![from.clone()]);
        self.remove_file(from.clone());
        self.spawn(async move {
            let copied = match node.io.read(&from).await {
                Ok(Some(content)) => node.io.perform(DiskOperation::Replace(to.clone(), content)).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = copied {
                node.io
                    .log(Level::Error, format!("Couldn't copy {from} to {to}: {error}"));
            }
            drop(hold);
        });
    }

    fn remove_doomed(&self) {
        let (kept, free) = self
            .retainer
            .doomed
            .take()
            .into_iter()
            .partition(|path| self.retainer.holds(path));
        *self.retainer.doomed.borrow_mut() = kept;
        let free: Vec<String> = free;
        for path in free {
            self.io.write(DiskOperation::Remove(path));
        }
    }
}
