//! Creates a topic, describes it, deletes it: `cargo run -p keylane-client --example topics [HOST:PORT]`.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use keylane_client::{Client, ConfigResource, CreateTopicError, NewTopic, OffsetSpec};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let client = Client::connect(address.unwrap_or("localhost:9092".to_owned())).await?;
    let admin = client.admin();

    match admin
        .create_topic(NewTopic::new("example-topic").partitions(3))
        .await
    {
        Ok(created) => println!("created {} with id {:?}", created.name, created.id),
        Err(CreateTopicError::AlreadyExists { topic }) => println!("{topic} is there already"),
        Err(error) => return Err(error.into()),
    }
    for topic in admin.list_topics().await? {
        println!("{} has {} partitions", topic.name, topic.partitions);
    }
    let resource = ConfigResource::Topic("example-topic".to_owned());
    for entry in admin.describe_configs(&resource).await? {
        println!("{} = {:?} ({:?})", entry.name, entry.value, entry.source);
    }
    for (partition, listed) in admin
        .list_offsets("example-topic", OffsetSpec::Latest)
        .await?
    {
        println!("partition {partition} ends at {:?}", listed.offset);
    }
    admin.delete_topic("example-topic").await?;
    Ok(())
}
