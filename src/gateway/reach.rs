//! What became of connections to MAIN, as this gateway can witness it. Pure: times are given, of one clock of the gateway's.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use crate::{
    exhaustion::is_out_of_resources,
    grants::{MainReach, PROBE_EVERY},
};

/// By how much a handshake may begin late before what this gateway has seen counts for nothing: a process that was held up
/// itself cannot tell a MAIN that was held up from its own being late.
const LATE: Duration = Duration::from_millis(250);

/// What became of a connection to MAIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// It was made.
    Connected,
    /// MAIN has refused it, or has ended it by itself.
    Refused,
    /// It was not answered in time.
    Silent,
}

impl Incident {
    /// What it says of MAIN that a connection could not be made; none: nothing.
    #[must_use]
    pub fn of_connect(error: &io::Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Some(Self::Refused),
            // MAIN must not be taken for dead because this gateway is short of something.
            _ if is_out_of_resources(error) => None,
            _ => Some(Self::Silent),
        }
    }

    /// What it says of MAIN that a connection which stood has broken; none: nothing. A process that ends has its end told, by FIN or RST.
    #[must_use]
    pub fn of_end(error: &io::Error) -> Option<Self> {
        match error.kind() {
            // Given up here (see `socket`): MAIN may be so busy that it takes nothing, or out of reach.
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Some(Self::Silent)
            }
            // What it says in TLS was not understood or not believed here: it lives.
            ErrorKind::InvalidData | ErrorKind::Other => None,
            _ if is_out_of_resources(error) => None,
            _ => Some(Self::Refused),
        }
    }
}

/// What became of the connections to MAIN of the highest term that there were any of.
#[derive(Debug, Default)]
pub struct Reach {
    term: i64,
    connected: Option<Duration>,
    refused: Option<Duration>,
    silent: Option<Duration>,
    /// When a handshake was completed last.
    handshake: Option<Duration>,
    /// When the first of the handshakes was begun that have come to nothing since.
    unanswered: Option<Duration>,
    /// When a handshake was begun last.
    begun: Option<Duration>,
}

impl Reach {
    /// Takes note of what became of a connection to MAIN of this term. Says whether that is still of interest.
    pub fn note(&mut self, term: i64, incident: Incident, now: Duration) -> bool {
        if !self.turn_to(term) {
            return false;
        }
        let last = match incident {
            Incident::Connected => &mut self.connected,
            Incident::Refused => &mut self.refused,
            Incident::Silent => &mut self.silent,
        };
        *last = Some(now);
        true
    }

    /// A handshake with MAIN of this term begins.
    pub fn begin(&mut self, term: i64, now: Duration) {
        if !self.turn_to(term) {
            return;
        }
        if !self.is_on_time(now) {
            self.unanswered = None;
        }
        self.begun = Some(now);
        self.unanswered.get_or_insert(now);
    }

    /// A handshake with MAIN of this term came to nothing, for a reason that is not MAIN's. Silence counts from the next one on.
    pub fn give_up(&mut self, term: i64) {
        if self.turn_to(term) {
            self.unanswered = None;
        }
    }

    /// A handshake with MAIN of this term was completed, whenever it was begun.
    pub fn complete(&mut self, term: i64, now: Duration) {
        if self.turn_to(term) {
            self.handshake = Some(now);
            self.unanswered = None;
        }
    }

    /// For the report.
    #[must_use]
    pub fn at(&self, now: Duration) -> MainReach {
        let ago = |at: Option<Duration>| {
            let millis = now.saturating_sub(at?).as_millis();
            Some(u64::try_from(millis).unwrap_or(u64::MAX))
        };
        MainReach {
            term: self.term,
            connected_millis_ago: ago(self.connected),
            refused_millis_ago: ago(self.refused),
            silent_millis_ago: ago(self.silent),
            handshake_millis_ago: ago(self.handshake),
            waiting_millis: None,
            unanswered_millis: ago(self.unanswered.filter(|_| self.is_on_time(now))),
        }
    }

    /// Whether handshakes were begun as often as they should be, up to now.
    fn is_on_time(&self, now: Duration) -> bool {
        self.begun
            .is_some_and(|begun| now.saturating_sub(begun) <= PROBE_EVERY + LATE)
    }

    /// Forgets older terms. Says whether this one is not older itself.
    fn turn_to(&mut self, term: i64) -> bool {
        if term > self.term {
            *self = Self {
                term,
                ..Self::default()
            };
        }
        term == self.term
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Handshakes begun on time, from `from` to `to`.
    fn begin(reach: &mut Reach, from: u64, to: u64) {
        for at in (from..=to).step_by(500) {
            reach.begin(7, ms(at));
        }
    }

    #[test]
    fn silence_counts_from_the_first_handshake_that_came_to_nothing() {
        let mut reach = Reach::default();
        assert_eq!(reach.at(ms(0)), MainReach::default());
        begin(&mut reach, 1_000, 1_000);
        reach.complete(7, ms(1_010));
        assert_eq!(reach.at(ms(1_200)).unanswered_millis, None);
        assert_eq!(reach.at(ms(1_200)).handshake_millis_ago, Some(190));
        begin(&mut reach, 1_500, 2_500);
        let told = reach.at(ms(2_600));
        assert_eq!((told.term, told.unanswered_millis), (7, Some(1_100)));
        assert_eq!(told.handshake_millis_ago, Some(1_590));
    }

    #[test]
    fn any_handshake_that_is_completed_ends_it_however_late() {
        let mut reach = Reach::default();
        begin(&mut reach, 0, 2_000);
        reach.complete(7, ms(2_100));
        assert_eq!(reach.at(ms(2_100)).unanswered_millis, None);
        begin(&mut reach, 2_500, 2_500);
        assert_eq!(reach.at(ms(2_700)).unanswered_millis, Some(200));
    }

    #[test]
    fn handshakes_that_this_gateway_cannot_begin_are_no_silence() {
        let mut reach = Reach::default();
        begin(&mut reach, 0, 1_000);
        reach.give_up(7);
        assert_eq!(reach.at(ms(1_200)).unanswered_millis, None);
        begin(&mut reach, 1_500, 2_000);
        assert_eq!(reach.at(ms(2_100)).unanswered_millis, Some(600));
        reach.give_up(6);
        assert_eq!(
            reach.at(ms(2_100)).unanswered_millis,
            Some(600),
            "that was another MAIN"
        );
    }

    #[test]
    fn a_gateway_that_was_held_up_itself_tells_of_no_silence() {
        let mut reach = Reach::default();
        begin(&mut reach, 0, 1_000);
        assert_eq!(reach.at(ms(1_750)).unanswered_millis, Some(1_750));
        assert_eq!(
            reach.at(ms(1_751)).unanswered_millis,
            None,
            "it should have begun another one"
        );
        begin(&mut reach, 3_000, 3_000);
        assert_eq!(reach.at(ms(3_200)).unanswered_millis, Some(200), "it begins anew");
    }

    #[test]
    fn a_new_term_begins_with_nothing_and_an_older_one_counts_no_more() {
        let mut reach = Reach::default();
        begin(&mut reach, 0, 1_000);
        assert!(reach.note(8, Incident::Connected, ms(1_100)));
        assert_eq!(reach.at(ms(1_100)).unanswered_millis, None);
        assert!(!reach.note(7, Incident::Refused, ms(1_200)));
        reach.complete(7, ms(1_200));
        let told = reach.at(ms(1_200));
        assert_eq!((told.term, told.connected_millis_ago), (8, Some(100)));
        assert_eq!((told.refused_millis_ago, told.handshake_millis_ago), (None, None));
    }
}
