//! `keylane produce`: sends every row of a file and succeeds only if every row was acknowledged.
//!
//! A thread reads rows (`feed`), the pump hands them to the producer, the tally awaits their receipts in order. At the
//! first row that is malformed or not acknowledged nothing more is sent, and what was sent is still waited for.

mod feed;
mod tally;

use keylane_client::{Acks, Producer, ProducerRecord};
use keylane_protocol::compression::Compression;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use self::feed::Portion;
use self::tally::{Sent, Tally};
use crate::arguments::{AcksName, CompressionName, ProduceArguments};
use crate::cluster::{block_on, connect, failed};
use crate::failure::Failure;
use crate::output::{counted, note, print};
use crate::pace::Pace;
use crate::rows::{ROW_BYTES_MAX, RowSource};
use crate::verify::RowPlace;

/// Receipts that may wait; above it the pump waits for acknowledgements.
const RECEIPTS_WAITING: usize = 1 << 16;

/// A row is its record's value and may be its key as well. The broker decides what is too large.
const RECORD_BYTES_MAX: usize = 2 * ROW_BYTES_MAX + (64 << 10);

/// For records on their way; two of the largest.
const MEMORY_BYTES: usize = 2 * RECORD_BYTES_MAX;

const TIMEOUT_MIN: Duration = Duration::from_secs(1);
const BATCH_SIZES: RangeInclusive<u64> = (1 << 10)..=(16 << 20);

/// Runs `keylane produce`.
///
/// # Errors
/// When a row cannot be read or was not acknowledged, or the cluster cannot be reached.
pub(crate) fn run(arguments: &ProduceArguments) -> Result<(), Failure> {
    let source = RowSource::new(
        arguments.file.clone(),
        arguments.format,
        arguments.key.key.clone(),
        arguments.key.key_separator.clone(),
    );
    let mut faults = faults(arguments);
    let source = match source {
        Ok(source) if faults.is_empty() => source,
        source => {
            faults.extend(source.err().into_iter().flatten());
            return Err(Failure::faults(faults));
        }
    };
    block_on(produce(arguments, source))
}

fn faults(arguments: &ProduceArguments) -> Vec<String> {
    let mut faults = Vec::new();
    if arguments.file.as_os_str() == "-" && arguments.repeat > 1 {
        faults.push("--repeat: stdin can be read only once; give a file".to_owned());
    }
    if arguments.timeout < TIMEOUT_MIN {
        faults.push("--timeout: give at least 1s, which a slow disk may need".to_owned());
    }
    if let Some(size) = arguments.batch_size
        && !BATCH_SIZES.contains(&size)
    {
        faults.push(format!("--batch-size {size}: give 1KiB to 16MiB"));
    }
    faults
}

async fn produce(arguments: &ProduceArguments, source: RowSource) -> Result<(), Failure> {
    // A file that does not open or lacks the key's column needs no cluster to fail.
    if !source.input().is_stdin() {
        source
            .open()
            .map_err(|error| Failure::because(source.input(), &error))?;
    }
    let client = connect(&arguments.connect).await?;
    let mut builder = client
        .producer()
        .acks(acks(arguments.acks))
        .compression(compression(arguments.compression))
        .max_record_bytes(RECORD_BYTES_MAX)
        .memory_bytes(MEMORY_BYTES)
        .delivery_timeout(arguments.timeout);
    if let Some(size) = arguments.batch_size {
        builder = builder.batch_size_bytes(usize::try_from(size).unwrap_or(usize::MAX));
    }
    let producer = builder.build().await;
    let producer = producer.map_err(|error| failed("cannot produce", &error))?;
    let (rows, _thread) = feed::start(source.clone(), arguments.repeat)
        .map_err(|error| Failure::because("cannot start a thread", &error))?;
    let (sender, receipts) = mpsc::channel(RECEIPTS_WAITING);
    let pump = Pump {
        topic: &arguments.topic,
        file: source.input().to_string(),
        producer: &producer,
        pace: arguments.rate.map(Pace::new),
        receipts: sender,
        at: RowPlace { pass: 0, row: 0 },
        read: 0,
    };
    let (pumped, tally) = tokio::join!(pump.run(rows), tally::count(receipts));
    // Every receipt has been awaited: nothing is left that closing could lose.
    let _ = producer.close().await;
    finish(&pumped, tally)
}

fn finish(pumped: &Pumped, tally: Tally) -> Result<(), Failure> {
    let summary = format!(
        "{} read, {} acknowledged, {}, {:.1} s",
        counted(pumped.read, "row"),
        tally.acknowledged,
        counted(tally.partitions.len() as u64, "partition"),
        tally.elapsed.as_secs_f64()
    );
    // What was sent comes before what could not be read.
    let failure = tally.failure.or(pumped.failure.clone());
    match failure {
        Some(failure) => {
            note(summary);
            Err(failure)
        }
        None if tally.acknowledged == pumped.read => print(summary),
        None => Err(Failure::new(summary)),
    }
}

/// How far the pump came.
struct Pumped {
    read: u64,
    failure: Option<Failure>,
}

struct Pump<'a> {
    topic: &'a str,
    file: String,
    producer: &'a Producer,
    pace: Option<Pace>,
    receipts: mpsc::Sender<Sent>,
    at: RowPlace,
    read: u64,
}

impl Pump<'_> {
    async fn run(mut self, rows: mpsc::Receiver<Portion>) -> Pumped {
        // Dropping what is under way is safe: a `send` that waits has sent nothing.
        let failure = tokio::select! {
            sent = self.send_all(rows) => sent.err(),
            () = interrupted() => Some(Failure::new("interrupted").hint("rows after these were not sent")),
        };
        Pumped {
            read: self.read,
            failure,
        }
    }

    /// Sends portions until there are none, or the tally wants no more.
    async fn send_all(&mut self, mut rows: mpsc::Receiver<Portion>) -> Result<(), Failure> {
        let started = Instant::now();
        while let Some(portion) = rows.recv().await {
            let portion = portion.map_err(|error| {
                Failure::because(&self.file, &error)
                    .hint("rows after this one were not sent; correct it and send the rest")
            })?;
            for row in portion {
                self.at = RowPlace {
                    pass: self.at.pass + u64::from(row.number == 1),
                    row: row.number,
                };
                if let Some(pace) = self.pace {
                    sleep_until(started + pace.due(self.read)).await;
                }
                self.read += 1;
                let mut record = ProducerRecord::to(self.topic).value(&row.value);
                if let Some(key) = &row.key {
                    record = record.key(key);
                }
                let receipt = self.producer.send(record).await;
                let receipt = receipt
                    .map_err(|error| failed(&format!("{} was not sent", self.at), &error))?;
                let sent = Sent {
                    at: self.at,
                    receipt,
                };
                if self.receipts.send(sent).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Waits for Ctrl-C; from then on another one ends the process at once.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(1);
        }
    });
}

/// Returns what a name of `--acks` means.
pub(crate) fn acks(name: AcksName) -> Acks {
    match name {
        AcksName::Zero => Acks::None,
        AcksName::One => Acks::Leader,
        AcksName::All => Acks::All,
    }
}

fn compression(name: CompressionName) -> Compression {
    match name {
        CompressionName::None => Compression::None,
        CompressionName::Gzip => Compression::Gzip,
        CompressionName::Snappy => Compression::Snappy,
        CompressionName::Lz4 => Compression::Lz4,
        CompressionName::Zstd => Compression::Zstd,
    }
}
