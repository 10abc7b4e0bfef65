//! `keylane topic`: create, list, describe, add partitions, change settings, delete.

mod keys;
mod page;

use keylane_client::{
    Admin, ConfigChange, ConfigEntry, ConfigResource, ConfigSource, ListedOffset, NewTopic,
    OffsetSpec, PartitionDescription, TopicDescription,
};
use keylane_protocol::identifiers::{BrokerId, PartitionIndex};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;

use self::keys::Keys;
use crate::arguments::{
    TopicArguments, TopicCommand, TopicCreateArguments, TopicDescribeArguments,
};
use crate::cluster::{block_on, connect, failed};
use crate::failure::Failure;
use crate::output::{counted, print, table};

/// Runs `keylane topic`.
///
/// # Errors
/// When the cluster cannot be reached or refuses.
pub(crate) fn run(arguments: TopicArguments) -> Result<(), Failure> {
    block_on(async move {
        match arguments.command {
            TopicCommand::Create(arguments) => create(arguments).await,
            TopicCommand::List { connect: to, json } => {
                list(&connect(&to).await?.admin(), json).await
            }
            TopicCommand::Describe(arguments) => describe(&arguments).await,
            TopicCommand::AddPartitions {
                name,
                partitions,
                connect: to,
            } => {
                let admin = connect(&to).await?.admin();
                let added = admin.create_partitions(&name, partitions).await;
                added.map_err(|error| failed("", &error))?;
                let count = u64::try_from(partitions).unwrap_or(0);
                print(format!("topic {name} has {}", counted(count, "partition")))
            }
            TopicCommand::Alter {
                name,
                set,
                unset,
                connect: to,
            } => {
                let set = settings("--set", &set)?;
                let set = set.into_iter();
                let set = set.map(|(key, value)| ConfigChange::set(key, value));
                let unset = unset.iter().map(|key| ConfigChange::unset(key.trim()));
                let admin = connect(&to).await?.admin();
                let altered = admin.alter_topic_configs(&name, set.chain(unset)).await;
                altered.map_err(|error| failed("", &error))?;
                print(format!("changed topic {name}"))
            }
            TopicCommand::Delete { name, connect: to } => {
                let admin = connect(&to).await?.admin();
                let deleted = admin.delete_topic(&name).await;
                deleted.map_err(|error| failed("", &error))?;
                print(format!("deleted topic {name}"))
            }
        }
    })
}

async fn create(arguments: TopicCreateArguments) -> Result<(), Failure> {
    let mut topic = NewTopic::new(&arguments.name);
    if let Some(partitions) = arguments.partitions {
        topic = topic.partitions(partitions);
    }
    for (key, value) in settings("--config", &arguments.config)? {
        topic = topic.config(key, value);
    }
    let admin = connect(&arguments.connect).await?.admin();
    let created = admin.create_topic(topic).await;
    let created = created.map_err(|error| failed("", &error))?;
    print(match created.partitions {
        Some(count) => {
            let partitions = counted(count as u64, "partition");
            format!("created topic {} with {partitions}", created.name)
        }
        None => format!("created topic {}", created.name),
    })
}

/// Splits settings that were given with a flag.
fn settings<'a>(flag: &str, given: &'a [String]) -> Result<Vec<(&'a str, &'a str)>, Failure> {
    let (mut settings, mut faults) = (Vec::new(), Vec::new());
    for setting in given {
        match setting.split_once('=') {
            Some((key, value)) => settings.push((key.trim(), value.trim())),
            None => faults.push(format!("{flag} {setting}: give KEY=VALUE")),
        }
    }
    if faults.is_empty() {
        Ok(settings)
    } else {
        Err(Failure::faults(faults))
    }
}

async fn list(admin: &Admin, is_json: bool) -> Result<(), Failure> {
    let topics = admin.list_topics().await;
    let topics = topics.map_err(|error| failed("cannot list topics", &error))?;
    if is_json {
        let topics: Vec<Value> = topics
            .iter()
            .map(|topic| {
                json!({
                    "name": topic.name,
                    "id": topic.id.map(|id| id.to_string()),
                    "partitions": topic.partitions,
                    "internal": topic.is_internal,
                })
            })
            .collect();
        return print(json!({ "topics": topics }).to_string());
    }
    let rows: Vec<Vec<String>> = topics
        .into_iter()
        .map(|topic| vec![topic.name, topic.partitions.to_string(), or_dash(topic.id)])
        .collect();
    print(table(&["TOPIC", "PARTITIONS", "ID"], &rows))
}

/// What `describe` shows.
struct Description {
    topic: TopicDescription,
    earliest: Offsets,
    latest: Offsets,
    configs: Vec<ConfigEntry>,
    /// What routers have seen of its keys, if they were asked.
    keys: Option<Keys>,
}

