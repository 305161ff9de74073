//! Figures, their spread, and the goals that they are held against.

/// Which side of the limit is good.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    Below(f64),
    /// Reported only.
    None,
}

/// One line of the table: a quantity that was measured several times.
#[derive(Debug)]
pub struct Figure {
    pub name: String,
    pub unit: &'static str,
    pub goal: Goal,
    samples: Vec<f64>,
}

impl Figure {
    /// A quantity without samples yet.
    pub fn new(name: impl Into<String>, unit: &'static str, goal: Goal) -> Self {
        Self {
            name: name.into(),
            unit,
            goal,
            samples: Vec::new(),
        }
    }

    pub fn add(&mut self, sample: f64) {
        self.samples.push(sample);
        self.samples.sort_by(f64::total_cmp);
    }

    /// The middle one of the samples, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let count = self.samples.len();
        match (
            self.samples.get(count / 2),
            self.samples.get(count.wrapping_sub(1) / 2),
        ) {
            (Some(upper), Some(lower)) => f64::midpoint(*lower, *upper),
            _ => f64::NAN,
        }
    }

    /// Whether the median reaches the goal. Without a sample it does not.
    pub fn is_met(&self) -> bool {
        match self.goal {
            Goal::AtLeast(limit) => self.median() >= limit,
            Goal::Below(limit) => self.median() < limit,
            Goal::None => true,
        }
    }

    fn row(&self) -> [String; 6] {
        let goal = match self.goal {
            Goal::AtLeast(limit) => format!(">= {}", number(limit)),
            Goal::Below(limit) => format!("< {}", number(limit)),
            Goal::None => String::new(),
        };
        let verdict = match self.goal {
            Goal::None => "",
            _ if self.is_met() => "met",
            _ => "MISSED",
        };
        let end = |sample: Option<&f64>| sample.map_or_else(|| "-".to_owned(), |it| number(*it));
        let (low, high) = (end(self.samples.first()), end(self.samples.last()));
        [
            self.name.clone(),
            self.unit.to_owned(),
            goal,
            number(self.median()),
            format!("{low} .. {high}"),
            verdict.to_owned(),
        ]
    }
}

/// Three significant digits are what such measurements can tell.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The figures as a Markdown table.
pub fn table(figures: &[Figure]) -> String {
    let head = ["figure", "unit", "goal", "median", "lowest .. highest", ""].map(str::to_owned);
    let rule = std::array::from_fn(|_| String::new());
    let rows: Vec<[String; 6]> = [head, rule]
        .into_iter()
        .chain(figures.iter().map(Figure::row))
        .collect();
    let widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let mut text = String::new();
    for (line, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            let cell = if line == 1 {
                "-".repeat(width)
            } else {
                cell.clone()
            };
            text.push_str(&format!("| {cell:<width$} "));
        }
        text.push_str("|\n");
    }
    text
}
