//! `kubectl memgraph status`.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    Error, Outcome, Output,
    access::{Access, Seen},
    args::StatusArgs,
    render,
};
use crate::fleet::ClusterStatus;

/// How often it is looked again by `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(super) async fn show(
    asked: &StatusArgs,
    access: &Access,
    out: &mut dyn io::Write,
    progress: &mut dyn io::Write,
) -> Result<Outcome, Error> {
    let mut shown: Option<Vec<ClusterStatus>> = None;
    loop {
        let seen = access.see(asked.name.as_deref(), asked.all_namespaces).await?;
        let essence: Vec<_> = seen
            .clusters
            .iter()
            .cloned()
            .map(ClusterStatus::without_ages)
            .collect();
        let changed = shown.as_ref() != Some(&essence);
        if changed {
            if asked.watch && asked.output == Output::Text && io::stdout().is_terminal() {
                write!(out, "{CLEAR}")?;
            } else if shown.is_some() && asked.output != Output::Json {
                writeln!(out, "---")?;
            }
            write(asked, &seen, out, progress)?;
            out.flush()?;
            shown = Some(essence);
        }
        if !asked.watch {
            return Ok(if seen.clusters.iter().all(|cluster| cluster.health.ready) {
                Outcome::Done
            } else {
                Outcome::NotReady
            });
        }
        sleep(LOOK_EVERY).await;
    }
}

fn write(
    asked: &StatusArgs,
    seen: &Seen,
    out: &mut dyn io::Write,
    progress: &mut dyn io::Write,
) -> Result<(), Error> {
    match asked.output {
        Output::Text => {
            let now = jiff::Timestamp::now();
            let one = asked.name.is_some();
            let text = if one || seen.clusters.len() == 1 {
                seen.clusters
                    .iter()
                    .map(|cluster| render::cluster(cluster, now))
                    .collect()
            } else {
                render::list(&seen.clusters)
            };
            write!(out, "{text}")?;
            if let Some(why) = &seen.blind {
                writeln!(
                    progress,
                    "Lag and sessions are not shown, because the operator could not be asked: {why}"
                )?;
            }
        }
        Output::Json if asked.name.is_some() => {
            writeln!(out, "{}", serde_json::to_string_pretty(&seen.clusters[0])?)?
        }
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&seen.clusters)?)?,
        Output::Yaml if asked.name.is_some() => write!(out, "{}", serde_yaml::to_string(&seen.clusters[0])?)?,
        Output::Yaml => write!(out, "{}", serde_yaml::to_string(&seen.clusters)?)?,
    }
    Ok(())
}
