//! What was measured, as a table in Markdown.

use std::fmt;

/// Rows in the order in which they were measured.
#[derive(Default)]
pub struct Table(Vec<Row>);

struct Row {
    name: String,
    goal: String,
    value: String,
    reached: bool,
}

impl Table {
    /// A figure without a goal.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.push(name.into(), String::new(), value.into(), true);
    }

    /// A figure that should be below a goal, both in this unit.
    pub fn add_with_goal(&mut self, name: impl Into<String>, value: f64, goal: f64, unit: &str) {
        let goal_text = format!("< {goal} {unit}");
        self.push(name.into(), goal_text, format!("{value:.1} {unit}"), value < goal);
    }

    fn push(&mut self, name: String, goal: String, value: String, reached: bool) {
        eprintln!("{name}: {value}");
        self.0.push(Row {
            name,
            goal,
            value,
            reached,
        });
    }

    /// Whether no goal was missed.
    pub fn is_reached(&self) -> bool {
        self.0.iter().all(|row| row.reached)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | goal | |\n| --- | --- | --- |")?;
        for row in &self.0 {
            let missed = if row.reached { "" } else { " (missed)" };
            writeln!(f, "| {} | {} | {}{missed} |", row.name, row.goal, row.value)?;
        }
        Ok(())
    }
}

/// Bytes as MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The value below or at which this part of all are, of sorted values.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted
        .get(rank.clamp(1, sorted.len().max(1)) - 1)
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=50).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 25.0);
        assert_eq!(quantile(&values, 0.99), 50.0);
        assert_eq!(quantile(&values[..1], 0.5), 1.0);
    }

    #[test]
    fn a_missed_goal_is_told() {
        let mut table = Table::default();
        table.add_with_goal("a", 63.9, 64.0, "MiB");
        assert!(table.is_reached());
        table.add_with_goal("b", 64.1, 64.0, "MiB");
        assert!(!table.is_reached());
        assert!(
            table
                .to_string()
                .ends_with("| b | < 64 MiB | 64.1 MiB (missed) |\n")
        );
    }
}
