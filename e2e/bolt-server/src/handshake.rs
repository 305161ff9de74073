//! The choice of the protocol version.

use crate::Version;

/// The bytes with which every Bolt client starts.
pub(crate) const MAGIC: [u8; 4] = [0x60, 0x60, 0xB0, 0x17];
/// Length of the client's handshake: the magic and four proposals of four bytes.
pub(crate) const LENGTH: usize = 20;

/// A version of the Bolt protocol that Memgraph speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BoltVersion {
    /// 1.0
    V1,
    /// 4.0
    V4_0,
    /// 4.1
    V4_1,
    /// 4.3
    V4_3,
    /// 4.4 (Memgraph 3.12 and newer)
    V4_4,
    /// 5.2
    V5_2,
}

impl BoltVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 6] = [
        Self::V1,
        Self::V4_0,
        Self::V4_1,
        Self::V4_3,
        Self::V4_4,
        Self::V5_2,
    ];

    /// Major and minor number.
    pub const fn numbers(self) -> (u8, u8) {
        match self {
            Self::V1 => (1, 0),
            Self::V4_0 => (4, 0),
            Self::V4_1 => (4, 1),
            Self::V4_3 => (4, 3),
            Self::V4_4 => (4, 4),
            Self::V5_2 => (5, 2),
        }
    }

    fn of_numbers(numbers: (u8, u8), server: Version) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.numbers() == numbers)
            .filter(|version| *version != Self::V4_4 || server >= Version::V3_12)
    }

    /// The server's answer when it chose this version.
    pub(crate) const fn answer(self) -> [u8; 4] {
        let (major, minor) = self.numbers();
        [0, 0, minor, major]
    }
}

/// Chooses as Memgraph does (`states/handshake.hpp`): the first of the client's proposals that fits, in the
/// client's order. `None` if the magic is wrong or nothing fits.
pub(crate) fn choose(handshake: &[u8; LENGTH], server: Version) -> Option<BoltVersion> {
    let (magic, proposals) = handshake.split_first_chunk::<4>()?;
    if *magic != MAGIC {
        return None;
    }
    for proposal in proposals.chunks_exact(4) {
        let &[_, range, minor, major] = proposal else {
            return None;
        };
        if (major, minor) == (0, 0) {
            return None;
        }
        // A range counts only with a minor number and goes down to 0 at most.
        let range = if major != 0 && minor != 0 {
            range.min(minor)
        } else {
            0
        };
        let chosen = (0..=range).find_map(|below| BoltVersion::of_numbers((major, minor - below), server));
        if chosen.is_some() {
            return chosen;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose_from(proposals: [[u8; 4]; 4], server: Version) -> Option<BoltVersion> {
        let mut handshake = [0; LENGTH];
        handshake[..4].copy_from_slice(&MAGIC);
        handshake[4..].copy_from_slice(&proposals.concat());
        choose(&handshake, server)
    }

    const NONE: [u8; 4] = [0; 4];

    #[test]
    fn exact_proposals_in_the_order_of_the_client() {
        use BoltVersion::*;
        let cases = [
            ([[0, 0, 2, 5], NONE, NONE, NONE], Some(V5_2)),
            ([[0, 0, 1, 4], [0, 0, 2, 5], NONE, NONE], Some(V4_1)),
            ([[0, 0, 0, 4], NONE, NONE, NONE], Some(V4_0)),
            ([[0, 0, 0, 1], NONE, NONE, NONE], Some(V1)),
            ([[0, 0, 4, 5], [0, 0, 2, 4], [0, 0, 1, 5], [0, 0, 0, 3]], None),
            // Nothing is read behind an empty proposal.
            ([NONE, [0, 0, 1, 4], NONE, NONE], None),
        ];
        for (proposals, chosen) in cases {
            assert_eq!(choose_from(proposals, Version::Head), chosen, "{proposals:?}");
        }
    }

    #[test]
    fn ranges_go_down_from_their_minor_number() {
        use BoltVersion::*;
        let cases = [
            (
                [[0, 8, 8, 5], [0, 2, 4, 4], [0, 0, 1, 4], [0, 0, 0, 3]],
                Some(V5_2),
            ),
            ([[0, 4, 8, 5], [0, 0, 1, 4], NONE, NONE], Some(V4_1)),
            ([[0, 200, 2, 4], NONE, NONE, NONE], Some(V4_1)),
            // Without a minor number there is no range, but the version itself counts.
            ([[0, 3, 0, 4], NONE, NONE, NONE], Some(V4_0)),
        ];
        for (proposals, chosen) in cases {
            assert_eq!(choose_from(proposals, Version::Head), chosen, "{proposals:?}");
        }
    }

    #[test]
    fn bolt_4_4_came_with_3_12() {
        let range = [[0, 2, 4, 4], NONE, NONE, NONE];
        for server in Version::ALL {
            let expected = if server >= Version::V3_12 {
                BoltVersion::V4_4
            } else {
                BoltVersion::V4_3
            };
            assert_eq!(choose_from(range, server), Some(expected), "{server}");
        }
    }

    #[test]
    fn the_manifest_proposal_is_skipped() {
        let proposals = [[0, 0, 1, 0xFF], [0, 8, 8, 5], [0, 2, 4, 4], [0, 0, 0, 3]];
        assert_eq!(choose_from(proposals, Version::V3_12), Some(BoltVersion::V5_2));
    }

    #[test]
    fn a_wrong_magic_never_fits() {
        let mut handshake = *b"GET / HTTP/1.1\r\nHost";
        assert_eq!(choose(&handshake, Version::Head), None);
        handshake[4..8].copy_from_slice(&[0, 0, 2, 5]);
        assert_eq!(choose(&handshake, Version::Head), None);
    }
}
