//! Prints a topic up to its present end: `cargo run -p keylane-client --example read_partition [HOST:PORT] [TOPIC]`.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use keylane_client::{Client, ReadError, StartAt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("localhost:9092".to_owned());
    let topic = arguments.next().unwrap_or("orders".to_owned());

    let client = Client::connect(address).await?;
    let reader = client.reader().topic(topic, StartAt::Earliest);
    let mut reader = reader.build().await?;
    let ends = reader.end_offsets().await?;

    while reader
        .positions()
        .iter()
        .any(|(place, next)| *next < ends[place])
    {
        match reader.next().await {
            Ok(record) => println!(
                "{}-{} @{} {:?} {:?}",
                record.topic, record.partition, record.offset, record.key, record.value
            ),
            // Retention was faster: go on with what is left.
            Err(ReadError::OffsetOutOfRange {
                topic, partition, ..
            }) => {
                reader.seek(&topic, partition.0, StartAt::Earliest).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
