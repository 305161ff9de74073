#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| memgraph_sim_fuzz::run(
    memgraph_sim_fuzz::targets::packstream,
    bytes
));
