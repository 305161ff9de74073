//! The tables, in Markdown.

use std::fmt::Write;
use std::time::Duration;

use crate::part::Part;
use crate::results::{Measured, Results};

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
pub fn pauses(results: &Results) -> String {
    let mut text = "| | runs | goal | p50 | p99 | longest | tries that failed |\n\
                    | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for part in Part::ALL {
        let what = match part {
            Part::Switchover => "longest pause of somebody who writes",
            Part::SwitchoverDriver => "longest pause of an application, and its transactions that failed",
            _ => "to the next acknowledged write",
        };
        let name = format!("{}, {what}", part.title());
        let pauses = durations(results.of(part), |measured| measured.pause);
        let failed = results.of(part).map(|measured| measured.failed).sum();
        row(&mut text, &name, part.goal(), &pauses, Some(failed));
    }
    text
}

/// Where the time goes.
pub fn steps(results: &Results) -> String {
    let mut text =
        "| | runs | | p50 | p99 | longest | |\n| --- | --- | --- | --- | --- | --- | --- |\n".to_owned();
    for part in Part::ALL {
        let all = results.of(part);
        let title = part.title();
        let begun = match part {
            _ if part.is_planned() => format!("{title}: from its announcement until the route is open"),
            _ => {
                let noticed = durations(all.clone(), |measured| measured.noticed);
                let name = format!("{title}: until the operator decides");
                row(&mut text, &name, "", &noticed, None);
                "from there until the route is open".to_owned()
            }
        };
        let replaced = durations(all.clone(), |measured| measured.replaced);
        row(&mut text, &begun, "", &replaced, None);
        of_each_step(&mut text, all.clone().map(|measured| measured.steps.as_slice()));
        if !part.is_planned() {
            let rest = durations(all, |measured| {
                measured
                    .pause
                    .saturating_sub(measured.noticed + measured.replaced)
            });
            row(
                &mut text,
                "from there until a write is acknowledged",
                "",
                &rest,
                None,
            );
        }
    }
    text
}

fn durations<'a>(
    all: impl Iterator<Item = &'a Measured>,
    of: impl Fn(&Measured) -> Duration,
) -> Vec<Duration> {
    all.map(of).collect()
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
pub fn requests(results: &Results) -> String {
    let mut text =
        "| | status writes, median (most) | Events, median (most) |\n| --- | --- | --- |\n".to_owned();
    for part in Part::ALL {
        let of = |count: fn(&Measured) -> usize| {
            let counts: Vec<_> = results.of(part).map(count).collect();
            format!("{} ({})", percentile(&counts, 50), percentile(&counts, 100))
        };
        let (statuses, events) = (of(|measured| measured.statuses), of(|measured| measured.events));
        // Writing to a String never fails.
        let _ = writeln!(text, "| {} | {statuses} | {events} |", part.title());
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
