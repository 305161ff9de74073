//! Collects what was measured, and prints it.

use std::fmt::Write;

use crate::contender::Contender;

/// What is measured, in the order of its first measurement.
#[derive(Default)]
pub struct Series(Vec<Quantity>);

struct Quantity {
    name: String,
    better: Better,
    values: Vec<(Contender, Vec<f64>)>,
}

/// Which of two figures is the better one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
}

impl Series {
    /// Takes note of one measurement. `name` tells the unit.
    pub fn add(&mut self, name: impl Into<String>, better: Better, contender: Contender, value: f64) {
        let name = name.into();
        let at = self.0.iter().position(|quantity| quantity.name == name);
        let at = at.unwrap_or_else(|| {
            self.0.push(Quantity {
                name,
                better,
                values: Vec::new(),
            });
            self.0.len() - 1
        });
        let values = &mut self.0[at].values;
        match values.iter_mut().find(|(other, _)| *other == contender) {
            Some((_, values)) => values.push(value),
            None => values.push((contender, vec![value])),
        }
    }

    /// A table in Markdown: medians with the lowest and highest value, and how much better the gateway is than HAProxy as it is
    /// by default, each time compared within the same repetition.
    pub fn table(&self) -> String {
        let mut text = String::from("|");
        for contender in Contender::ALL {
            let _ = write!(text, " | {contender}");
        }
        text.push_str(" | gateway : HAProxy |\n| --- |");
        text.push_str(&" --- |".repeat(Contender::ALL.len() + 1));
        text.push('\n');
        for quantity in &self.0 {
            let _ = write!(text, "| {}", quantity.name);
            for contender in Contender::ALL {
                let _ = match quantity.of(contender) {
                    [] => write!(text, " |"),
                    values => write!(text, " | {}", spread(values)),
                };
            }
            let _ = match quantity.ratios() {
                ratios if ratios.is_empty() => writeln!(text, " | |"),
                ratios => writeln!(text, " | {} |", spread(&ratios)),
            };
        }
        text
    }
}

impl Quantity {
    fn of(&self, contender: Contender) -> &[f64] {
        let found = self.values.iter().find(|(other, _)| *other == contender);
        found.map_or(&[], |(_, values)| values)
    }

    fn ratios(&self) -> Vec<f64> {
        let pairs = self
            .of(Contender::Gateway)
            .iter()
            .zip(self.of(Contender::Haproxy));
        pairs
            .map(|(ours, theirs)| match self.better {
                Better::Higher => ours / theirs,
                Better::Lower => theirs / ours,
            })
            .collect()
    }
}

/// Median, lowest and highest of at least one value.
fn spread(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(lowest), Some(highest)) = (sorted.first(), sorted.last()) else {
        return String::new();
    };
    let median = sorted[sorted.len() / 2];
    if sorted.len() == 1 {
        return figure(median);
    }
    format!("{} ({} .. {})", figure(median), figure(*lowest), figure(*highest))
}

/// Three significant digits.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 99.5 => format!("{value:.0}"),
        v if v >= 9.95 => format!("{value:.1}"),
        v if v >= 0.995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The value below which `part` of all values lie; sorts them.
pub fn quantile(values: &mut [f64], part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((last as f64 * part).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_what_was_measured_in_the_same_repetition() {
        let mut series = Series::default();
        for (ours, theirs) in [(10.0, 20.0), (30.0, 30.0), (5.0, 20.0)] {
            series.add("CPU, µs", Better::Lower, Contender::Gateway, ours);
            series.add("CPU, µs", Better::Lower, Contender::Haproxy, theirs);
        }
        let table = series.table();
        let row = table.lines().last().unwrap();
        assert!(
            row.starts_with("| CPU, µs | 10.0 (5.00 .. 30.0) | 20.0 (20.0 .. 30.0) |"),
            "{row}"
        );
        assert!(row.ends_with("| 2.00 (1.00 .. 4.00) |"), "{row}");
    }

    #[test]
    fn quantiles_are_values_that_there_are() {
        let mut values = vec![3.0, 1.0, 2.0];
        assert_eq!(quantile(&mut values, 0.5), Some(2.0));
        assert_eq!(quantile(&mut values, 0.99), Some(3.0));
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
