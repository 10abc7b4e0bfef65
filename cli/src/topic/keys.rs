//! `keylane topic describe --keys`: what routers have seen of a topic's keys, put together from their admin ports.

use keylane_protocol::cluster::Endpoint;
use keylane_router::skew::heavy::{HeavyHitters, HotKey};
use keylane_router::skew::topic::{Placing, TopicWatch};
use serde_json::{Value, json};

use super::page::get;
use crate::failure::Failure;
use crate::output::{counted, table};

/// How many keys are shown.
const KEYS_SHOWN: usize = 20;

const OTHER_CLIENTS: &str = "(others)";

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The routers that have seen anything.
    routers: Vec<String>,
    partitions: i32,
    watch: TopicWatch,
}

/// Asks the admin ports of routers, all of which must answer: what some have seen might be taken for everything.
pub(super) async fn ask(topic: &str, admins: &[Endpoint]) -> Result<Keys, Failure> {
    let (mut keys, mut faults) = (Keys::default(), Vec::new());
    for admin in admins {
        let page = get(admin, &format!("/keys?topic={topic}")).await;
        let added = page.and_then(|page| {
            let page: Option<Value> = serde_json::from_str(&page).ok();
            let added = page.and_then(|page| keys.add(&page));
            added.ok_or_else(|| "its page of keys is of another version of Keylane".to_owned())
        });
        if let Err(words) = added {
            faults.push(format!("{admin}: {words}"));
        }
    }
    match faults.is_empty() {
        true => Ok(keys),
        false => {
            let faults = faults.join("; ");
            let failure = Failure::new(format!("not every router tells of its keys: {faults}"));
            Err(failure.hint(
                "name the admin ports of routers with --admin HOST:PORT,…: a router's ready line has its own (`admin`)",
            ))
        }
    }
}

impl Keys {
    /// Adds what the routers of a process have seen.
    fn add(&mut self, page: &Value) -> Option<()> {
        for router in page["routers"].as_array()? {
            if router["seen"].is_null() {
                continue;
            }
            let (partitions, watch) = read(&router["seen"])?;
            self.routers.push(router["node"].as_str()?.to_owned());
            self.partitions = self.partitions.max(partitions);
            self.watch.merge(&watch);
        }
        Some(())
    }

    fn share(&self, records: u64) -> f64 {
        ratio(records, self.watch.records)
    }

    fn hottest(&self) -> Vec<HotKey> {
        let mut hottest = self.watch.keys.hottest();
        hottest.truncate(KEYS_SHOWN);
        hottest
    }

    fn clients(&self) -> Vec<(&str, Placing)> {
        let clients = self.watch.clients.iter();
        let clients = clients.map(|(client_id, placing)| (&**client_id, *placing));
        let others = (OTHER_CLIENTS, self.watch.other_clients);
        let clients = clients.chain(std::iter::once(others));
        clients
            .filter(|(_, placing)| placing.compared > 0)
            .collect()
    }

    /// Returns the partition with most bytes, and how many times the mean of all it has.
    fn fullest(&self) -> Option<(usize, f64)> {
        let skew = self.watch.skew(self.partitions)?;
        let bytes = self.watch.partition_bytes.iter().enumerate();
        let fullest =
            bytes.max_by_key(|(partition, bytes)| (**bytes, std::cmp::Reverse(*partition)));
        fullest.map(|(partition, _)| (partition, skew))
    }

