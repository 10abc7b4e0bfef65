//! `keylane consume`: reads partitions from a start to where they ended when it began (or on and on), and prints the
//! records or compares them with a file.

mod format;
mod plan;

use keylane_client::{Client, Offset, Reader, StartAt};
use keylane_protocol::record::Record;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

use self::format::PrintedRecord;
use self::plan::Plan;
use crate::arguments::{ConsumeArguments, OutputFormat};
use crate::cluster::{block_on, connect, failed};
use crate::failure::Failure;
use crate::output::{Output, note, print};
use crate::progress::Progress;
use crate::rows::RowSource;
use crate::verify::{Place, Verifier};

/// Offsets without a record (a transaction's marker in Kafka) may end a partition: when nothing comes, the reader's
/// positions tell.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Runs `keylane consume`.
///
/// # Errors
/// When the cluster cannot be reached, records cannot be read, or they differ from the file.
pub(crate) fn run(arguments: &ConsumeArguments) -> Result<(), Failure> {
    let mut sink = match &arguments.verify_against {
        Some(file) => Sink::Verifier(Box::new(verifier(arguments, file.clone())?)),
        None => Sink::Printer(Printer {
            topic: arguments.topic.clone(),
            format: arguments.format,
            left: arguments.count,
            output: Output::new(),
            line: Vec::new(),
        }),
    };
    block_on(async {
        let client = connect(&arguments.connect).await?;
        let plan = plan::make(&client.admin(), arguments).await?;
        read(&client, arguments, plan, &mut sink).await
    })?;
    sink.finish()
}

fn verifier(arguments: &ConsumeArguments, file: PathBuf) -> Result<Verifier, Failure> {
    let source = RowSource::new(
        file,
        arguments.file_format,
        arguments.key.key.clone(),
        arguments.key.key_separator.clone(),
    );
    let source = source.map_err(Failure::faults)?;
    let fault = |error: &(dyn std::error::Error + 'static)| {
        Failure::because(format!("--verify-against {}", source.input()), error)
    };
    let mut rows = source.open().map_err(|error| fault(&error))?;
    let mut verifier = Verifier::new(arguments.repeat);
    while let Some(row) = rows.next_row().map_err(|error| fault(&error))? {
        verifier.expect_row(row.number, row.key, &row.value);
    }
    Ok(verifier)
}

/// Reads what is planned into the sink, until that wants no more.
async fn read(
    client: &Client,
    arguments: &ConsumeArguments,
    mut plan: Plan,
    sink: &mut Sink,
) -> Result<(), Failure> {
    let follow = arguments.follow;
    if sink.is_full() || (plan.is_done() && !follow) {
        return Ok(());
    }
    let mut reader = open(client, &arguments.topic, &plan, follow).await?;
    // Records on the terminal show by themselves how far it has come.
    let shows_progress = !follow && (sink.is_verifier() || !std::io::stdout().is_terminal());
    let mut progress = Progress::new("records read", plan.total());
    let mut count = 0;
    while follow || !plan.is_done() {
        let Ok(batch) = timeout(BETWEEN_LOOKS, reader.next_batch()).await else {
            for ((_, partition), next) in reader.positions() {
                plan.advance(partition.0, next.0);
            }
            continue;
        };
        let batch = batch.map_err(|error| failed("cannot read on", &error))?;
        for record in &batch.records {
            let place = Place {
                partition: batch.partition.0,
                offset: record.offset.0,
            };
            if !follow && !plan.take(place) {
                continue;
            }
            sink.take(record, place)?;
            count += 1;
            if sink.is_full() {
                return Ok(());
            }
        }
        sink.flush()?;
        if shows_progress {
            progress.set(count);
        }
    }
    Ok(())
}

async fn open(
    client: &Client,
    topic: &str,
    plan: &Plan,
    is_endless: bool,
) -> Result<Reader, Failure> {
    let mut builder = client.reader();
    for (partition, start) in plan.starts(is_endless) {
        builder = builder.partition(topic, partition, StartAt::Offset(Offset(start)));
    }
    let reader = builder.build().await;
    reader.map_err(|error| failed("cannot read", &error))
}

/// Where records go.
enum Sink {
    Printer(Printer),
    Verifier(Box<Verifier>),
}

struct Printer {
    topic: String,
    format: OutputFormat,
    left: Option<u64>,
    output: Output,
    line: Vec<u8>,
}

impl Sink {
    fn is_full(&self) -> bool {
        matches!(self, Self::Printer(printer) if printer.left == Some(0))
    }

    fn is_verifier(&self) -> bool {
        matches!(self, Self::Verifier(_))
    }

    fn take(&mut self, record: &Record, place: Place) -> Result<(), Failure> {
        match self {
            Self::Printer(printer) => printer.print(record, place),
            Self::Verifier(verifier) => {
                verifier.on_record(record.key.as_ref(), record.value.as_deref(), place);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Printer(printer) => printer.output.flush(),
            Self::Verifier(_) => Ok(()),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let verdict = match self {
            Self::Printer(mut printer) => return printer.output.flush(),
            Self::Verifier(verifier) => verifier.finish(),
        };
        match &verdict.first {
            Some(first) => {
                note(&verdict);
                Err(Failure::new(first.to_string()))
            }
            None => print(verdict.to_string()),
        }
    }
}

impl Printer {
    fn print(&mut self, record: &Record, place: Place) -> Result<(), Failure> {
        let record = PrintedRecord {
            topic: &self.topic,
            partition: place.partition,
            offset: place.offset,
            timestamp: record.timestamp,
            key: record.key.as_ref(),
            value: record.value.as_ref(),
            headers: record
                .headers
                .iter()
                .map(|header| (header.name.as_ref(), header.value.as_ref()))
                .collect(),
        };
        self.line.clear();
        format::append(&record, self.format, &mut self.line);
        self.output.bytes(&self.line)?;
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        Ok(())
    }
}
