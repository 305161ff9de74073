//! The simulator's speed and size, held against goals: `cargo bench -p memgraph-sim --bench goals -- [part ..]`.
//!
//! The parts are `writes`, `recovery`, `idle` and `virtual-time`; without one, all are measured. The exit code is 1
//! when a goal is missed. A goal is held against the median of several repetitions.

mod bolt;
mod figures;
mod idle;
mod instance;
mod recovery;
mod virtual_time;
mod writes;

use std::process::ExitCode;

use self::figures::{Figure, Goal, table};

const PARTS: [&str; 4] = ["writes", "recovery", "idle", "virtual-time"];

/// How often each figure is measured, unless `REPETITIONS` says otherwise.
const REPETITIONS: usize = 5;

fn main() -> anyhow::Result<ExitCode> {
    // Cargo adds a flag of its own.
    let asked: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    if let Some(unknown) = asked.iter().find(|it| !PARTS.contains(&it.as_str())) {
        anyhow::bail!("no part {unknown}; there are {}", PARTS.join(", "));
    }
    let repetitions = match std::env::var("REPETITIONS") {
        Ok(text) => text.parse()?,
        Err(_) => REPETITIONS,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut figures: Vec<Figure> = Vec::new();
    for part in PARTS {
        if !asked.is_empty() && !asked.iter().any(|it| it == part) {
            continue;
        }
        eprintln!("measuring {part}, {repetitions} times");
        figures.extend(match part {
            "writes" => runtime.block_on(async {
                let mut figures = writes::measure(100_000, Goal::AtLeast(20_000.0), repetitions).await?;
                figures.extend(writes::measure(1, Goal::None, repetitions).await?);
                anyhow::Ok(figures)
            })?,
            "recovery" => runtime.block_on(recovery::measure(repetitions))?,
            "idle" => runtime.block_on(idle::measure(repetitions))?,
            _ => virtual_time::measure(repetitions)?,
        });
    }
    print!("{}", table(&figures));
    let missed: Vec<_> = figures.iter().filter(|figure| !figure.is_met()).collect();
    for figure in &missed {
        eprintln!("missed: {}", figure.name);
    }
    Ok(if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