    pub(super) fn tables(&self) -> String {
        if self.routers.is_empty() {
            return "no router that was asked has seen records of this topic".to_owned();
        }
        let watch = &self.watch;
        let mut text = format!(
            "keys of about {}, as {} saw them: {}",
            counted(watch.records, "record"),
            counted(self.routers.len() as u64, "router"),
            self.routers.join(", ")
        );
        if let Some((partition, skew)) = self.fullest() {
            let count = self.partitions;
            text += &format!(
                "\nfullest partition: {partition}, with {skew:.2} times the mean of all {count}"
            );
        }
        for (share, what) in [
            (self.share(watch.keyless), "of these records have no key"),
            (
                ratio(watch.compressed_bytes, watch.bytes()),
                "of the bytes are compressed: of their keys nothing is seen",
            ),
        ] {
            if share > 0.0 {
                text += &format!("\n{} {what}", percent(share));
            }
        }
        let hottest = self.hottest();
        let rows: Vec<Vec<String>> = hottest.iter().map(|key| self.row(key)).collect();
        if !rows.is_empty() {
            text += &format!("\n\n{}", table(&["KEY", "SHARE", "PARTITION"], &rows));
        }
        let clients: Vec<Vec<String>> = self.clients().into_iter().map(client_row).collect();
        if !clients.is_empty() {
            let heads = ["CLIENT", "KEYS SEEN", "NOT WHERE MURMUR2 PUTS THEM"];
            text += &format!("\n\n{}", table(&heads, &clients));
        }
        text
    }

    fn row(&self, key: &HotKey) -> Vec<String> {
        let (least, most) = (self.share(key.records_min()), self.share(key.records_max));
        let (least, most) = (percent(least), percent(most));
        let share = match least == most {
            true => most,
            false => format!("{least} to {most}"),
        };
        let partition = key.partition(self.partitions);
        let partition = partition.map_or("-".to_owned(), |partition| partition.to_string());
        vec![shown(key), share, partition]
    }

    pub(super) fn json(&self) -> Value {
        let hottest = self.hottest();
        let hot = hottest.iter().map(|key| {
            json!({
                "key": shown(key),
                "key_bytes": key.length,
                "share_min": self.share(key.records_min()),
                "share_max": self.share(key.records_max),
                "partition": key.partition(self.partitions).map(|partition| partition.0),
            })
        });
        let clients = self.clients().into_iter().map(|(client_id, placing)| {
            json!({
                "client_id": client_id,
                "keys_seen": placing.compared,
                "keys_elsewhere": placing.elsewhere,
            })
        });
        json!({
            "routers": self.routers,
            "records": self.watch.records,
            "records_without_key": self.watch.keyless,
            "bytes": self.watch.bytes(),
            "compressed_bytes": self.watch.compressed_bytes,
            "partition_bytes": self.watch.partition_bytes,
            "partition_skew": self.watch.skew(self.partitions),
            "hot_keys": hot.collect::<Vec<_>>(),
            "clients": clients.collect::<Vec<_>>(),
        })
    }
}

fn client_row((client_id, placing): (&str, Placing)) -> Vec<String> {
    vec![
        client_id.escape_debug().to_string(),
        placing.compared.to_string(),
        placing.elsewhere.to_string(),
    ]
}

/// Reads what one router has seen, and how many partitions the topic has there; `None` if it is not written so.
fn read(seen: &Value) -> Option<(i32, TopicWatch)> {
    let partitions = i32::try_from(seen["partitions"].as_i64()?).ok()?;
    let mut watch = TopicWatch::default();
    let bytes = seen["partition_bytes"].as_array()?.iter();
    watch.partition_bytes = bytes.map(Value::as_u64).collect::<Option<_>>()?;
    watch.compressed_bytes = seen["compressed_bytes"].as_u64()?;
    watch.records = seen["records"].as_u64()?;
    watch.keyless = seen["records_without_key"].as_u64()?;
    let keys = seen["keys"].as_array()?.iter();
    watch.keys = HeavyHitters::of(keys.map(hot_key).collect::<Option<_>>()?);
    for client in seen["clients"].as_array()? {
        let client_id = client["client_id"].as_str()?;
        watch.clients.insert(client_id.into(), placing(client)?);
    }
    watch.other_clients = placing(&seen["other_clients"])?;
    Some((partitions, watch))
}

fn placing(value: &Value) -> Option<Placing> {
    Some(Placing {
        compared: value["keys"].as_u64()?,
        elsewhere: value["keys_elsewhere"].as_u64()?,
    })
}

