//! Flags of the commands that talk to a cluster: `topic`, `produce`, `consume`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use keylane_protocol::cluster::Endpoint;
use std::path::PathBuf;

use super::ConnectArguments;
use crate::rows::Format;

/// `keylane topic`.
#[derive(Debug, Args)]
pub(crate) struct TopicArguments {
    /// What to do with topics.
    #[command(subcommand)]
    pub(crate) command: TopicCommand,
}

/// The commands below `keylane topic`.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic
    Create(TopicCreateArguments),
    /// List all topics
    List {
        /// How to reach the cluster.
        #[command(flatten)]
        connect: ConnectArguments,
        /// Print one JSON document instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show a topic's partitions with their offsets, and its configuration
    Describe(TopicDescribeArguments),
    /// Give a topic more partitions; records stay where they are, but keys may go to other partitions from then on
    AddPartitions {
        /// The topic's name
        name: String,
        /// How many partitions the topic shall have in all
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: i32,
        /// How to reach the cluster.
        #[command(flatten)]
        connect: ConnectArguments,
    },
    /// Change settings of a topic, all that are given or none; the others stay as they are
    #[command(group(ArgGroup::new("changes").required(true).multiple(true).args(["set", "unset"])))]
    Alter {
        /// The topic's name
        name: String,
        /// Give a setting a value, such as segment.bytes=16777216; may be given again
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Let a setting go back to its default; may be given again
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
        /// How to reach the cluster.
        #[command(flatten)]
        connect: ConnectArguments,
    },
    /// Delete a topic and all its records, at once and for good
    Delete {
        /// The topic's exact name
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        connect: ConnectArguments,
    },
}

/// `keylane topic create`.
#[derive(Debug, Args)]
pub(crate) struct TopicCreateArguments {
    /// The topic's name: 1 to 249 letters, digits, dots, underscores and dashes
    pub(crate) name: String,
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) connect: ConnectArguments,
    /// How many partitions; without it, the broker's default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: Option<i32>,
    /// A setting of the topic, such as durability=page-cache or segment.bytes=16777216; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) config: Vec<String>,
}

/// `keylane topic describe`.
#[derive(Debug, Args)]
pub(crate) struct TopicDescribeArguments {
    /// The topic's name
    pub(crate) name: String,
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) connect: ConnectArguments,
    /// Also show hot keys, the fullest partition, and clients that place keys differently, as routers have seen them
    #[arg(long, requires = "admin")]
    pub(crate) keys: bool,
    /// The admin ports of all routers, for --keys; each has seen what went through it
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        env = "KEYLANE_ADMIN",
        value_delimiter = ','
    )]
    pub(crate) admin: Vec<Endpoint>,
    /// Print one JSON document instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// `keylane produce`.
#[derive(Debug, Args)]
pub(crate) struct ProduceArguments {
    /// The topic to send to
    pub(crate) topic: String,
    /// The file whose rows are sent; - is stdin; a name that ends with .gz is unpacked.
    /// Each record's value is its row exactly as it stands in the file, without the line end
    pub(crate) file: PathBuf,
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) connect: ConnectArguments,
    /// Where keys come from.
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    /// How the file is cut into rows; without it, by its name: .csv, .ndjson or .jsonl, anything else is lines
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Send the file this many times, one pass after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) repeat: u64,
    /// What an acknowledgement means: all (durable, never doubled by a retry), 1 (durable on the leader), 0 (sent)
    #[arg(long, value_enum, default_value_t = AcksName::All)]
    pub(crate) acks: AcksName,
    /// How batches are compressed
    #[arg(long, value_enum, default_value_t = CompressionName::None)]
    pub(crate) compression: CompressionName,
    /// The size of a batch, such as 16KiB; without it, the client's default
    #[arg(long, value_name = "SIZE", value_parser = crate::quantity::size)]
    pub(crate) batch_size: Option<u64>,
    /// Send at most this many rows a second
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
    /// Give up on a row that was not acknowledged within this time, such as 30s or 5m; while a broker is away,
    /// rows wait for it
    #[arg(long, value_name = "TIME", value_parser = crate::quantity::duration, default_value = "2m")]
    pub(crate) timeout: std::time::Duration,
}

/// Where the keys of a file's rows come from.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeyArguments {
    /// The column that holds the key: a name or number from 1 (CSV), a field or dotted path (NDJSON).
    /// An empty column is an empty key; without --key, records have no key and no order among one another
    #[arg(long, value_name = "COLUMN")]
    pub(crate) key: Option<String>,
    /// For plain lines: the text that ends the key at the beginning of each line; the value stays the whole line
    #[arg(long, value_name = "TEXT")]
    pub(crate) key_separator: Option<String>,
}

/// `acks` of Kafka's producers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcksName {
    /// Nothing is waited for
    #[value(name = "0")]
    Zero,
    /// The leader has it
    #[value(name = "1")]
    One,
    /// Every in-sync replica has it
    All,
}

/// Kafka's codecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionName {
    /// As it is
    None,
    /// gzip
    Gzip,
    /// Snappy
    Snappy,
    /// LZ4
    Lz4,
    /// Zstandard
    Zstd,
}

/// `keylane consume`.
#[derive(Debug, Args)]
pub(crate) struct ConsumeArguments {
    /// The topic to read
    pub(crate) topic: String,
    /// How to reach the cluster.
    #[command(flatten)]
    pub(crate) connect: ConnectArguments,
    /// Where to begin in each partition: earliest, latest, an offset, or a time such as 2026-01-31T12:00:00Z or
    /// @1767225600000 (milliseconds since 1970)
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = crate::start::parse)]
    pub(crate) from: crate::start::Start,
    /// End after this many records
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Read only this partition; may be given again
    #[arg(long = "partition", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partitions: Vec<i32>,
    /// Go on at the end of the topic and wait for more; without it, reading ends where the topic ended at the start
    #[arg(long)]
    pub(crate) follow: bool,
    /// What is printed for each record
    #[arg(long, value_enum, default_value_t = OutputFormat::Value)]
    pub(crate) format: OutputFormat,
    /// Print nothing; compare with this file's rows, as `produce` sent them: per key the same rows, each once, in
    /// order. The first difference is printed with its row, key, partition and offset
    #[arg(long, value_name = "FILE", conflicts_with_all = ["count", "partitions", "follow", "format"])]
    pub(crate) verify_against: Option<PathBuf>,
    /// How many times the file was sent
    #[arg(long, value_name = "N", default_value_t = 1, requires = "verify_against",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) repeat: u64,
    /// Where the keys of the file's rows come from.
    #[command(flatten)]
    pub(crate) key: KeyArguments,
    /// How the file is cut into rows; without it, by its name: .csv, .ndjson or .jsonl, anything else is lines
    #[arg(long, value_enum, value_name = "FORMAT", requires = "verify_against")]
    pub(crate) file_format: Option<Format>,
}

/// What `consume` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// The value's bytes and a line end
    Value,
    /// Key, tab, value and a line end
    KeyValue,
    /// One JSON object per line: topic, partition, offset, timestamp, key, value, headers; bytes that are no UTF-8
    /// come as {"hex": "…"}
    Json,
}
