//! Dates, times and spans as mgconsole prints them (`PrintValue` in `src/utils/utils.cpp`).

use std::fmt::{self, Formatter, Write as _};

use bolt_server::Temporal;
use jiff::{Span, civil};

const DAY: i64 = 24 * 3600;
const NANOSECONDS: i128 = 1_000_000_000;
const EPOCH: civil::Date = civil::date(1970, 1, 1);

/// Shows a date, a time or a span.
pub(crate) fn show(output: &mut Formatter<'_>, value: Temporal) -> fmt::Result {
    match value {
        Temporal::Date { days } => date(output, days),
        Temporal::LocalTime { nanoseconds } => time(output, nanoseconds.into()),
        Temporal::LocalDateTime { seconds, nanoseconds } => date_and_time(output, seconds, nanoseconds),
        Temporal::DateTime {
            seconds,
            nanoseconds,
            offset,
        } => {
            date_and_time(output, seconds.saturating_add(offset), nanoseconds)?;
            let minutes = (offset / 60).unsigned_abs();
            let sign = if offset / 60 < 0 { '-' } else { '+' };
            write!(output, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
        Temporal::InUtc { seconds, nanoseconds } => {
            date_and_time(output, seconds, nanoseconds)?;
            output.write_str("[Etc/UTC]")
        }
        // Months are left out, as mgconsole does.
        Temporal::Duration {
            days,
            seconds,
            nanoseconds,
            ..
        } => duration(output, days, seconds, nanoseconds),
    }
}

fn date(output: &mut Formatter<'_>, days: i64) -> fmt::Result {
    let date = Span::new()
        .try_days(days)
        .and_then(|span| EPOCH.checked_add(span));
    match date {
        Ok(date) => write!(output, "{date}"),
        // No date of Memgraph is that far away.
        Err(_) => output.write_str("{unknown value}"),
    }
}

/// A negative time, which is wrong but what mgconsole shows for what was before 1970, has a sign.
fn time(output: &mut Formatter<'_>, nanoseconds: i128) -> fmt::Result {
    if nanoseconds < 0 {
        output.write_char('-')?;
    }
    let nanoseconds = nanoseconds.abs();
    let (seconds, rest) = (nanoseconds / NANOSECONDS, nanoseconds % NANOSECONDS);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    write!(output, "{hours:02}:{minutes:02}:{:02}.{rest:09}", seconds % 60)
}

fn date_and_time(output: &mut Formatter<'_>, seconds: i64, nanoseconds: i64) -> fmt::Result {
    date(output, seconds / DAY)?;
    output.write_char(' ')?;
    let rest = i128::from(seconds % DAY) * NANOSECONDS;
    time(output, rest + i128::from(nanoseconds))
}

fn duration(output: &mut Formatter<'_>, days: i64, seconds: i64, nanoseconds: i64) -> fmt::Result {
    let all = (i128::from(seconds) * NANOSECONDS + i128::from(nanoseconds)) / 1000;
    let (whole, microseconds) = (all / 1_000_000, all % 1_000_000);
    output.write_char('P')?;
    if days != 0 {
        write!(output, "{days}D")?;
    }
    if all > 0 {
        output.write_char('T')?;
    }
    for (part, unit) in [(whole / 3600, 'H'), (whole / 60 % 60, 'M')] {
        if part != 0 {
            write!(output, "{part}{unit}")?;
        }
    }
    let seconds = whole % 60;
    if seconds == 0 && microseconds == 0 {
        return Ok(());
    }
    if seconds == 0 && microseconds < 0 {
        output.write_char('-')?;
    }
    write!(output, "{seconds}")?;
    if microseconds != 0 {
        write!(output, ".{:06}", microseconds.abs())?;
    }
    output.write_char('S')
}

#[cfg(test)]
mod tests {
    use bolt_server::Value;

    use super::*;
    use crate::values::Shown;

    fn shown(value: Temporal) -> String {
        Shown(&Value::Temporal(value)).to_string()
    }

    fn span(days: i64, seconds: i64, nanoseconds: i64) -> String {
        shown(Temporal::Duration {
            months: 7,
            days,
            seconds,
            nanoseconds,
        })
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(shown(Temporal::Date { days: 10_716 }), "1999-05-05");
        assert_eq!(shown(Temporal::Date { days: -1 }), "1969-12-31");
        let time = 43_272 * 1_000_000_000;
        assert_eq!(
            shown(Temporal::LocalTime { nanoseconds: time }),
            "12:01:12.000000000"
        );
        let local = |seconds| {
            shown(Temporal::LocalDateTime {
                seconds,
                nanoseconds: 1000,
            })
        };
        assert_eq!(local(968_739_705), "2000-09-12 06:21:45.000001000");
        assert_eq!(local(-3600), "1970-01-01 -00:59:59.999999000");
        let moment = |offset| {
            shown(Temporal::DateTime {
                seconds: 1_713_680_100,
                nanoseconds: 0,
                offset,
            })
        };
        assert_eq!(moment(27_000), "2024-04-21 13:45:00.000000000+07:30");
        assert_eq!(moment(-20_700), "2024-04-21 00:30:00.000000000-05:45");
    }

    #[test]
    fn spans() {
        assert_eq!(span(27, 14_421, 0), "P27DT4H21S");
        assert_eq!(span(0, 0, -123_000), "P-0.000123S");
        assert_eq!(span(3, 3_739, 123_000_000), "P3DT1H2M19.123000S");
        assert_eq!(span(0, 0, 0), "P");
    }
}
