//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long [`until`] pauses between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks until `look` finds something, and returns it. An error of `look` counts as "not yet": servers that are being
/// killed and restarted answer with errors.
///
/// # Errors
/// When nothing was found within `limit`: `what` was waited for, and why the last look found nothing.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => String::new(),
            Err(error) => format!("; the last look ended with: {error:#}"),
        };
        if start.elapsed() >= limit {
            bail!("{what}: not so after {} s{last}", limit.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
