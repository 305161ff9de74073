//! Files on a real file system.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::super::{DataVolume, volume::how_many_make_room};
use crate::api::ledger::ResetOrder;

/// A folder that is deleted at the end.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("instance-init-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.0.join("mg_data")
    }

    /// As Memgraph leaves it.
    pub(super) fn fill(&self, text: &str) {
        for file in ["snapshots/1_timestamp_4", "wal/2_current", "replication/CURRENT"] {
            let path = self.data().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    pub(super) fn volume(&self) -> DataVolume {
        DataVolume::new(&self.0, &self.data())
    }

    fn aside(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.0.join("set-aside"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn order(number: u32, preserve: bool) -> ResetOrder {
    ResetOrder {
        token: format!("t4-r{number}"),
        at: format!("2026-11-21T10:11:{number:02}.123Z"),
        preserve,
        ..ResetOrder::default()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn snapshots_and_log_are_moved_and_everything_else_stays() {
    let scratch = Scratch::new();
    scratch.fill("old");
    let volume = scratch.volume();
    assert!(!volume.is_empty().unwrap());
    let folder = volume.set_aside(&order(1, true)).unwrap();
    assert_eq!(folder.file_name().unwrap(), "20261121T101101-t4-r1-keep");
    assert_eq!(read(&folder.join("snapshots/1_timestamp_4")), "old");
    assert_eq!(read(&folder.join("wal/2_current")), "old");
    assert_eq!(read(&scratch.data().join("replication/CURRENT")), "old");
    assert!(scratch.data().join("wal").is_dir() && volume.is_empty().unwrap());
    assert_eq!(volume.obeyed().unwrap(), ["t4-r1"]);
    assert_eq!(volume.finish().unwrap(), None);
}

#[test]
fn a_move_that_was_broken_off_anywhere_is_finished() {
    for moved in 0..=2 {
        let scratch = Scratch::new();
        scratch.fill("old");
        let partial = scratch.0.join("set-aside/20261121T101101-t4-r1.partial");
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join("obeyed"), "t4-r1").unwrap();
        for name in &["snapshots", "wal"][..moved] {
            fs::rename(scratch.data().join(name), partial.join(name)).unwrap();
        }
        let volume = scratch.volume();
        assert_eq!(volume.finish().unwrap().as_deref(), Some("t4-r1"), "{moved}");
        assert!(volume.is_empty().unwrap());
        assert_eq!(volume.obeyed().unwrap(), ["t4-r1"]);
        assert_eq!(scratch.aside(), ["20261121T101101-t4-r1", "obeyed"]);
    }
}

#[test]
fn a_move_that_was_never_begun_leaves_the_data_where_it_is() {
    let scratch = Scratch::new();
    scratch.fill("old");
    fs::create_dir_all(scratch.0.join("set-aside/20261121T101101-t4-r1.partial")).unwrap();
    let volume = scratch.volume();
    assert_eq!(volume.finish().unwrap(), None);
    assert!(!volume.is_empty().unwrap());
    assert_eq!(volume.obeyed().unwrap(), Vec::<String>::new());
}

#[test]
fn only_a_few_folders_remain_but_those_to_be_kept_all_do() {
    let scratch = Scratch::new();
    let volume = scratch.volume();
    for number in 1..=8 {
        scratch.fill("old");
        assert_eq!(volume.make_room().unwrap(), Ok(()));
        volume.set_aside(&order(number, number % 4 == 0)).unwrap();
    }
    assert_eq!(
        scratch.aside(),
        [
            "20261121T101104-t4-r4-keep",
            "20261121T101107-t4-r7",
            "20261121T101108-t4-r8-keep",
            "obeyed",
        ]
    );
    assert_eq!(volume.obeyed().unwrap().len(), 8);
}

#[test]
fn data_that_would_not_fit_again_stays() {
    let scratch = Scratch::new();
    scratch.fill("old");
    // A file with a hole: larger than any disk, and takes no room.
    let huge = fs::File::create(scratch.data().join("snapshots/huge")).unwrap();
    huge.set_len(1 << 43).unwrap();
    let why = scratch.volume().make_room().unwrap().unwrap_err();
    assert!(why.contains("delete folders"), "{why}");
}

#[test]
fn nothing_is_deleted_where_that_would_not_make_room() {
    let scratch = Scratch::new();
    // What is not there cannot be freed either.
    let fill = || {
        scratch.fill("old");
        let huge = fs::File::create(scratch.data().join("snapshots/huge")).unwrap();
        huge.set_len(1 << 43).unwrap();
    };
    for number in 1..=3 {
        fill();
        scratch.volume().set_aside(&order(number, false)).unwrap();
    }
    fill();
    let before = scratch.aside();
    assert_eq!(before.len(), 4, "{before:?}");
    let why = scratch.volume().make_room().unwrap().unwrap_err();
    assert!(why.contains("delete folders"), "{why}");
    assert_eq!(scratch.aside(), before);
}

#[test]
fn no_more_is_deleted_than_makes_room() {
    for (free, needed, sizes, gone) in [
        (10, 10, &[][..], Some(0)),
        (9, 10, &[], None),
        (10, 10, &[5], Some(0)),
        (9, 10, &[5], Some(1)),
        (9, 15, &[5], None),
        // Not too many remain in any case.
        (10, 10, &[5, 5, 5], Some(2)),
        (0, 10, &[5, 4, 1], Some(3)),
        (0, 11, &[5, 4, 1], None),
        (0, 9, &[5, 4, 1], Some(2)),
        (0, 5, &[5, 4, 1], Some(2)),
    ] {
        let found = how_many_make_room(free, needed, sizes);
        assert_eq!(found, gone, "{free} {needed} {sizes:?}");
    }
}

#[test]
fn a_volume_keeps_the_name_that_it_was_given_while_it_was_empty() {
    let scratch = Scratch::new();
    let volume = scratch.volume();
    assert_eq!(volume.name("first").unwrap(), "first");
    assert_eq!(scratch.volume().name("second").unwrap(), "first");
    // It is no folder of data that was set aside, and no obstacle to that.
    assert_eq!(volume.obeyed().unwrap(), Vec::<String>::new());
    assert_eq!(volume.finish().unwrap(), None);
    fs::remove_dir_all(scratch.0.join("set-aside")).unwrap();
    assert_eq!(volume.name("third").unwrap(), "third");
}
