//! The first message: `cargo run -p keylane-client --example first_message [HOST:PORT]`.

use keylane_client::{Client, ProducerRecord};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let client = Client::connect(address.unwrap_or("localhost:9092".to_owned())).await?;
    let producer = client.producer().build().await?;
    let record = ProducerRecord::to("orders")
        .key("customer-7")
        .value("two apples");
    let place = producer.send(record).await?.await?;
    producer.close().await?;
    tracing::info!(?place, "written");
    Ok(())
}
