//! Registration ends the past: one entry ends the process before, grants a new epoch, and raises the leader epoch of
//! every partition that the broker led. No process ever leads in an epoch granted before it started.
//!
//! ```text
//! the folder knows   the start acknowledged last ─ those told since ─ this one     ┐ if the one that is known is among
//! the cluster knows  the start that registered last                                ┘ these, the folder is no old copy
//! ```
//! A core. Whether the records of a broker can be relied on is decided by evidence: the folder's id, and that it knows of
//! the start before.

use std::collections::BTreeSet;

use keylane_protocol::cluster::call::{AdoptedTopic, RegisterBrokerRequest, SeenRegistration};
use keylane_protocol::cluster::{
    BrokerImage, BrokerRegistered, ClusterImage, MetadataRecord, PartitionChanged, TopicConfigured,
    TopicCreated,
};
use keylane_protocol::identifiers::{BrokerId, ClusterId, PartitionIndex, StartId, TopicId};
use keylane_protocol::offset::{BrokerEpoch, LeaderEpoch};

use super::election;

/// Why a broker is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error(
        "the data folder belongs to the cluster {theirs}, and this is the cluster {ours}: \
         point the broker to its own cluster, or give it an empty data folder"
    )]
    OtherCluster { ours: ClusterId, theirs: ClusterId },
    #[error("a broker's id is from 1 to 999999, not {id}")]
    InvalidId { id: BrokerId },
    #[error("the broker's addresses need a host and a port each")]
    InvalidAddress,
    #[error(
        "a broker {id} with another data folder is alive at {address}: \
         stop that one first, or give this one another id"
    )]
    Alive { id: BrokerId, address: String },
    #[error(
        "a broker {id} with another copy of this data folder is alive at {address}: stop that one first, or wait until \
         it is excluded if it has just ended; two processes cannot be one broker"
    )]
    CopyAlive { id: BrokerId, address: String },
    #[error(
        "the controllers know nothing of a registration of this data folder, which they acknowledged: \
         they were restored from an old copy"
    )]
    Forgotten,
    #[error(
        "this voter's data folder is an old copy of itself, which has gone back in time: it does not know of the start \
         that the cluster has registered last (number {known} of the folder). Start the voter with the folder itself: \
         one that has forgotten what it promised must not vote. The other voters go on without it; none can be \
         replaced by command yet"
    )]
    WentBack { known: i32 },
    #[error(
        "the topic {name} of the data folder cannot become one of the cluster: its name or id is taken; \
         delete the other one, or start this broker as a cluster of its own"
    )]
    Taken { name: String },
    #[error("the topic {name:?} of the data folder is not valid")]
    InvalidTopic { name: String },
}

/// Returns the records that register a broker, which votes or does not.
///
/// # Errors
/// When it must not be registered; nothing changes.
pub(super) fn register(
    image: &ClusterImage,
    request: &RegisterBrokerRequest,
    votes: bool,
) -> Result<(Vec<MetadataRecord>, BrokerEpoch), RegisterError> {
    let id = request.broker_id;
    if !id.is_broker() {
        return Err(RegisterError::InvalidId { id });
    }
    check_cluster(image, request.cluster_id)?;
    let is_whole = check_succession(image.broker(id).map(|broker| &**broker), request, votes)?;
    let suspects: BTreeSet<(TopicId, PartitionIndex)> = request
        .suspects
        .iter()
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|&index| (topic.topic_id, index))
        })
        .collect();
    let epoch = epoch(image, request);
    let mut records = vec![registered(request, epoch).into()];
    let mut next = image.clone();
    if next.apply(&records[0]).is_err() {
        return Err(RegisterError::InvalidAddress);
    }
    records.extend(election::registered(&next, id, |topic, index| {
        !is_whole || suspects.contains(&(topic, index))
    }));
    adopt(image, request, &mut records)?;
    Ok((records, epoch))
}

/// Checks, by what another voter has seen, that the folder of a voter is no old copy of itself. What was seen may be old
/// as well: it says nothing about a folder that knows of a later registration.
///
/// # Errors
/// When the folder has gone back in time.
pub(crate) fn check_seen(
    seen: &SeenRegistration,
    request: &RegisterBrokerRequest,
) -> Result<(), RegisterError> {
    let is_later = seen.broker_epoch > request.epoch_acknowledged;
    if seen.folder_id != request.folder_id
        || seen.start == StartId::ZERO
        || !is_later
        || request.starts_known.contains(&seen.start)
    {
        return Ok(());
    }
    let known = seen.incarnation;
    Err(RegisterError::WentBack { known })
}

fn check_cluster(image: &ClusterImage, theirs: ClusterId) -> Result<(), RegisterError> {
    let ours = image.cluster_id().unwrap_or_default();
    if theirs != ClusterId::default() && theirs != ours {
        return Err(RegisterError::OtherCluster { ours, theirs });
    }
    Ok(())
}

