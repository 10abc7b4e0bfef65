//! Sends to chosen partitions at a steady rate, and prints every second what was acknowledged and how long it took since
//! it was due: `cargo run -p keylane-client --example steady HOST:PORT TOPIC 0,1,2 RATE SECONDS [BYTES]`.
//!
//! RATE is records a second for each partition; 0 sends as fast as it can and tells counts only.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keylane_client::{Client, Producer, ProducerRecord, Receipt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// How many records of a partition may be sent and not settled.
const OPEN_MAX: usize = 100_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, topic, partitions, rate, seconds, more @ ..] = arguments.as_slice() else {
        return Err("give HOST:PORT TOPIC PARTITIONS RATE SECONDS [BYTES]".into());
    };
    let (rate, seconds): (u64, u64) = (rate.parse()?, seconds.parse()?);
    let bytes: usize = more.first().map_or(Ok(1024), |bytes| bytes.parse())?;
    let producer = Client::connect(address.as_str()).await?.producer();
    let producer = Arc::new(producer.build().await?);
    let start = Instant::now();
    let mut tallies = Vec::new();
    for partition in partitions.split(',') {
        let load = Load {
            producer: Arc::clone(&producer),
            topic: topic.clone(),
            partition: partition.parse()?,
            rate,
            value: vec![b'x'; bytes],
            until: start + Duration::from_secs(seconds),
            tally: SharedTally::default(),
        };
        tallies.push((load.partition, Arc::clone(&load.tally)));
        tokio::spawn(load.run(start));
    }
    for second in 1..=seconds {
        sleep_until(start + Duration::from_secs(second)).await;
        println!("{}", line(second, &tallies));
    }
    Ok(())
}

/// What was settled since it was last told.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: u64,
    failed: u64,
    latencies_us: Vec<u128>,
}

type SharedTally = Arc<Mutex<Tally>>;

/// The records of one partition.
struct Load {
    producer: Arc<Producer>,
    topic: String,
    partition: i32,
    rate: u64,
    value: Vec<u8>,
    until: Instant,
    tally: SharedTally,
}

impl Load {
    async fn run(self, start: Instant) -> Result<(), Failure> {
        let (sent, receipts) = mpsc::channel(OPEN_MAX);
        let is_timed = self.rate > 0;
        tokio::spawn(settle(receipts, Arc::clone(&self.tally), is_timed));
        let mut number: u64 = 0;
        loop {
            let mut due = Instant::now();
            if is_timed {
                due = start + Duration::from_micros(number * 1_000_000 / self.rate);
                sleep_until(due).await;
            } else if number.is_multiple_of(64) {
                // Others of this thread have their turn.
                sleep(Duration::ZERO).await;
            }
            if due >= self.until {
                return Ok(());
            }
            let record = ProducerRecord::to(&self.topic).partition(self.partition);
            let receipt = self.producer.send(record.value(&self.value)).await?;
            sent.send((due, receipt)).await?;
            number += 1;
        }
    }
}

/// Counts what becomes of the records of one partition, in their order.
async fn settle(
    mut receipts: mpsc::Receiver<(Instant, Receipt)>,
    tally: SharedTally,
    is_timed: bool,
) {
    while let Some((due, receipt)) = receipts.recv().await {
        let outcome = receipt.await;
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(_) => tally.acknowledged += 1,
            Err(_) => tally.failed += 1,
        }
        if is_timed {
            tally.latencies_us.push(due.elapsed().as_micros());
        }
    }
}

/// Returns a JSON object: the second, and what each partition has to tell.
fn line(second: u64, tallies: &[(i32, SharedTally)]) -> String {
    let mut line = format!("{{\"second\":{second},\"partitions\":{{");
    for (place, (partition, tally)) in tallies.iter().enumerate() {
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        let Tally {
            acknowledged,
            failed,
            latencies_us,
        } = std::mem::take(&mut *tally);
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(
            line,
            "{comma}\"{partition}\":{{\"acknowledged\":{acknowledged},\"failed\":{failed},\
             \"latencies_us\":{latencies_us:?}}}"
        );
    }
    line + "}}"
}
