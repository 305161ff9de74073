//! What `cargo fuzz` runs, with an eye on memory.

use std::alloc::System;

use cap::Cap;

pub mod targets;

/// Inputs are 64 KiB at most; whoever needs more than this for one believes what the input says about sizes.
const LIMIT: usize = 64 << 20;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Runs a target; memory beyond the limit is a crash.
pub fn run(target: fn(&[u8]), input: &[u8]) {
    // What libFuzzer itself keeps does not count.
    let limit = MEMORY.allocated().saturating_add(LIMIT);
    // The limit can only be refused when more than that is in use.
    let _ = MEMORY.set_limit(limit);
    target(input);
    let _ = MEMORY.set_limit(usize::MAX);
}
