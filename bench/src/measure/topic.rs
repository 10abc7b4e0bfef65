//! The topic of a slot: made before it, gone after it.

use keylane_client::NewTopic;

use super::{BenchError, load_error};
use crate::load::{LoadError, LoadPlan, connect};
use crate::options::Durability;

/// Creates the topic of a plan. A cluster that is not ours may not know the setting `durability`, as Apache Kafka does
/// not; with `may_omit` the topic is then what the cluster makes of it.
pub(super) async fn create(
    plan: &LoadPlan,
    durability: Durability,
    may_omit: bool,
) -> Result<(), BenchError> {
    let client = connect(plan.address(0)).await;
    let client = client.map_err(|source| unreachable_cluster(plan, source))?;
    let admin = client.admin();
    let topic = NewTopic::new(plan.topic.clone()).partitions(plan.workload.partitions());
    let durable = topic.clone().config("durability", durability.name());
    let created = admin.create_topic(durable).await;
    if created.is_err() && may_omit {
        admin.create_topic(topic).await?;
        return Ok(());
    }
    created?;
    Ok(())
}

/// Deletes the topic of a plan.
pub(super) async fn delete(plan: &LoadPlan) -> Result<(), BenchError> {
    let client = connect(plan.address(0)).await;
    let client = client.map_err(|source| unreachable_cluster(plan, source))?;
    client.admin().delete_topic(&plan.topic).await?;
    Ok(())
}

fn unreachable_cluster(plan: &LoadPlan, source: LoadError) -> BenchError {
    load_error(&format!("the cluster at {}", plan.address(0)), source)
}
