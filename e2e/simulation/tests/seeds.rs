//! What every seed rests on. Many seeds are run by `make simulate`, and by `make test`.

use std::time::Duration;

use simulation::scenario::{Report, Scenario};

fn run(seed: u64, seconds: u64, with_text: bool) -> std::io::Result<Report> {
    let mut scenario = Scenario::new(seed);
    scenario.time = Duration::from_secs(seconds);
    scenario.run(with_text)
}

#[test]
fn the_same_seed_twice_is_the_same_course_of_events() {
    for seed in [1, 2] {
        let (first, second) = (run(seed, 60, true).unwrap(), run(seed, 60, true).unwrap());
        let told = |report: &Report| -> Vec<String> {
            let lines = &report.outcome.lines;
            lines
                .iter()
                .filter(|line| !line.contains("   . "))
                .cloned()
                .collect()
        };
        for (one, other) in told(&first).iter().zip(&told(&second)) {
            assert_eq!(one, other);
        }
        assert_eq!(first.outcome.hash, second.outcome.hash);
    }
}
