//! A data folder from before there were controllers, started by this version: its topics, records and producers stay.

mod kit;

use std::path::Path;

use keylane_broker::folder::checked::{self, Kind};
use keylane_broker::folder::{StoredTopic, TopicsFile};
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{TopicId, TopicName};
use keylane_protocol::message::init_producer_id::InitProducerIdRequest;
use keylane_protocol::message::metadata::MetadataRequest;
use keylane_protocol::offset::{LeaderEpoch, Offset};

use kit::{TestBroker, batch, values};

/// Makes the folder of a stopped broker what the version without controllers would have left, with one topic.
fn make_older(folder: &Path, topic_id: TopicId, name: &str, partition_count: i32) {
    let mut body = Vec::new();
    body.extend(1_000u64.to_be_bytes());
    body.extend([3; 16]);
    body.extend([9; 16]);
    body.extend(1i32.to_be_bytes());
    body.extend(70i32.to_be_bytes());
    body.push(1);
    body.extend(1u32.to_be_bytes());
    body.extend(topic_id.0);
    body.extend(u32::try_from(name.len()).expect("short").to_be_bytes());
    body.extend(name.as_bytes());
    body.push(0);
    body.extend(partition_count.to_be_bytes());
    let kind = Kind {
        magic: b"KEYLANEM",
        version: 1,
    };
    for copy in ["manifest.0", "manifest.1"] {
        std::fs::write(folder.join(copy), checked::encode(kind, &body)).expect("written");
    }
    let topics = TopicsFile {
        topics: vec![StoredTopic {
            id: topic_id,
            name: TopicName::new(name).expect("lawful"),
            partition_count,
            configs: vec![("segment.ms".to_owned(), "100000".to_owned())],
        }],
    };
    std::fs::write(folder.join("topics"), topics.encode()).expect("written");
    std::fs::remove_dir_all(folder.join("controller")).expect("removed");
}

#[test]
fn an_older_folder_brings_its_topics_and_records_into_the_metadata() {
    let mut broker = TestBroker::start();
    let id = broker.create_topic("t", 2);
    let answer = broker.connect().produce("t", 1, batch(&["before"]));
    assert_eq!(answer.error_code, ErrorCode::None);
    broker.stop();
    make_older(broker.folder.path(), id, "t", 2);
    // The second start finds it done.
    for start in 0..2 {
        broker.start_again();
        assert!(!broker.folder.path().join("topics").exists());
        let mut client = broker.connect();
        let all = MetadataRequest {
            topics: None,
            ..MetadataRequest::default()
        };
        let answer = client.produce("t", 1, batch(&[format!("after {start}")]));
        assert_eq!(answer.base_offset, Offset(1 + start));
        let metadata = client.ask(&all, 12);
        assert_eq!(metadata.topics[0].topic_id, id);
        let epoch = metadata.topics[0].partitions[1].leader_epoch;
        assert!(epoch > LeaderEpoch(70), "every epoch before was lower");
        let new = InitProducerIdRequest {
            transactional_id: None,
            ..InitProducerIdRequest::default()
        };
        let ids = client.ask(&new, 4);
        assert!(ids.producer_id.0 >> 32 > 70, "ids were made of starts");
        broker.stop();
    }
    broker.start_again();
    let records = values(&broker.connect().fetch("t", 1, 0, 0));
    let expected = ["before", "after 0", "after 1"];
    assert!(records.iter().map(|(_, value)| value).eq(expected));
}

#[test]
fn a_folder_whose_controllers_are_gone_is_refused_in_words() {
    let mut broker = TestBroker::start();
    broker.create_topic("t", 1);
    broker.stop();
    let controller = broker.folder.path().join("controller");
    std::fs::remove_dir_all(controller).expect("removed");
    let refused = keylane_broker::Broker::start(kit::config(broker.folder.path()));
    let words = refused.map(drop).expect_err("refused").to_string();
    assert!(words.contains("controller"), "{words}");
}
