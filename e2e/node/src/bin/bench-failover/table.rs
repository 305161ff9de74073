//! The tables, in Markdown.

use std::fmt::Write;
use std::time::Duration;

use crate::measure::{Loss, Move};
use crate::requests::Count;

/// The value that so many percent of all do not exceed (nearest rank).
fn percentile<T: Copy + Ord + Default>(all: &[T], percent: usize) -> T {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn milliseconds(all: &[Duration], percent: usize) -> String {
    format!("{:.0} ms", percentile(all, percent).as_secs_f64() * 1000.0)
}

fn row(text: &mut String, name: &str, goal: &str, all: &[Duration], failed: Option<usize>) {
    let failed = failed.map(|failed| failed.to_string()).unwrap_or_default();
    let (runs, half, most, worst) = (
        all.len(),
        milliseconds(all, 50),
        milliseconds(all, 99),
        milliseconds(all, 100),
    );
    // Writing to a String never fails.
    let _ = writeln!(
        text,
        "| {name} | {runs} | {goal} | {half} | {most} | {worst} | {failed} |"
    );
}

/// For how long the client could not write.
pub fn pauses(kills: &[Loss], holes: &[Loss], moves: &[Move]) -> String {
    let mut text = "| | runs | goal | p50 | p99 | longest | tries that failed |\n\
                    | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    let of = |losses: &[Loss]| losses.iter().map(|loss| loss.pause).collect::<Vec<_>>();
    let failed = |losses: &[Loss]| Some(losses.iter().map(|loss| loss.failed).sum());
    let goal = "p50 < 150 ms, p99 < 500 ms";
    row(
        &mut text,
        "MAIN killed, to the next acknowledged write",
        goal,
        &of(kills),
        failed(kills),
    );
    let goal = "p99 < 2.5 s";
    row(
        &mut text,
        "MAIN cut off, to the next acknowledged write",
        goal,
        &of(holes),
        failed(holes),
    );
    let pauses: Vec<_> = moves.iter().map(|moved| moved.pause).collect();
    let failed = Some(moves.iter().map(|moved| moved.failed).sum());
    row(
        &mut text,
        "switchover under load, longest pause",
        "p99 < 300 ms",
        &pauses,
        failed,
    );
    text
}

/// Where the time goes.
pub fn steps(kills: &[Loss], moves: &[Move]) -> String {
    let mut text =
        "| | runs | | p50 | p99 | longest | |\n| --- | --- | --- | --- | --- | --- | --- |\n".to_owned();
    let noticed: Vec<_> = kills.iter().map(|kill| kill.noticed).collect();
    row(
        &mut text,
        "MAIN killed: until the operator decides",
        "",
        &noticed,
        None,
    );
    let replaced: Vec<_> = kills.iter().map(|kill| kill.replaced).collect();
    row(
        &mut text,
        "from there until the route is open",
        "",
        &replaced,
        None,
    );
    of_each_step(&mut text, kills.iter().map(|kill| kill.steps.as_slice()));
    let rest: Vec<_> = kills
        .iter()
        .map(|kill| kill.pause.saturating_sub(kill.noticed + kill.replaced))
        .collect();
    row(
        &mut text,
        "from there until a write is acknowledged",
        "",
        &rest,
        None,
    );
    let replaced: Vec<_> = moves.iter().map(|moved| moved.replaced).collect();
    row(
        &mut text,
        "switchover: from its announcement until the route is open",
        "",
        &replaced,
        None,
    );
    of_each_step(&mut text, moves.iter().map(|moved| moved.steps.as_slice()));
    text
}

/// A row for each kind of step, in the order in which they were first met.
fn of_each_step<'a>(text: &mut String, runs: impl Iterator<Item = &'a [(String, Duration)]>) {
    let mut kinds: Vec<(&str, Vec<Duration>)> = Vec::new();
    for (step, took) in runs.flatten() {
        match kinds.iter_mut().find(|(kind, _)| kind == step) {
            Some((_, all)) => all.push(*took),
            None => kinds.push((step, vec![*took])),
        }
    }
    for (kind, all) in kinds {
        row(text, &format!("&nbsp;&nbsp;{kind}"), "", &all, None);
    }
}

/// What the operator wrote until the route was open.
pub fn requests(kinds: &[(&str, Vec<Count>)]) -> String {
    let mut text =
        "| | status writes, median (most) | Events, median (most) |\n| --- | --- | --- |\n".to_owned();
    for (name, counts) in kinds {
        let statuses: Vec<_> = counts.iter().map(|count| count.statuses).collect();
        let events: Vec<_> = counts.iter().map(|count| count.events).collect();
        let _ = writeln!(
            text,
            "| {name} | {} ({}) | {} ({}) |",
            percentile(&statuses, 50),
            percentile(&statuses, 100),
            percentile(&events, 50),
            percentile(&events, 100),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let all: Vec<u32> = (1..=200).rev().collect();
        assert_eq!(
            [50, 99, 100].map(|percent| percentile(&all, percent)),
            [100, 198, 200]
        );
        assert_eq!(percentile(&[7], 50), 7);
        assert_eq!(percentile::<u32>(&[], 99), 0);
    }

    #[test]
    fn steps_of_one_kind_share_a_row() {
        let step = |kind: &str, ms| (kind.to_owned(), Duration::from_millis(ms));
        let (one, two) = ([step("Fence", 2), step("Promote", 9)], [step("Fence", 4)]);
        let mut text = String::new();
        of_each_step(&mut text, [one.as_slice(), two.as_slice()].into_iter());
        assert_eq!(
            text,
            "| &nbsp;&nbsp;Fence | 2 |  | 2 ms | 4 ms | 4 ms |  |\n| &nbsp;&nbsp;Promote | 1 |  | 9 ms | 9 ms | 9 ms |  |\n"
        );
    }
}
