//! Sends many records and accounts for each: `cargo run -p keylane-client --example reliable_producer [HOST:PORT]`.
//!
//! Kill the broker and start it again meanwhile: the producer waits, sends again, and nothing is lost or doubled.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::collections::VecDeque;
use std::time::Duration;

use keylane_client::{Client, Compression, ProducerRecord, Receipt};

const RECORDS: u64 = 1_000_000;

/// How many records may be unsettled before the oldest is looked at.
const OPEN_MAX: usize = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let client = Client::connect(address.unwrap_or("localhost:9092".to_owned())).await?;
    let producer = client.producer().compression(Compression::Lz4);
    let producer = producer
        .delivery_timeout(Duration::from_secs(600))
        .build()
        .await?;

    let mut tally = Tally::default();
    let mut open: VecDeque<Receipt> = VecDeque::new();
    for number in 0..RECORDS {
        let key = format!("customer-{}", number % 1000);
        let value = format!("order {number}");
        let record = ProducerRecord::to("orders").key(&key).value(&value);
        open.push_back(producer.send(record).await?);
        if open.len() > OPEN_MAX
            && let Some(oldest) = open.pop_front()
        {
            tally.count(oldest).await;
        }
    }
    for receipt in open {
        tally.count(receipt).await;
    }
    producer.close().await?;
    println!("{tally:?}");
    Ok(())
}

#[derive(Debug, Default)]
struct Tally {
    written: u64,
    /// Safe to send again.
    not_written: u64,
    /// Sending these again could write them twice; a reader can tell.
    unknown: u64,
}

impl Tally {
    async fn count(&mut self, receipt: Receipt) {
        match receipt.await {
            Ok(_) => self.written += 1,
            Err(error) if error.is_outcome_unknown() => self.unknown += 1,
            Err(_) => self.not_written += 1,
        }
    }
}
