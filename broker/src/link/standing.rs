//! What this broker's image says of a partition that a router takes it for the leader of.

use std::sync::Arc;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::offset::LeaderEpoch;

use crate::topics::{Topic, TopicsImage};

/// How a partition stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// This broker leads it in the epoch asked for.
    Led(Arc<Topic>),
    /// The router knows a newer image than this broker.
    Behind(NotLeader),
    /// Another broker leads it, or this one in another epoch.
    NotLed(NotLeader),
}

/// Why records are not taken, and who would take them.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotLeader {
    pub code: ErrorCode,
    /// The leader; -1 if none is known.
    pub leader_id: BrokerId,
    pub leader_epoch: LeaderEpoch,
}

impl NotLeader {
    pub(super) fn words(self) -> &'static str {
        match self.code {
            ErrorCode::UnknownTopicOrPartition => "there is no such topic or partition",
            _ => "this broker does not lead the partition in the epoch asked for",
        }
    }
}

/// Returns how a partition stands for who takes this broker for its leader in an epoch.
pub(super) fn standing(
    image: &TopicsImage,
    own: BrokerId,
    (topic_id, partition): (TopicId, PartitionIndex),
    asked: LeaderEpoch,
) -> Standing {
    let topic = image.with_id(topic_id);
    let known = topic.and_then(|topic| Some((topic, topic.partition(partition)?)));
    let Some((topic, known)) = known else {
        // It may have been created just now.
        return Standing::Behind(NotLeader {
            code: ErrorCode::UnknownTopicOrPartition,
            leader_id: BrokerId::NONE,
            leader_epoch: LeaderEpoch::NONE,
        });
    };
    let not_leader = NotLeader {
        code: ErrorCode::NotLeaderOrFollower,
        leader_id: known.leader.unwrap_or(BrokerId::NONE),
        leader_epoch: known.leader_epoch,
    };
    if asked > known.leader_epoch {
        return Standing::Behind(not_leader);
    }
    let is_asked = asked == known.leader_epoch || asked == LeaderEpoch::NONE;
    match is_asked && known.leader == Some(own) {
        true => Standing::Led(Arc::clone(topic)),
        false => Standing::NotLed(not_leader),
    }
}
