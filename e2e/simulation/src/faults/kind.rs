//! What can go wrong.

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The leading operator process is killed.
    LeaderCrash,
    /// The other operator process is killed.
    StandbyCrash,
    /// The leading operator process stands still for up to 60 s.
    LeaderFreeze,
    /// The other operator process does.
    StandbyFreeze,
    /// The leading operator process is asked to end.
    LeaderStop,
    /// A gateway process is killed.
    GatewayCrash,
    /// A gateway process stands still for up to 60 s.
    GatewayFreeze,
    /// A gateway's pod is deleted by force while its node does not reach the API server: it lives on.
    GatewayForceDelete,
    /// MAIN is killed.
    MainKill,
    /// MAIN is killed, or a message of it is lost, in a phase of a commit.
    CommitPhase,
    /// MAIN stands still for up to 60 s.
    MainFreeze,
    /// A replica is killed.
    ReplicaKill,
    /// A replica stands still for up to 60 s.
    ReplicaFreeze,
    /// Machines stand still for up to 60 s, with an instance and a gateway: both go on in the same moment.
    NodeFreeze,
    /// A node that an instance runs on loses its power for a while.
    PowerLoss,
    /// Everything loses its power at once: instances, gateways and operators. What the API server has stays.
    PowerLossOfAll,
    /// An instance's volume is empty when it starts again.
    DiskEmpty,
    /// An instance's volume is as it was some time ago when it starts again.
    DiskOlder,
    /// One direction between two places does not get through.
    OneWay,
    /// Instances do not reach each other's replication port.
    ReplicationCut,
    /// Operators do not reach an instance's Bolt.
    BoltCut,
    /// Who wants to connect to an instance is refused, as if nothing ran there; connections that are open go on.
    Refusal,
    /// A node is cut off from everything.
    NodeCut,
    /// One process does not reach the API server.
    ApiCut,
    /// Nobody reaches the API server, for up to 60 s: neither operators and gateways, nor kubelets, controllers and humans.
    ApiOutage,
    /// Answers of the API server are lost although the requests were carried out.
    ApiLostAnswers,
    /// The API server is slow.
    ApiSlow,
    /// Watches show changes late.
    WatchLag,
    /// Changes are forgotten before watches have shown them.
    LostEvents,
    /// A node tells late what becomes of its pods.
    StatusLag,
    /// Messages between some places take long.
    SlowNetwork,
    /// An instance's pod is deleted.
    PodDelete,
    /// An instance's pod is deleted by force while its node does not reach the API server: it lives on.
    PodForceDelete,
    /// A long read runs on a replica.
    LongRead,
    /// A snapshot is written on a replica, and takes long.
    Snapshot,
    /// A human has MAIN changed (`spec.switchover`).
    Switchover,
    /// A human changes an instance's role.
    HumanRole,
    /// A human drops a replica's registration.
    HumanDrop,
    /// A human deletes a volume claim and its pod.
    HumanClaimDelete,
    /// A human changes the spec.
    HumanEdit,
    /// A human deletes the whole cluster, and makes it anew over the volumes that were kept.
    HumanRecreate,
    /// What operators ask gateways comes a second time, late.
    Repeated,
    /// A human puts the cluster to sleep, and wakes it up some time later, which may be before it is asleep.
    HumanSleep,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 43] = [
        Self::LeaderCrash,
        Self::StandbyCrash,
        Self::LeaderFreeze,
        Self::StandbyFreeze,
        Self::LeaderStop,
        Self::GatewayCrash,
        Self::GatewayFreeze,
        Self::GatewayForceDelete,
        Self::MainKill,
        Self::CommitPhase,
        Self::MainFreeze,
        Self::ReplicaKill,
        Self::ReplicaFreeze,
        Self::NodeFreeze,
        Self::PowerLoss,
        Self::PowerLossOfAll,
        Self::DiskEmpty,
        Self::DiskOlder,
        Self::OneWay,
        Self::ReplicationCut,
        Self::BoltCut,
        Self::Refusal,
        Self::NodeCut,
        Self::ApiCut,
        Self::ApiOutage,
        Self::ApiLostAnswers,
        Self::ApiSlow,
        Self::WatchLag,
        Self::LostEvents,
        Self::StatusLag,
        Self::SlowNetwork,
        Self::PodDelete,
        Self::PodForceDelete,
        Self::LongRead,
        Self::Snapshot,
        Self::Switchover,
        Self::HumanRole,
        Self::HumanDrop,
        Self::HumanClaimDelete,
        Self::HumanEdit,
        Self::HumanRecreate,
        Self::Repeated,
        Self::HumanSleep,
    ];

    /// Whether it makes the operator announce an operation, so that what follows it strikes within one.
    #[must_use]
    pub fn begins_operation(self) -> bool {
        matches!(
            self,
            Self::MainKill
                | Self::CommitPhase
                | Self::PowerLoss
                | Self::Switchover
                | Self::PodDelete
                | Self::MainFreeze
        )
    }

    /// Whether the only copy of a write may be lost by it: what was not synced, or what a human tells the wrong instance.
    #[must_use]
    pub fn may_lose_a_lone_copy(self) -> bool {
        matches!(
            self,
            Self::PowerLoss | Self::PowerLossOfAll | Self::HumanRole | Self::HumanDrop | Self::HumanRecreate
        )
    }

    /// Whether a copy of the data cannot be relied on any more until the cluster is whole again: before, nothing strikes that may take
    /// another one.
    #[must_use]
    pub fn takes_a_copy(self) -> bool {
        self.destroys_data() || matches!(self, Self::HumanRole | Self::HumanDrop | Self::HumanRecreate)
    }

    /// Whether it takes a copy of the data away for good. The promise is about one such loss at a time: it is held back
    /// until another copy is known to hold everything.
    #[must_use]
    pub fn destroys_data(self) -> bool {
        matches!(self, Self::DiskEmpty | Self::DiskOlder | Self::HumanClaimDelete)
    }

    /// Whether it is done through the API server: by a human who finds it away, it is not.
    #[must_use]
    pub fn asks_the_api(self) -> bool {
        matches!(
            self,
            Self::GatewayForceDelete
                | Self::PodDelete
                | Self::PodForceDelete
                | Self::Switchover
                | Self::HumanClaimDelete
                | Self::HumanEdit
                | Self::HumanRecreate
                | Self::HumanSleep
        )
    }

    /// Whether all copies of the data are still there afterwards, as they were: processes end or stand still and come back on
    /// their volumes, and messages are lost. It may strike also while a copy was lost: that is the single failure of the promise, and
    /// every other copy is still to count on.
    #[must_use]
    pub fn spares_data(self) -> bool {
        matches!(
            self,
            Self::LeaderCrash
                | Self::StandbyCrash
                | Self::LeaderFreeze
                | Self::StandbyFreeze
                | Self::LeaderStop
                | Self::GatewayCrash
                | Self::GatewayFreeze
                | Self::GatewayForceDelete
                | Self::MainKill
                | Self::MainFreeze
                | Self::ReplicaKill
                | Self::ReplicaFreeze
                | Self::NodeFreeze
                | Self::OneWay
                | Self::ReplicationCut
                | Self::BoltCut
                | Self::Refusal
                | Self::NodeCut
                | Self::ApiCut
                | Self::ApiOutage
                | Self::ApiLostAnswers
                | Self::ApiSlow
                | Self::WatchLag
                | Self::LostEvents
                | Self::StatusLag
                | Self::SlowNetwork
                | Self::LongRead
                | Self::Repeated
        )
    }

    /// Whether it shows only later whether it has struck: a command may be refused, and no commit may come to the phase.
    #[must_use]
    pub fn shows_later(self) -> bool {
        matches!(
            self,
            Self::CommitPhase | Self::LongRead | Self::Snapshot | Self::HumanRole | Self::HumanDrop
        )
    }
}
