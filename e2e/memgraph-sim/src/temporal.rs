//! Dates, times and spans of time, in microseconds as Memgraph keeps them (`utils/temporal.hpp`).

use std::fmt;

use bolt_server::Temporal as BoltTemporal;
use jiff::{
    SignedDuration, Span, Timestamp,
    civil::{self, DateTime},
    fmt::temporal::Pieces,
    tz::Offset,
};
use serde::{Deserialize, Serialize};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// C++'s `std::chrono::months`: a twelfth of the mean Gregorian year.
const MONTH: i64 = 2_629_746 * SECOND;
const EPOCH: civil::Date = civil::date(1970, 1, 1);

/// A value of one of Memgraph's temporal types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Temporal {
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    LocalTime(i64),
    /// Microseconds since 1970-01-01T00:00:00.
    LocalDateTime(i64),
    DateTime {
        /// Microseconds since 1970-01-01T00:00:00Z.
        utc: i64,
        /// Minutes that the local time is ahead of UTC.
        offset: i16,
    },
    /// Microseconds.
    Duration(i64),
}

impl Temporal {
    /// The type's name in Memgraph's messages.
    pub(crate) const fn type_name(self) -> &'static str {
        match self {
            Self::Date(_) => "date",
            Self::LocalTime(_) => "local_time",
            Self::LocalDateTime(_) => "local_date_time",
            Self::DateTime { .. } => "zoned_date_time",
            Self::Duration(_) => "duration",
        }
    }

    /// Takes a query parameter (`decoder.hpp`); what is finer than a microsecond is cut off. `None` if it is out of
    /// Memgraph's range, the years 0 to 9999.
    pub(crate) fn from_bolt(value: BoltTemporal) -> Option<Self> {
        match value {
            BoltTemporal::Date { days } => {
                let days = i32::try_from(days).ok()?;
                date(days).map(|_| Self::Date(days))
            }
            BoltTemporal::LocalTime { nanoseconds } => (0..DAY)
                .contains(&(nanoseconds / 1000))
                .then_some(Self::LocalTime(nanoseconds / 1000)),
            BoltTemporal::LocalDateTime { seconds, nanoseconds } => {
                let time = microseconds(seconds, nanoseconds)?;
                local(time).map(|_| Self::LocalDateTime(time))
            }
            BoltTemporal::DateTime {
                seconds,
                nanoseconds,
                offset,
            } => {
                let utc = microseconds(seconds, nanoseconds)?;
                let offset = i16::try_from(offset / 60).ok()?;
                local(utc.checked_add(i64::from(offset) * MINUTE)?)?;
                Some(Self::DateTime { utc, offset })
            }
            // Only sent, and never taken.
            BoltTemporal::InUtc { .. } => None,
            BoltTemporal::Duration {
                months,
                days,
                seconds,
                nanoseconds,
            } => months
                .checked_mul(MONTH)?
                .checked_add(days.checked_mul(DAY)?)?
                .checked_add(microseconds(seconds, nanoseconds)?)
                .map(Self::Duration),
        }
    }

    /// The form in which a client gets it (`base_encoder.hpp`). Memgraph rounds towards 1970, so that the
    /// nanoseconds of an earlier time are negative.
    pub(crate) const fn to_bolt(self) -> BoltTemporal {
        match self {
            Self::Date(days) => BoltTemporal::Date { days: days as i64 },
            Self::LocalTime(time) => BoltTemporal::LocalTime {
                nanoseconds: time * 1000,
            },
            Self::LocalDateTime(time) => BoltTemporal::LocalDateTime {
                seconds: time / SECOND,
                nanoseconds: time % SECOND * 1000,
            },
            Self::DateTime { utc, offset } => BoltTemporal::DateTime {
                seconds: utc / SECOND,
                nanoseconds: utc % SECOND * 1000,
                offset: offset as i64 * 60,
            },
            // The months of a parameter have become days.
            Self::Duration(time) => BoltTemporal::Duration {
                months: 0,
                days: time / DAY,
                seconds: time % DAY / SECOND,
                nanoseconds: time % SECOND * 1000,
            },
        }
    }

    /// `date("2024-02-29")`; `None` if the text is no date.
    pub(crate) fn parse_date(text: &str) -> Option<Self> {
        let date: civil::Date = text.parse().ok()?;
        let days = date.duration_since(EPOCH).as_hours() / 24;
        i32::try_from(days).ok().map(Self::Date)
    }

    /// `localTime("13:14:15.123456")`
    pub(crate) fn parse_local_time(text: &str) -> Option<Self> {
        let time: civil::Time = text.parse().ok()?;
        span(time.duration_since(civil::Time::midnight())).map(Self::LocalTime)
    }

    /// `localDateTime("2024-02-29T13:14:15.123456")`
    pub(crate) fn parse_local_date_time(text: &str) -> Option<Self> {
        let time: DateTime = text.parse().ok()?;
        span(time.duration_since(EPOCH.to_datetime(civil::Time::midnight()))).map(Self::LocalDateTime)
    }

    /// `datetime("2024-02-29T13:14:15.123456+02:00")`
    pub(crate) fn parse_date_time(text: &str) -> Option<Self> {
        let pieces = Pieces::parse(text).ok()?;
        // A named time zone is nothing that the simulator carries.
        if pieces.time_zone_annotation().is_some() {
            return None;
        }
        let offset = pieces.to_numeric_offset()?;
        let time = pieces.date().to_datetime(pieces.time()?);
        let utc = offset.to_timestamp(time).ok()?.as_microsecond();
        let offset = i16::try_from(offset.seconds() / 60).ok()?;
        Some(Self::DateTime { utc, offset })
    }

    /// `duration("P1DT2H3M4.5S")`
    pub(crate) fn parse_duration(text: &str) -> Option<Self> {
        let span: Span = text.parse().ok()?;
        let months = i64::from(span.get_years()) * 12 + i64::from(span.get_months());
        let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
        [
            (months, MONTH),
            (days, DAY),
            (i64::from(span.get_hours()), HOUR),
            (span.get_minutes(), MINUTE),
            (span.get_seconds(), SECOND),
            (span.get_milliseconds(), 1000),
            (span.get_microseconds(), 1),
        ]
        .into_iter()
        .try_fold(span.get_nanoseconds() / 1000, |sum, (count, unit)| {
            sum.checked_add(count.checked_mul(unit)?)
        })
        .map(Self::Duration)
    }
}