/// Returns whether the folder is the one that is known, and has not gone back in time. A broker that does not vote may
/// have: its replicas are not relied on then. A voter may not, for it has lost votes and entries as well.
fn check_succession(
    before: Option<&BrokerImage>,
    request: &RegisterBrokerRequest,
    votes: bool,
) -> Result<bool, RegisterError> {
    let Some(before) = before else {
        // A folder that was acknowledged once, by controllers that have forgotten it.
        return match request.incarnation_acknowledged {
            0 => Ok(true),
            _ => Err(RegisterError::Forgotten),
        };
    };
    let (id, address) = (before.id, before.endpoint.to_string());
    if before.folder_id != request.folder_id {
        return match before.is_fenced {
            true => Ok(false),
            false => Err(RegisterError::Alive { id, address }),
        };
    }
    if has_been_forgotten(before, request) {
        return Err(RegisterError::Forgotten);
    }
    if succeeds(before, request) {
        return Ok(true);
    }
    if votes {
        let known = before.incarnation;
        return Err(RegisterError::WentBack { known });
    }
    match before.is_fenced {
        true => Ok(false),
        false => Err(RegisterError::CopyAlive { id, address }),
    }
}

/// Returns whether the controllers have granted a registration after the one that they know.
fn has_been_forgotten(before: &BrokerImage, request: &RegisterBrokerRequest) -> bool {
    match request.epoch_acknowledged {
        // An earlier version has noted the last acknowledgement.
        BrokerEpoch::NONE => request.incarnation_acknowledged > before.incarnation,
        acknowledged => acknowledged > before.epoch,
    }
}

/// Returns whether the folder comes after the process that is known. Its lock lets one process have it, so a folder that
/// knows that start proves that it is over; an old copy does not know it, however often it is started.
fn succeeds(before: &BrokerImage, request: &RegisterBrokerRequest) -> bool {
    match before.start {
        // An earlier version has registered it, and counted. A count says less: that of an old copy rises as well.
        StartId::ZERO => request.incarnation > before.incarnation,
        start => request.starts_known.contains(&start),
    }
}

/// Returns the epoch of the registration, of which the producer ids that the broker gives are made: a folder from before
/// there were controllers has given ids made of its incarnations.
fn epoch(image: &ClusterImage, request: &RegisterBrokerRequest) -> BrokerEpoch {
    let next = image.next_broker_epoch();
    match image.broker(request.broker_id) {
        Some(_) => next,
        None => next.max(BrokerEpoch(request.incarnation.into())),
    }
}

fn registered(request: &RegisterBrokerRequest, broker_epoch: BrokerEpoch) -> BrokerRegistered {
    BrokerRegistered {
        broker_id: request.broker_id,
        broker_epoch,
        folder_id: request.folder_id,
        incarnation: request.incarnation,
        boot_id: request.boot_id.clone(),
        host: request.host.clone(),
        port: request.port,
        internal_host: request.internal_host.clone(),
        internal_port: request.internal_port,
        rack: request.rack.clone(),
        start: request.start,
    }
}

/// Takes over the topics of a folder from before there were controllers.
fn adopt(
    image: &ClusterImage,
    request: &RegisterBrokerRequest,
    records: &mut Vec<MetadataRecord>,
) -> Result<(), RegisterError> {
    // A folder that registered before has been taken over; what was deleted since stays deleted.
    let before = image.broker(request.broker_id);
    if before.is_some_and(|before| before.folder_id == request.folder_id) {
        return Ok(());
    }
    let mut next = image.clone();
    for topic in &request.adopted {
        let is_taken = image.topic(topic.topic_id).is_some();
        if is_taken || image.topic_named(&topic.name).is_some() {
            let name = topic.name.to_string();
            return Err(RegisterError::Taken { name });
        }
        let taken_over = adopted(topic, request.broker_id, image.leader_epoch_floor());
        for record in &taken_over {
            if next.apply(record).is_err() {
                let name = topic.name.to_string();
                return Err(RegisterError::InvalidTopic { name });
            }
        }
        records.extend(taken_over);
    }
    Ok(())
}

fn adopted(topic: &AdoptedTopic, broker: BrokerId, floor: LeaderEpoch) -> Vec<MetadataRecord> {
    let topic_id = topic.topic_id;
    let name = topic.name.clone();
    let mut records = vec![TopicCreated { topic_id, name }.into()];
    records.extend((0..topic.partition_count).map(|index| {
        let partition = PartitionChanged {
            topic_id,
            partition: PartitionIndex(index),
            replicas: vec![broker],
            in_sync: vec![broker],
            leader: BrokerId::NONE,
            leader_epoch: topic.leader_epoch.max(floor),
            ..PartitionChanged::default()
        };
        MetadataRecord::from(partition)
    }));
    records.extend(topic.configs.iter().map(|config| {
        let (key, value) = (config.key.clone(), Some(config.value.clone()));
        TopicConfigured {
            topic_id,
            key,
            value,
        }
        .into()
    }));
    records
}
