//! What routers have seen of keys: the page of one topic, and the series of all.
//!
//! Keys stand on the page only, never in labels: a label is kept by whoever scrapes, and there is no end of keys.

use std::fmt::Write;

use keylane_protocol::identifiers::TopicName;
use keylane_router::skew::heavy::HotKey;
use keylane_router::skew::topic::{Placing, TopicWatch};
use keylane_router::{Probe, TopicSkew};
use serde_json::{Value, json};

use super::text::{Exposition, Kind, Labels};

/// Returns one number of a topic, if there is one.
type Number = fn(&TopicSkew) -> Option<f64>;

const FAMILIES: &[(&str, Kind, &str, Number)] = &[
    (
        "keylane_topic_partition_skew",
        Kind::Gauge,
        "Bytes produced to the topic's fullest partition, by the mean of all its partitions",
        |topic| topic.watch.skew(topic.partition_count),
    ),
    (
        "keylane_topic_hot_key_share",
        Kind::Gauge,
        "The share of the topic's records that its most frequent key has at least, from 0 to 1",
        |topic| hot_key_share(&topic.watch),
    ),
    (
        "keylane_topic_keys_sampled_total",
        Kind::Counter,
        "Records of the topic whose keys were looked at",
        |topic| Some(number(topic.watch.sampled_total)),
    ),
    (
        "keylane_topic_keys_elsewhere_total",
        Kind::Counter,
        "Keys among them that the client has placed elsewhere than murmur2 would",
        |topic| Some(number(topic.watch.elsewhere_total)),
    ),
];

fn hot_key_share(watch: &TopicWatch) -> Option<f64> {
    let hottest = watch.keys.hottest();
    let most = hottest.iter().map(HotKey::records_min).max().unwrap_or(0);
    (watch.records > 0).then(|| number(most) / number(watch.records))
}

#[expect(clippy::cast_precision_loss, reason = "it is shown, not counted with")]
fn number(count: u64) -> f64 {
    count as f64
}

/// Writes the series of all topics of which routers have seen records, each router with its name.
pub(super) fn write(routers: &[(String, Vec<TopicSkew>)], exposition: &mut Exposition) {
    for (name, kind, help, number) in FAMILIES {
        exposition.family(name, *kind, help);
        for (node, topics) in routers {
            for topic in topics {
                if let Some(number) = number(topic) {
                    let labels = Labels::default().with("node", node);
                    exposition.sample(name, &labels.with("topic", &topic.name), number);
                }
            }
        }
    }
}

/// Returns the page of a topic; each router says what it has seen, if it has seen anything.
pub(super) fn page(topic: &TopicName, routers: &[Probe]) -> String {
    let seen = routers.iter().map(|router| {
        let skew = router.skew(topic.as_str());
        json!({ "node": router.node(), "seen": skew.as_ref().map(seen) })
    });
    json!({ "topic": topic.as_str(), "routers": seen.collect::<Vec<_>>() }).to_string()
}

fn seen(skew: &TopicSkew) -> Value {
    let watch = &skew.watch;
    let keys = watch.keys.hottest();
    let keys = keys.iter().map(|key| hot_key(key, skew.partition_count));
    let clients = watch.clients.iter().map(|(client_id, placing)| {
        let mut placed = placed(*placing);
        placed["client_id"] = Value::from(&**client_id);
        placed
    });
    json!({
        "topic_id": skew.id.to_string(),
        "partitions": skew.partition_count,
        "partition_bytes": watch.partition_bytes,
        "compressed_bytes": watch.compressed_bytes,
        "records": watch.records,
        "records_without_key": watch.keyless,
        "keys": keys.collect::<Vec<_>>(),
        "clients": clients.collect::<Vec<_>>(),
        "other_clients": placed(watch.other_clients),
    })
}

fn placed(placing: Placing) -> Value {
    json!({ "keys": placing.compared, "keys_elsewhere": placing.elsewhere })
}

fn hot_key(key: &HotKey, partition_count: i32) -> Value {
    let mut hex = String::new();
    for byte in &key.start {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    json!({
        "key_start_hex": hex,
        "key_bytes": key.length,
        "murmur2": key.hash,
        "partition": key.partition(partition_count).map(|partition| partition.0),
        "records_max": key.records_max,
        "records_error": key.error,
    })
}
