//! Seeds that have failed once.

use std::time::Duration;

use crate::scenario::Scenario;

/// A seed that has failed once, and what it showed. Later changes of the product or of the faults give the seed another
/// course of events; what must not be is the same.
#[derive(Clone, Copy, Debug)]
pub struct Regression {
    /// The seed.
    pub seed: u64,
    /// For how many seconds faults strike.
    pub seconds: u64,
    /// What it showed.
    pub showed: &'static str,
}

impl Regression {
    /// Its scenario.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        Scenario {
            time: Duration::from_secs(self.seconds),
            ..Scenario::new(self.seed)
        }
    }
}

const fn showed(seed: u64, seconds: u64, showed: &'static str) -> Regression {
    Regression {
        seed,
        seconds,
        showed,
    }
}

/// All of them.
pub const REGRESSIONS: [Regression; 35] = [
    showed(
        6,
        600,
        "a rename of the mark that was undone: a log that no start could read",
    ),
    showed(
        22,
        600,
        "the mark waited for a reader of a replica, and the route stayed closed",
    ),
    showed(24, 600, "the same in a failover, for good"),
    showed(
        35,
        600,
        "a strict registration by a stale name: another instance was fed twice, and the member got nothing",
    ),
    showed(
        43,
        600,
        "a write of a MAIN that was killed before it had flushed it came to replicas, and was lost with the power: nobody was told of it",
    ),
    showed(
        99,
        600,
        "power lost soon after a replica was filled: it ended at each start, and nothing said so",
    ),
    showed(
        111,
        600,
        "the route was never opened after a mark that was undone",
    ),
    showed(
        114,
        600,
        "a replica was promoted by hand while it was registered, and answered nothing any more",
    ),
    showed(
        196,
        600,
        "a replica that was killed in a commit was never registered again, and nothing said so",
    ),
    showed(
        302,
        600,
        "as seed 35: instances under the addresses of others, after the cluster was made anew",
    ),
    showed(
        384,
        600,
        "the cluster was not whole again in the end, and no condition said why",
    ),
    showed(
        120,
        525,
        "a second phase that was lost behind a closed route: nobody commits there, so that nobody found it out",
    ),
    showed(244, 525, "the same after a loss of power of everything"),
    showed(
        789,
        525,
        "both copies of two restarted, MAIN's was an older one: the route stayed closed, and nothing said why",
    ),
    showed(
        1098,
        525,
        "a candidate was killed, back within 58 ms and promoted, before Kubernetes had told: in a life that the ledger did not name",
    ),
    showed(
        2213,
        525,
        "MAIN's volume was put back while its member had no power: what held more was set aside, and clients were let in",
    ),
    showed(
        2811,
        525,
        "two candidates were struck off and kept from being filled anew, since the set of the last term named them",
    ),
    showed(
        2828,
        525,
        "a restarted member showed that the restarted MAIN was the older one, and a third copy was filled from it all the same",
    ),
    showed(
        2465,
        525,
        "a replica that was empty when it took a snapshot became MAIN and came back empty: a restarted member was not promoted",
    ),
    showed(
        3712,
        525,
        "the same, while the former MAIN stood still: it went on as MAIN, and nobody made it one of ours",
    ),
    showed(
        3917,
        525,
        "MAIN's volume was put back, its successor took it for ahead, stepped aside, was refused by it and filled anew from it",
    ),
    showed(
        2662,
        525,
        "a replica was killed while it was filled, and had no power later: it lacked a write in the middle",
    ),
    showed(
        8106,
        525,
        "the MemgraphCluster was made again during its first set-up: the next one used the same numbers for registrations",
    ),
    showed(
        5667,
        525,
        "the MemgraphCluster was made again while a MAIN that had been replaced went on: it was taken for the one that all follow",
    ),
    showed(
        3226,
        525,
        "MAIN's pod was deleted soon after other changes of MAIN: it was told to end while it served",
    ),
    showed(
        2528,
        525,
        "MAIN was killed in a commit while a human's DROP REPLICA had just taken a copy away (a fault of the simulation)",
    ),
    showed(
        2916,
        525,
        "the node of the chosen one lost its power: it was promoted in another life before its kubelet had told of it",
    ),
    showed(
        194,
        525,
        "after bootstrap.recover two copies had branched off: once one was set aside, nothing said that the other waits for a word",
    ),
    showed(
        280,
        525,
        "MAIN's volume was put back, and a human gave the newer copy up because another one was as new (a fault of the simulation)",
    ),
    showed(
        703,
        525,
        "an outage of the API server ended for one operator alone, whose own cut was over: it led while no kubelet could tell (a fault \
         of the simulation)",
    ),
    showed(
        118,
        525,
        "each of four copies that had branched off needed a word of its own: more than the simulation took for possible",
    ),
    showed(
        3316,
        525,
        "after a loss of power of everything an instance got the address of a former gateway, and clients wrote to it past its \
         NetworkPolicy (a fault of the simulation)",
    ),
    showed(
        1982,
        525,
        "a fence waited for five seconds for a gateway that said nothing, and then an instance was promoted although the cluster had been \
         deleted meanwhile",
    ),
    showed(
        406,
        525,
        "a leader that stood still heard of its promotion after the next one's probe, which did not count then (a fault of the simulation)",
    ),
    showed(
        2848,
        525,
        "a registration that failed after five seconds was taken back, and the cluster had been deleted meanwhile: what was under way could \
         take no longer (a fault of the simulation)",
    ),
];
