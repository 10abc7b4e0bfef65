//! The topic of a slot: made before it, gone after it.

use keylane_client::NewTopic;

use super::{BenchError, load_error};
use crate::load::{LoadError, LoadPlan, connect};
use crate::options::Durability;

/// Creates the topic of a plan.
pub(super) async fn create(
    plan: &LoadPlan,
    durability: Option<Durability>,
) -> Result<(), BenchError> {
    let client = connect(&plan.address).await;
    let client = client.map_err(|source| unreachable_cluster(plan, source))?;
    let mut topic = NewTopic::new(plan.topic.clone()).partitions(plan.workload.partitions());
    if let Some(durability) = durability {
        topic = topic.config("durability", durability.name());
    }
    client.admin().create_topic(topic).await?;
    Ok(())
}

/// Deletes the topic of a plan.
pub(super) async fn delete(plan: &LoadPlan) -> Result<(), BenchError> {
    let client = connect(&plan.address).await;
    let client = client.map_err(|source| unreachable_cluster(plan, source))?;
    client.admin().delete_topic(&plan.topic).await?;
    Ok(())
}

fn unreachable_cluster(plan: &LoadPlan, source: LoadError) -> BenchError {
    load_error(&format!("the cluster at {}", plan.address), source)
}
