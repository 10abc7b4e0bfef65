//! What a Fetch asks of the shards, which are played here.

use std::path::Path;

use arc_swap::ArcSwap;
use keylane_protocol::cluster::{ClusterImage, PartitionChanged, TopicCreated};
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::link::handshake::Role;
use keylane_protocol::offset::LeaderEpoch;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::BrokerConfig;
use crate::connection::RequestBudget;
use crate::disk::Disk;
use crate::disk::simulated::SimulatedDisk;
use crate::folder::layout::Layout;
use crate::handler::init_producer_id::ProducerIds;
use crate::membership::{CallLinks, Controllers};
use crate::meters::Meters;
use crate::partition::tests::ID;
use crate::readers::Readers;
use crate::topic_settings::TopicSettings;
use crate::topics::TopicsImage;
use keylane_protocol::transport::{BytePool, ReceiveBudget};

/// The most messages in the mailbox of that shard.
pub(crate) const MAILBOX: usize = 8;

/// Returns a broker with one topic of one partition and one shard, and that shard's mailbox.
pub(crate) fn broker() -> (Arc<BrokerState>, mpsc::Receiver<ShardRequest>) {
    let (shard, mailbox) = mpsc::channel(MAILBOX);
    let topics = Arc::new(ArcSwap::from_pointee(image(0)));
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
    let layout = Layout::new(Path::new("/data"));
    let (readers, _) =
        Readers::start(&disk, &layout, &topics, &metrics::Histogram::noop()).expect("threads");
    let config = Arc::new(BrokerConfig::new("/data"));
    let state = BrokerState {
        address: ([127, 0, 0, 1], 9092).into(),
        watchers: Default::default(),
        dropped_sub_batches: Default::default(),
        folder_cluster_id: None,
        config: Arc::clone(&config),
        topics,
        published: watch::channel(1).1,
        controllers: Controllers::new(
            None,
            config,
            CallLinks::new(BrokerId(1), Role::Broker, Arc::default()),
        ),
        shards: vec![shard],
        readers,
        producer_ids: Arc::new(ProducerIds::default()),
        request_budget: RequestBudget::new(1 << 20, 1 << 20),
        receive_budget: ReceiveBudget::new(1 << 20),
        answers: BytePool::new(1 << 20),
        stopping: CancellationToken::new(),
        left: CancellationToken::new(),
        meters: Arc::new(Meters::new("broker-1")),
    };
    (Arc::new(state), mailbox)
}

/// Returns the view of an image in which this broker leads that partition in an epoch.
pub(crate) fn image(leader_epoch: i32) -> TopicsImage {
    let created = TopicCreated {
        topic_id: ID.topic_id,
        name: "t".into(),
    };
    let led = PartitionChanged {
        topic_id: ID.topic_id,
        partition: ID.partition,
        replicas: vec![BrokerId(1)],
        in_sync: vec![BrokerId(1)],
        leader: BrokerId(1),
        leader_epoch: LeaderEpoch(leader_epoch),
        ..PartitionChanged::default()
    };
    let cluster = ClusterImage::default().with(&[created.into(), led.into()]);
    let cluster = Arc::new(cluster.expect("lawful"));
    let image = TopicsImage::default().next(cluster, 1, &TopicSettings::default());
    image.expect("known settings")
}

/// Answers a read with nothing; returns whether the shard was to wake the reader.
pub(crate) fn find_nothing(request: Option<ShardRequest>) -> bool {
    let Some(ShardRequest::Read(read)) = request else {
        panic!("no read")
    };
    let nothing = |_: &ReadPart| {
        Ok(PartitionRead {
            high_watermark: Offset(0),
            log_start_offset: Offset(0),
            found: ReadFound::Nothing,
            counters: Arc::default(),
        })
    };
    let _ = read.reply.send(read.parts.iter().map(nothing).collect());
    read.watch.is_some()
}

#[tokio::test]
async fn a_fetch_that_was_answered_is_watched_for_no_longer() {
    let (broker, mut mailbox) = broker();
    let request = FetchRequest {
        max_wait_ms: 20,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: "t".into(),
            partitions: vec![FetchPartition::default()],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let (_others, last_other) = watch::channel(0);
    let wake = Arc::new(Notify::new());
    let parking = Parking {
        connection: ConnectionId(7),
        wake: &wake,
        sequence: 1,
        last_other,
    };
    let shard = async {
        assert!(find_nothing(mailbox.recv().await));
        assert!(!find_nothing(mailbox.recv().await), "the time is up");
        matches!(
            mailbox.recv().await,
            Some(ShardRequest::Forget(ConnectionId(7)))
        )
    };
    let waiting = tokio::time::timeout(Duration::from_secs(5), shard);
    let (_, is_forgotten) = tokio::join!(answer(&broker, &request, 12, parking), waiting);
    assert_eq!(is_forgotten.ok(), Some(true));
}