/// The text of `toString` and of DUMP DATABASE.
impl fmt::Display for Temporal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Date(days) => write!(f, "{}", date(days).unwrap_or(EPOCH)),
            Self::LocalTime(time) => write!(f, "{:.6}", local(time).unwrap_or_default().time()),
            Self::LocalDateTime(time) => write!(f, "{:.6}", local(time).unwrap_or_default()),
            Self::DateTime { utc, offset } => {
                let time = utc.saturating_add(i64::from(offset) * MINUTE);
                let sign = if offset < 0 { '-' } else { '+' };
                let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
                let time = local(time).unwrap_or_default();
                write!(f, "{time:.6}{sign}{hours:02}:{minutes:02}")
            }
            Self::Duration(time) => {
                let (days, hours, minutes) = (time / DAY, time % DAY / HOUR, time % HOUR / MINUTE);
                let (seconds, rest) = (time % MINUTE / SECOND, time % SECOND);
                let sign = if seconds == 0 && rest < 0 { "-" } else { "" };
                let rest = rest.abs();
                write!(f, "P{days}DT{hours}H{minutes}M{sign}{seconds}.{rest:06}S")
            }
        }
    }
}

fn microseconds(seconds: i64, nanoseconds: i64) -> Option<i64> {
    seconds.checked_mul(SECOND)?.checked_add(nanoseconds / 1000)
}

fn span(duration: SignedDuration) -> Option<i64> {
    i64::try_from(duration.as_micros()).ok()
}

fn date(days: i32) -> Option<civil::Date> {
    let date = EPOCH
        .checked_add(SignedDuration::from_hours(i64::from(days) * 24))
        .ok()?;
    (date.year() >= 0).then_some(date)
}

fn local(time: i64) -> Option<DateTime> {
    let time = Timestamp::from_microsecond(time).ok()?;
    let time = Offset::UTC.to_datetime(time);
    (time.year() >= 0).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written_as_by_memgraph() {
        type Parse = fn(&str) -> Option<Temporal>;
        let cases: [(Parse, &str, &str); 8] = [
            (Temporal::parse_date, "2024-02-29", "2024-02-29"),
            (Temporal::parse_date, "0001-01-01", "0001-01-01"),
            (Temporal::parse_local_time, "13:14:15", "13:14:15.000000"),
            (Temporal::parse_local_time, "13:14:15.123456", "13:14:15.123456"),
            (
                Temporal::parse_local_date_time,
                "1969-12-31T23:59:59.5",
                "1969-12-31T23:59:59.500000",
            ),
            (
                Temporal::parse_date_time,
                "2024-02-29T13:14:15-03:30",
                "2024-02-29T13:14:15.000000-03:30",
            ),
            (Temporal::parse_duration, "P1DT25H61S", "P2DT1H1M1.000000S"),
            (Temporal::parse_duration, "-PT0.5S", "P0DT0H0M-0.500000S"),
        ];
        for (parse, text, written) in cases {
            let value = parse(text);
            assert_eq!(
                value.map(|value| value.to_string()).as_deref(),
                Some(written),
                "{text}"
            );
        }
        assert_eq!(Temporal::parse_date("2023-02-29"), None);
        assert_eq!(Temporal::parse_date_time("2024-02-29T13:14:15"), None);
    }

    #[test]
    fn what_a_client_sends_comes_back_in_microseconds() {
        let zoned = BoltTemporal::DateTime {
            seconds: 1_709_205_255,
            nanoseconds: 123_456_789,
            offset: 7200,
        };
        assert_eq!(
            Temporal::from_bolt(zoned).map(Temporal::to_bolt),
            Some(BoltTemporal::DateTime {
                seconds: 1_709_205_255,
                nanoseconds: 123_456_000,
                offset: 7200,
            })
        );
        let span = BoltTemporal::Duration {
            months: 1,
            days: 1,
            seconds: 0,
            nanoseconds: 1000,
        };
        assert_eq!(
            Temporal::from_bolt(span).map(Temporal::to_bolt),
            Some(BoltTemporal::Duration {
                months: 0,
                days: 31,
                seconds: 37_746,
                nanoseconds: 1000,
            })
        );
    }

    #[test]
    fn the_time_before_1970_counts_backwards() {
        let time = Temporal::parse_local_date_time("1969-12-31T23:59:59.999999");
        assert_eq!(
            time.map(Temporal::to_bolt),
            Some(BoltTemporal::LocalDateTime {
                seconds: 0,
                nanoseconds: -1000,
            })
        );
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let refused = [
            BoltTemporal::Date { days: -800_000 },
            BoltTemporal::Date { days: 3_000_000 },
            BoltTemporal::LocalTime { nanoseconds: -1000 },
            BoltTemporal::LocalDateTime {
                seconds: i64::MAX,
                nanoseconds: 0,
            },
        ];
        for value in refused {
            assert_eq!(Temporal::from_bolt(value), None, "{value:?}");
        }
    }
}
