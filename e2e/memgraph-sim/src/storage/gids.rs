//! Maps and sets by id.
//!
//! Ids are given out one after the other, so that neighbours exist together: pages of 64 take a fraction of the
//! memory of a tree with an entry for each. A page with a single object costs as much as a full one.

use std::collections::BTreeMap;

use crate::value::Gid;

const PAGE: usize = 64;

/// Page number, and the place in the page.
fn place(gid: Gid) -> (u64, usize) {
    let size = PAGE as u64;
    (gid.0 / size, usize::try_from(gid.0 % size).unwrap_or(0))
}

fn gid(page: u64, slot: usize) -> Gid {
    Gid(page * PAGE as u64 + slot as u64)
}

#[derive(Debug)]
struct Page<T> {
    slots: Box<[Option<T>]>,
    used: usize,
}

/// Objects by id, in the order of ids.
#[derive(Debug)]
pub(super) struct GidMap<T>(BTreeMap<u64, Page<T>>);

impl<T> Default for GidMap<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> GidMap<T> {
    pub(super) fn get(&self, gid: Gid) -> Option<&T> {
        let (page, slot) = place(gid);
        self.0.get(&page)?.slots.get(slot)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, gid: Gid) -> Option<&mut T> {
        let (page, slot) = place(gid);
        self.0.get_mut(&page)?.slots.get_mut(slot)?.as_mut()
    }

    pub(super) fn contains(&self, gid: Gid) -> bool {
        self.get(gid).is_some()
    }

    /// Puts an object in place, and returns the one that was there.
    pub(super) fn insert(&mut self, gid: Gid, object: T) -> Option<T> {
        let (page, slot) = place(gid);
        let page = self.0.entry(page).or_insert_with(|| Page {
            slots: std::iter::repeat_with(|| None).take(PAGE).collect(),
            used: 0,
        });
        let before = page.slots.get_mut(slot)?.replace(object);
        page.used += usize::from(before.is_none());
        before
    }

    pub(super) fn remove(&mut self, gid: Gid) -> Option<T> {
        let (number, slot) = place(gid);
        let page = self.0.get_mut(&number)?;
        let object = page.slots.get_mut(slot)?.take()?;
        page.used -= 1;
        if page.used == 0 {
            self.0.remove(&number);
        }
        Some(object)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Gid, &T)> {
        self.0.iter().flat_map(|(number, page)| {
            let slots = page.slots.iter().enumerate();
            slots.filter_map(|(slot, object)| Some((gid(*number, slot), object.as_ref()?)))
        })
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0
            .values()
            .flat_map(|page| page.slots.iter().filter_map(Option::as_ref))
    }
}

/// Ids, in order: a bit for each.
#[derive(Debug, Default)]
pub(super) struct GidSet(BTreeMap<u64, u64>);

impl GidSet {
    pub(super) fn insert(&mut self, gid: Gid) {
        let (page, slot) = place(gid);
        *self.0.entry(page).or_default() |= 1 << slot;
    }

    pub(super) fn remove(&mut self, gid: Gid) {
        let (page, slot) = place(gid);
        if let Some(bits) = self.0.get_mut(&page) {
            *bits &= !(1 << slot);
            if *bits == 0 {
                self.0.remove(&page);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Gid> {
        self.0.iter().flat_map(|(number, bits)| {
            let (number, bits) = (*number, *bits);
            (0..PAGE)
                .filter(move |slot| bits & (1 << slot) != 0)
                .map(move |slot| gid(number, slot))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ids() -> impl Strategy<Value = u64> {
        prop_oneof![0_u64..200, Just(u64::MAX), Just(u64::MAX - 64)]
    }

    proptest! {
        #[test]
        fn maps_and_sets_do_what_those_of_the_standard_library_do(
            steps in proptest::collection::vec((ids(), any::<bool>(), any::<u8>()), 0..300),
        ) {
            let (mut map, mut set) = (GidMap::default(), GidSet::default());
            let (mut expected, mut members) = (BTreeMap::new(), BTreeSet::new());
            for (id, insert, value) in steps {
                let gid = Gid(id);
                if insert {
                    prop_assert_eq!(map.insert(gid, value), expected.insert(gid, value));
                    set.insert(gid);
                    members.insert(gid);
                } else {
                    prop_assert_eq!(map.remove(gid), expected.remove(&gid));
                    set.remove(gid);
                    members.remove(&gid);
                }
                prop_assert_eq!(map.get(gid), expected.get(&gid));
                prop_assert_eq!(map.contains(gid), insert);
            }
            prop_assert_eq!(
                map.iter().map(|(gid, value)| (gid, *value)).collect::<Vec<_>>(),
                expected.clone().into_iter().collect::<Vec<_>>()
            );
            prop_assert_eq!(map.values().collect::<Vec<_>>(), expected.values().collect::<Vec<_>>());
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), members);
            prop_assert!(map.0.values().all(|page| page.used > 0));
        }
    }
}
