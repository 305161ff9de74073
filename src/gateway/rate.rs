//! How fast the clients of one address may connect. Pure: times are given.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use tokio::time::Instant;

use crate::api::ConnectionRateLimit;

/// Addresses that are remembered at the same time: some 3 MiB at most.
const REMEMBERED: usize = 65_536;

/// How often at most all of them are looked through for those that can be forgotten.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// A number of connections per time. Both numbers are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Connections per second in the long run.
    pub per_second: u32,
    /// Connections at once, after a rest.
    pub burst: u32,
}

impl From<&ConnectionRateLimit> for Rate {
    fn from(spec: &ConnectionRateLimit) -> Self {
        // The schema keeps both positive.
        let positive = |n: i32| u32::try_from(n).unwrap_or(0).max(1);
        let per_second = positive(spec.per_second);
        Self {
            per_second,
            burst: spec.burst.map_or(per_second.saturating_mul(2), positive),
        }
    }
}

/// Remembers how fast each address has connected of late.
///
/// Of an address only one moment is remembered: when it will have rested enough to be like one that never came (the generic
/// cell rate algorithm). Addresses for which there is no room are counted as one address.
#[derive(Debug)]
pub struct RateLimiter {
    rested: HashMap<Source, Instant>,
    others_rested: Instant,
    next_sweep: Instant,
    capacity: usize,
}

/// What is counted as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    /// The network of which a single host has all addresses: the first 64 bits.
    V6([u16; 4]),
}

impl RateLimiter {
    /// One that remembers nobody.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            rested: HashMap::new(),
            others_rested: now,
            next_sweep: now,
            capacity: REMEMBERED,
        }
    }

    /// Counts one more connection of this address, unless it has come too fast.
    #[must_use]
    pub fn admit(&mut self, address: IpAddr, rate: Rate, now: Instant) -> bool {
        let interval = Duration::from_secs(1) / rate.per_second;
        let most = now + interval * rate.burst;
        let rested = self.rested_of(Source::of(address), now);
        // What was counted at a slower rate, before the spec was changed, is no more than a whole burst now.
        *rested = (*rested).clamp(now, most);
        let admitted = *rested + interval <= most;
        if admitted {
            *rested += interval;
        }
        admitted
    }

    fn rested_of(&mut self, source: Source, now: Instant) -> &mut Instant {
        if self.rested.len() >= self.capacity && !self.rested.contains_key(&source) {
            self.sweep(now);
            if self.rested.len() >= self.capacity {
                return &mut self.others_rested;
            }
        }
        self.rested.entry(source).or_insert(now)
    }

    /// Not at every connection: a flood from ever new addresses would make each of them dear.
    fn sweep(&mut self, now: Instant) {
        if now >= self.next_sweep {
            self.rested.retain(|_, rested| *rested > now);
            self.next_sweep = now + SWEEP_PAUSE;
        }
    }
}

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate {
        per_second: 10,
        burst: 3,
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of so many connections at once are admitted.
    fn admitted(limiter: &mut RateLimiter, address: &str, rate: Rate, now: Instant) -> usize {
        (0..100).filter(|_| limiter.admit(ip(address), rate, now)).count()
    }

    #[test]
    fn a_burst_is_admitted_and_then_one_per_interval() {
        let begin = Instant::now();
        let mut limiter = RateLimiter::new(begin);
        assert_eq!(admitted(&mut limiter, "10.0.0.1", RATE, begin), 3);
        let at = |millis| begin + Duration::from_millis(millis);
        assert_eq!(admitted(&mut limiter, "10.0.0.1", RATE, at(99)), 0);
        assert_eq!(admitted(&mut limiter, "10.0.0.1", RATE, at(100)), 1);
        assert_eq!(admitted(&mut limiter, "10.0.0.1", RATE, at(300)), 2);
        assert_eq!(admitted(&mut limiter, "10.0.0.1", RATE, at(60_000)), 3);
    }

    #[test]
    fn addresses_are_counted_apart_and_those_of_one_ipv6_network_together() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(now);
        assert_eq!(admitted(&mut limiter, "10.0.0.1", RATE, now), 3);
        assert_eq!(admitted(&mut limiter, "10.0.0.2", RATE, now), 3);
        assert_eq!(admitted(&mut limiter, "::ffff:10.0.0.1", RATE, now), 0);
        assert_eq!(admitted(&mut limiter, "2001:db8:0:1::1", RATE, now), 3);
        assert_eq!(admitted(&mut limiter, "2001:db8:0:1:ffff::2", RATE, now), 0);
        assert_eq!(admitted(&mut limiter, "2001:db8:0:2::1", RATE, now), 3);
    }

    #[test]
    fn a_faster_rate_counts_at_once() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(now);
        let slow = Rate {
            per_second: 1,
            burst: 1000,
        };
        assert_eq!(admitted(&mut limiter, "10.0.0.1", slow, now), 100);
        assert_eq!(admitted(&mut limiter, "10.0.0.1", RATE, now), 0);
        let later = now + Duration::from_millis(100);
        assert_eq!(admitted(&mut limiter, "10.0.0.1", RATE, later), 1);
    }

    #[test]
    fn memory_is_bounded_and_whoever_does_not_fit_shares_one_place() {
        let begin = Instant::now();
        let mut limiter = RateLimiter {
            capacity: 2,
            ..RateLimiter::new(begin)
        };
        assert_eq!(admitted(&mut limiter, "10.0.0.1", RATE, begin), 3);
        assert_eq!(admitted(&mut limiter, "10.0.0.2", RATE, begin), 3);
        assert_eq!(admitted(&mut limiter, "10.0.0.3", RATE, begin), 3);
        assert_eq!(admitted(&mut limiter, "10.0.0.4", RATE, begin), 0);
        assert_eq!(limiter.rested.len(), 2);

        // Both have rested, and the last look is long enough ago.
        let later = begin + SWEEP_PAUSE;
        assert_eq!(admitted(&mut limiter, "10.0.0.4", RATE, later), 3);
        assert_eq!(limiter.rested.len(), 1);
    }

    #[test]
    fn the_burst_is_twice_the_rate_where_the_spec_names_none() {
        let spec = |burst| ConnectionRateLimit {
            per_second: 100,
            burst,
        };
        let rate = |burst| Rate {
            per_second: 100,
            burst,
        };
        assert_eq!(Rate::from(&spec(None)), rate(200));
        assert_eq!(Rate::from(&spec(Some(5))), rate(5));
    }

    proptest! {
        /// Between any two connections there are no more than the burst and what the time between them allows.
        #[test]
        fn no_window_has_more_than_the_rate(
            per_second in 1_u32..2_000,
            burst in 1_u32..50,
            pauses in prop::collection::vec(0_u64..50_000, 1..200),
        ) {
            let rate = Rate { per_second, burst };
            let mut now = Instant::now();
            let mut limiter = RateLimiter::new(now);
            let mut admitted = Vec::new();
            for pause in pauses {
                now += Duration::from_micros(pause);
                if limiter.admit(ip("10.0.0.1"), rate, now) {
                    admitted.push(now);
                }
            }
            for (i, first) in admitted.iter().enumerate() {
                for (j, last) in admitted.iter().enumerate().skip(i) {
                    let allowed = f64::from(burst) + (*last - *first).as_secs_f64() * f64::from(per_second);
                    // The interval is a whole number of nanoseconds.
                    prop_assert!((j - i + 1) as f64 <= allowed + 0.01);
                }
            }
        }
    }
}