fn hot_key(key: &Value) -> Option<HotKey> {
    let hex = key["key_start_hex"].as_str()?.as_bytes();
    let (pairs, []) = hex.as_chunks::<2>() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let (records_max, error) = (key["records_max"].as_u64()?, key["records_error"].as_u64()?);
    Some(HotKey {
        start: pairs.iter().map(byte).collect::<Option<_>>()?,
        length: usize::try_from(key["key_bytes"].as_u64()?).ok()?,
        hash: i32::try_from(key["murmur2"].as_i64()?).ok()?,
        records_max,
        error: error.min(records_max),
    })
}

/// Returns a key for people: as text if it is one, else in hexadecimal digits, and how long it is if it is cut off.
fn shown(key: &HotKey) -> String {
    let start = match std::str::from_utf8(&key.start) {
        Ok(text) => format!("{text:?}"),
        Err(_) => {
            let digits = key.start.iter().map(|byte| format!("{byte:02x}"));
            format!("0x{}", digits.collect::<String>())
        }
    };
    match key.length > key.start.len() {
        true => format!("{start}… ({} bytes)", key.length),
        false => start,
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is shown, not counted with")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[(&str, u64)], bytes: &[u64]) -> Value {
        let records: u64 = keys.iter().map(|(_, records)| records).sum();
        let keys = keys.iter().map(|(key, records)| {
            json!({
                "key_start_hex": key, "key_bytes": key.len() / 2, "murmur2": 5, "records_max": records,
                "records_error": 0,
            })
        });
        let seen = json!({
            "partitions": 4, "partition_bytes": bytes, "compressed_bytes": 0, "records": records,
            "records_without_key": 0, "keys": keys.collect::<Vec<_>>(),
            "clients": [{ "client_id": "a\n", "keys": 10, "keys_elsewhere": 7 }],
            "other_clients": { "keys": 0, "keys_elsewhere": 0 },
        });
        json!({ "topic": "t", "routers": [{ "node": "router@x", "seen": seen }] })
    }

    #[test]
    fn what_several_routers_saw_is_shown_as_one() {
        let mut keys = Keys::default();
        keys.add(&page(&[("61", 30), ("ff", 10)], &[10, 30]))
            .unwrap();
        keys.add(&page(&[("61", 60)], &[0, 0, 0, 40])).unwrap();
        let silent = json!({ "routers": [{ "node": "router@z", "seen": null }] });
        keys.add(&silent).unwrap();
        let text = keys.tables();
        assert!(
            text.contains("about 100 records, as 2 routers saw them"),
            "{text}"
        );
        assert!(
            text.contains("fullest partition: 3, with 2.00 times"),
            "{text}"
        );
        assert!(
            text.contains("\"a\"   90.0%          1\n0xff  10.0%          1"),
            "{text}"
        );
        assert!(
            text.contains("a\\n            20                           14"),
            "{text}"
        );
        assert_eq!(keys.json()["hot_keys"][1]["share_max"], 0.1);
    }

    #[test]
    fn pages_that_are_written_otherwise_are_refused() {
        for name in ["partitions", "keys", "clients", "records", "other_clients"] {
            let mut page = page(&[("61", 1)], &[1]);
            page["routers"][0]["seen"][name] = json!("x");
            assert_eq!(Keys::default().add(&page), None, "{name}");
        }
        for hex in ["6", "6x", "ü"] {
            assert_eq!(Keys::default().add(&page(&[(hex, 1)], &[1])), None, "{hex}");
        }
    }

    #[test]
    fn long_keys_are_shown_as_cut_off() {
        let key = HotKey {
            start: (*b"ab\n").into(),
            length: 1000,
            hash: 0,
            records_max: 1,
            error: 0,
        };
        assert_eq!(shown(&key), "\"ab\\n\"… (1000 bytes)");
    }
}
