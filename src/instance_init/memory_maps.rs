//! How many memory maps a process may have on a node (`vm.max_map_count`). It belongs to the whole node and not to a pod: nobody but
//! the node's administrator sets it, so that it is only told of.

/// Where the kernel tells it.
const SETTING: &str = "/proc/sys/vm/max_map_count";

/// The least with which Memgraph starts without a warning (`kMgVmMaxMapCount` in its `src/memgraph.cpp`). Its documentation asks for
/// about one map for each 128 KiB of the node's memory, which is more from 64 GiB on.
const LEAST: u64 = 524_288;

/// How many a process may have here. None: the kernel does not tell.
#[must_use]
pub fn allowed() -> Option<u64> {
    std::fs::read_to_string(SETTING).ok()?.trim().parse().ok()
}

/// What is to be told of a node that allows so many: it is too few.
#[must_use]
pub fn shortage(allowed: u64) -> Option<String> {
    (allowed < LEAST).then(|| {
        format!(
            "its node had vm.max_map_count={allowed} when the pod started, and Memgraph asks for {LEAST}: with much data it may get no \
             more memory; set it on the node (sysctl -w vm.max_map_count={LEAST})"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_maps_are_told_of_with_the_remedy() {
        let told = shortage(65_530).unwrap();
        for part in ["vm.max_map_count=65530", "sysctl -w vm.max_map_count=524288"] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(shortage(LEAST), None);
    }

    #[test]
    fn this_machine_tells_how_many_it_allows() {
        assert!(allowed().is_some_and(|allowed| allowed > 0));
    }
}
