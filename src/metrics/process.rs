//! What the kernel knows of this process, under the names that Prometheus' client libraries agree on.

use std::fmt;

use procfs::{ProcResult, WithCurrentSystemInfo, process::Process};
use prometheus_client::registry::Unit;

use super::{Families, Samples};

/// This process, read for one scrape.
#[derive(Debug)]
pub struct OwnProcess {
    figures: Option<Figures>,
}

#[derive(Debug)]
struct Figures {
    cpu_seconds: f64,
    start_time_seconds: Option<f64>,
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
    open_descriptors: f64,
    max_descriptors: Option<f64>,
}

impl OwnProcess {
    /// Reads `/proc/self`. Where that cannot be read there are no samples.
    #[must_use]
    pub fn read() -> Self {
        let figures = read().inspect_err(|error| tracing::debug!(%error, "cannot read /proc/self"));
        Self {
            figures: figures.ok(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus' figures are floating-point numbers"
)]
fn read() -> ProcResult<Figures> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let started = procfs::boot_time_secs().map(|boot| boot as f64 + stat.starttime as f64 / ticks);
    let limit = process.limits().map(|limits| limits.max_open_files.soft_limit);
    Ok(Figures {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        start_time_seconds: started.ok(),
        resident_bytes: stat.rss_bytes().get() as f64,
        virtual_bytes: stat.vsize as f64,
        threads: stat.num_threads as f64,
        open_descriptors: process.fd_count()? as f64,
        max_descriptors: match limit {
            Ok(procfs::process::LimitValue::Value(limit)) => Some(limit as f64),
            _ => None,
        },
    })
}

impl Samples for OwnProcess {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        let figure = |read: fn(&Figures) -> Option<f64>| {
            let value = self.figures.as_ref().and_then(read);
            value.map(|value| (Vec::new(), value))
        };
        families.counter(
            "process_cpu",
            "Time that this process has spent on processors.",
            Some(&Unit::Seconds),
            figure(|f| Some(f.cpu_seconds)),
        )?;
        families.gauge(
            "process_start_time",
            "When this process was started, since the Unix epoch.",
            Some(&Unit::Seconds),
            figure(|f| f.start_time_seconds),
        )?;
        families.gauge(
            "process_resident_memory",
            "Memory that this process has in RAM.",
            Some(&Unit::Bytes),
            figure(|f| Some(f.resident_bytes)),
        )?;
        families.gauge(
            "process_virtual_memory",
            "Address space of this process.",
            Some(&Unit::Bytes),
            figure(|f| Some(f.virtual_bytes)),
        )?;
        families.gauge(
            "process_threads",
            "Threads of this process.",
            None,
            figure(|f| Some(f.threads)),
        )?;
        families.gauge(
            "process_open_fds",
            "File descriptors that this process has open.",
            None,
            figure(|f| Some(f.open_descriptors)),
        )?;
        families.gauge(
            "process_max_fds",
            "File descriptors that this process may have open.",
            None,
            figure(|f| f.max_descriptors),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;

    #[test]
    fn a_process_can_read_itself() {
        let mut registry = metrics::Registry::default();
        metrics::add(&mut registry, OwnProcess::read());
        let text = metrics::text(&registry).unwrap();
        for name in [
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_open_fds",
            "process_max_fds",
        ] {
            let sample = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value: f64 = sample.expect(name).parse().unwrap();
            assert!(
                value >= 0.0 && (value > 0.0 || name.contains("cpu")),
                "{name} {value}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
