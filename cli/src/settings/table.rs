//! Every setting: its name, its meaning, and how its text becomes part of a broker's configuration.

use super::Setting;
use super::values::{
    admin_address, advertised, durability, duration, number, put, put_host, put_port,
    show_admin_address, show_size, show_time, size, socket_address, truth, voters,
};

/// In the order of `--help`.
pub(super) static SETTINGS: [Setting; 35] = [
    Setting {
        name: "id",
        value_name: "ID",
        help: "The broker's id in its cluster",
        is_switch: false,
        apply: |config, text| put(&mut config.id.0, number(text)),
        show: |config| config.id.to_string(),
    },
    Setting {
        name: "data",
        value_name: "FOLDER",
        help: "The folder that keeps topics and records; created if it does not exist",
        is_switch: false,
        apply: |config, text| put(&mut config.data_folder, Ok(text.into())),
        show: |_| String::new(),
    },
    Setting {
        name: "host",
        value_name: "ADDRESS",
        help: "The IP address to listen on",
        is_switch: false,
        apply: |config, text| put_host(config, text),
        show: |config| config.listen.ip().to_string(),
    },
    Setting {
        name: "port",
        value_name: "PORT",
        help: "The port to listen on; 0 takes a free one, which the ready line on stdout names",
        is_switch: false,
        apply: |config, text| put_port(config, text),
        show: |config| config.listen.port().to_string(),
    },
    Setting {
        name: "internal-listen",
        value_name: "HOST:PORT",
        help: "Where routers and other brokers reach this one; port 0 takes a free one, which the ready line names",
        is_switch: false,
        apply: |config, text| put(&mut config.internal_listen, socket_address(text)),
        show: |config| config.internal_listen.to_string(),
    },
    Setting {
        name: "admin-listen",
        value_name: "HOST:PORT",
        help: "Where metrics and health are shown over HTTP; port 0 takes a free one, which the ready line names; off \
               shows nothing",
        is_switch: false,
        apply: |config, text| put(&mut config.admin_listen, admin_address(text)),
        show: |config| show_admin_address(config.admin_listen),
    },
    Setting {
        name: "voters",
        value_name: "ID@HOST:PORT,...",
        help: "The brokers that vote on the cluster's metadata, at their internal addresses; the same list for every \
               broker of the cluster. Without it the broker is a cluster of its own",
        is_switch: false,
        apply: |config, text| put(&mut config.voters, voters(text)),
        show: |_| String::new(),
    },
    Setting {
        name: "bootstrap",
        value_name: "BOOL",
        help: "Found the cluster once all voters are there and none belongs to one; give it to one of the voters",
        is_switch: true,
        apply: |config, text| put(&mut config.bootstrap, truth(text)),
        show: |config| config.bootstrap.to_string(),
    },
    Setting {
        name: "session",
        value_name: "TIME",
        help: "A broker that is silent for so long takes no part; the same for every broker",
        is_switch: false,
        apply: |config, text| put(&mut config.session, duration(text)),
        show: |config| show_time(config.session),
    },
    Setting {
        name: "insecure",
        value_name: "BOOL",
        help: "Permit an address that other machines reach, although nothing is encrypted or authenticated yet",
        is_switch: true,
        apply: |config, text| put(&mut config.insecure, truth(text)),
        show: |config| config.insecure.to_string(),
    },
    Setting {
        name: "advertise",
        value_name: "HOST:PORT",
        help: "What clients are told to connect to; without it, the address at which they reached the broker",
        is_switch: false,
        apply: |config, text| put(&mut config.advertise, advertised(text)),
        show: |_| String::new(),
    },
    Setting {
        name: "durability",
        value_name: "MODE",
        help: "What acknowledged records of a topic survive unless it says otherwise: fsync (power loss) or page-cache (end of the process)",
        is_switch: false,
        apply: |config, text| put(&mut config.topic_defaults.durability, durability(text)),
        show: |config| config.topic_defaults.durability.to_string(),
    },
    Setting {
        name: "auto-create-topics",
        value_name: "BOOL",
        help: "Create a topic when a client that permits it asks for it",
        is_switch: true,
        apply: |config, text| put(&mut config.auto_create_topics, truth(text)),
        show: |config| config.auto_create_topics.to_string(),
    },
    Setting {
        name: "default-partitions",
        value_name: "N",
        help: "Partitions of a topic created without a number",
        is_switch: false,
        apply: |config, text| put(&mut config.default_partitions, number(text)),
        show: |config| config.default_partitions.to_string(),
    },
    Setting {
        name: "segment-size",
        value_name: "SIZE",
        help: "Close a segment file before it would grow beyond this",
        is_switch: false,
        apply: |config, text| put(&mut config.topic_defaults.segment_bytes, size(text)),
        show: |config| show_size(config.topic_defaults.segment_bytes),
    },
    Setting {
        name: "segment-age",
        value_name: "TIME",
        help: "Close a segment file when its first record is this old",
        is_switch: false,
        apply: |config, text| put(&mut config.topic_defaults.segment_age, duration(text)),
        show: |config| show_time(config.topic_defaults.segment_age),
    },
    Setting {
        name: "batch-size-max",
        value_name: "SIZE",
        help: "The largest record batch, after compression",
        is_switch: false,
        apply: |config, text| put(&mut config.topic_defaults.message_bytes_max, size(text)),
        show: |config| show_size(config.topic_defaults.message_bytes_max),
    },
    Setting {
        name: "space-reserve",
        value_name: "SIZE",
        help: "Free space of the file system that is never used for records; below it producing is refused",
        is_switch: false,
        apply: |config, text| put(&mut config.space_reserve_bytes, size(text)),
        show: |config| show_size(config.space_reserve_bytes),
    },
    Setting {
        name: "runtimes",
        value_name: "N",
        help: "Threads that serve connections and partitions; 0 is half of the cores",
        is_switch: false,
        apply: |config, text| put(&mut config.runtimes, number(text)),
        show: |config| config.runtimes.to_string(),
    },
    Setting {
        name: "connections-max",
        value_name: "N",
        help: "Connections at once; more are closed at once",
        is_switch: false,
        apply: |config, text| put(&mut config.clients.connections_max, number(text)),
        show: |config| config.clients.connections_max.to_string(),
    },
    Setting {
        name: "connections-per-address-max",
        value_name: "N",
        help: "Connections at once from one IP address",
        is_switch: false,
        apply: |config, text| {
            put(
                &mut config.clients.connections_per_address_max,
                number(text),
            )
        },
        show: |config| config.clients.connections_per_address_max.to_string(),
    },
    Setting {
        name: "request-size-max",
        value_name: "SIZE",
        help: "The largest request; the connection of a larger one is closed",
        is_switch: false,
        apply: |config, text| put(&mut config.clients.request_bytes_max, size(text)),
        show: |config| show_size(config.clients.request_bytes_max),
    },
    Setting {
        name: "connection-requests-max",
        value_name: "N",
        help: "Unanswered requests of a connection; at the bound it is not read",
        is_switch: false,
        apply: |config, text| put(&mut config.clients.connection_requests_max, number(text)),
        show: |config| config.clients.connection_requests_max.to_string(),
    },
    Setting {
        name: "connection-requests-size-max",
        value_name: "SIZE",
        help: "Bytes of unanswered requests of a connection; at the bound it is not read",
        is_switch: false,
        apply: |config, text| put(&mut config.clients.connection_request_bytes_max, size(text)),
        show: |config| show_size(config.clients.connection_request_bytes_max),
    },
    Setting {
        name: "requests-size-max",
        value_name: "SIZE",
        help: "Bytes of unanswered requests of all connections; at the bound none is read",
        is_switch: false,
        apply: |config, text| put(&mut config.clients.request_bytes_total_max, size(text)),
        show: |config| show_size(config.clients.request_bytes_total_max),
    },
    Setting {
        name: "idle-timeout",
        value_name: "TIME",
        help: "Close a connection on which nothing was asked or answered for so long",
        is_switch: false,
        apply: |config, text| put(&mut config.clients.idle_timeout, duration(text)),
        show: |config| show_time(config.clients.idle_timeout),
    },
    Setting {
        name: "receive-timeout",
        value_name: "TIME",
        help: "Close a connection whose request did not arrive whole in this time",
        is_switch: false,
        apply: |config, text| put(&mut config.clients.receive_timeout, duration(text)),
        show: |config| show_time(config.clients.receive_timeout),
    },
    Setting {
        name: "send-timeout",
        value_name: "TIME",
        help: "Close a connection that took nothing of its answers in this time",
        is_switch: false,
        apply: |config, text| put(&mut config.clients.send_timeout, duration(text)),
        show: |config| show_time(config.clients.send_timeout),
    },
    Setting {
        name: "fetch-size-max",
        value_name: "SIZE",
        help: "Bytes of records in one answer to Fetch, whatever the client asks for",
        is_switch: false,
        apply: |config, text| put(&mut config.limits.fetch_bytes_max, size(text)),
        show: |config| show_size(config.limits.fetch_bytes_max),
    },
    Setting {
        name: "fetch-wait-max",
        value_name: "TIME",
        help: "The longest a Fetch waits, whatever the client asks for",
        is_switch: false,
        apply: |config, text| put(&mut config.limits.fetch_wait_max, duration(text)),
        show: |config| show_time(config.limits.fetch_wait_max),
    },
    Setting {
        name: "partitions-max",
        value_name: "N",
        help: "Partitions of all topics together; at the bound no topic is created",
        is_switch: false,
        apply: |config, text| put(&mut config.limits.partitions_max, number(text)),
        show: |config| config.limits.partitions_max.to_string(),
    },
    Setting {
        name: "tail-size",
        value_name: "SIZE",
        help: "Recent records each runtime keeps in memory for readers at the tail",
        is_switch: false,
        apply: |config, text| put(&mut config.limits.tail_bytes_per_shard, size(text)),
        show: |config| show_size(config.limits.tail_bytes_per_shard),
    },
    Setting {
        name: "producers-per-partition-max",
        value_name: "N",
        help: "Idempotent producers that a partition remembers",
        is_switch: false,
        apply: |config, text| put(&mut config.limits.producers_per_partition_max, number(text)),
        show: |config| config.limits.producers_per_partition_max.to_string(),
    },
    Setting {
        name: "producer-expiry",
        value_name: "TIME",
        help: "Forget an idempotent producer that was silent for so long",
        is_switch: false,
        apply: |config, text| put(&mut config.limits.producer_expiry, duration(text)),
        show: |config| show_time(config.limits.producer_expiry),
    },
    Setting {
        name: "stop-timeout",
        value_name: "TIME",
        help: "How long a clean stop waits for requests under way",
        is_switch: false,
        apply: |config, text| put(&mut config.clients.stop_timeout, duration(text)),
        show: |config| show_time(config.clients.stop_timeout),
    },
];