type Offsets = BTreeMap<PartitionIndex, ListedOffset>;

async fn describe(arguments: &TopicDescribeArguments) -> Result<(), Failure> {
    let name = arguments.name.as_str();
    let admin = connect(&arguments.connect).await?.admin();
    let topic = admin.describe_topic(name).await;
    let topic = topic.map_err(|error| failed("", &error))?;
    let configs = configs(&admin, name).await?;
    let description = Description {
        earliest: offsets(&admin, &topic, OffsetSpec::Earliest).await?,
        latest: offsets(&admin, &topic, OffsetSpec::Latest).await?,
        topic,
        configs,
        keys: match arguments.keys {
            true => Some(keys::ask(name, &arguments.admin).await?),
            false => None,
        },
    };
    print(if arguments.json {
        description.json().to_string()
    } else {
        description.tables()
    })
}

async fn configs(admin: &Admin, name: &str) -> Result<Vec<ConfigEntry>, Failure> {
    let topic = ConfigResource::Topic(name.to_owned());
    let configs = admin.describe_configs(&topic).await;
    configs.map_err(|error| failed("", &error))
}

/// Asks for the partitions that have a leader: the others have a dash.
async fn offsets(
    admin: &Admin,
    topic: &TopicDescription,
    spec: OffsetSpec,
) -> Result<Offsets, Failure> {
    let led = topic.partitions.iter();
    let led = led.filter(|partition| partition.leader.is_some());
    let led: Vec<_> = led.map(|partition| partition.partition).collect();
    let offsets = admin.list_offsets_of(&topic.name, &led, spec).await;
    offsets.map_err(|error| failed("", &error))
}

impl Description {
    fn tables(&self) -> String {
        let partitions: Vec<Vec<String>> = self
            .topic
            .partitions
            .iter()
            .map(|partition| {
                vec![
                    partition.partition.to_string(),
                    or_dash(partition.leader),
                    or_dash(partition.leader_epoch),
                    or_dash(offset(&self.earliest, partition)),
                    or_dash(offset(&self.latest, partition)),
                    brokers(&partition.replicas),
                    brokers(&partition.in_sync_replicas),
                ]
            })
            .collect();
        let configs: Vec<Vec<String>> = self
            .configs
            .iter()
            .map(|config| {
                let value = config.value.clone().unwrap_or("(secret)".to_owned());
                vec![config.name.clone(), value, origin(config.source)]
            })
            .collect();
        let heads = [
            "PARTITION",
            "LEADER",
            "EPOCH",
            "START",
            "END",
            "REPLICAS",
            "IN SYNC",
        ];
        let keys = self.keys.as_ref();
        let keys = keys.map(|keys| format!("\n\n{}", keys.tables()));
        format!(
            "topic {}, id {}\n\n{}\n\n{}{}",
            self.topic.name,
            or_dash(self.topic.id),
            table(&heads, &partitions),
            table(&["CONFIG", "VALUE", "FROM"], &configs),
            keys.unwrap_or_default()
        )
    }

    fn json(&self) -> Value {
        let partitions = self.topic.partitions.iter().map(|partition| {
            let ids = |brokers: &[BrokerId]| -> Vec<i32> {
                brokers.iter().map(|broker| broker.0).collect()
            };
            json!({
                "partition": partition.partition.0,
                "leader": partition.leader.map(|leader| leader.0),
                "leader_epoch": partition.leader_epoch.map(|epoch| epoch.0),
                "start_offset": offset(&self.earliest, partition),
                "end_offset": offset(&self.latest, partition),
                "replicas": ids(&partition.replicas),
                "in_sync_replicas": ids(&partition.in_sync_replicas),
            })
        });
        let configs = self.configs.iter().map(|config| {
            json!({
                "name": config.name,
                "value": config.value,
                "from": origin(config.source),
            })
        });
        let mut description = json!({
            "name": self.topic.name,
            "id": self.topic.id.map(|id| id.to_string()),
            "partitions": partitions.collect::<Vec<_>>(),
            "configs": configs.collect::<Vec<_>>(),
        });
        if let Some(keys) = &self.keys {
            description["keys"] = keys.json();
        }
        description
    }
}

fn offset(offsets: &Offsets, partition: &PartitionDescription) -> Option<i64> {
    let listed = offsets.get(&partition.partition)?;
    Some(listed.offset?.0)
}

fn origin(source: ConfigSource) -> String {
    match source {
        ConfigSource::Topic => "topic".to_owned(),
        ConfigSource::DynamicBroker | ConfigSource::StaticBroker => "broker".to_owned(),
        ConfigSource::Default => "default".to_owned(),
        ConfigSource::Other(number) => format!("source {number}"),
    }
}

fn brokers(ids: &[BrokerId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(",")
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}