/// Fields of `BrokerConfig` whose setting has another name than theirs.
const RENAMED: [(&str, &str); 13] = [
    ("data_folder", "data"),
    ("listen", "host"),
    ("topic_defaults", "batch-size-max"),
    ("message_bytes_max", "batch-size-max"),
    ("segment_bytes", "segment-size"),
    ("auto_create_topics", "auto-create-topics"),
    ("default_partitions", "default-partitions"),
    ("space_reserve_bytes", "space-reserve"),
    ("request_bytes_max", "request-size-max"),
    (
        "connection_request_bytes_max",
        "connection-requests-size-max",
    ),
    ("request_bytes_total_max", "requests-size-max"),
    ("fetch_bytes_max", "fetch-size-max"),
    ("tail_bytes_per_shard", "tail-size"),
];

/// Returns the name of the setting that fills a field of `BrokerConfig`.
pub(super) fn name_of_field(field: &str) -> String {
    let renamed = RENAMED.iter().find(|(renamed, _)| *renamed == field);
    renamed.map_or_else(|| field.replace('_', "-"), |(_, name)| (*name).to_owned())
}

/// Returns a fault's text with settings in place of fields.
pub(super) fn with_setting_names(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let bare = word.trim_matches([',', ':', '(', ')', '.']);
        let is_field = RENAMED.iter().any(|(renamed, _)| *renamed == bare) && bare.contains('_');
        match is_field {
            true => word.replace(bare, &format!("--{}", name_of_field(bare))),
            false => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
