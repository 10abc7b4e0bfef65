//! What every server can be told, and the names of settings where those of fields are others.

use keylane_protocol::cluster::Endpoint;
use keylane_protocol::config::{ClientLimits, InvalidConfig};
use std::net::SocketAddr;

use super::values::{admin_address, advertised, duration, number, size, truth};
use super::{BOOL, Setting};

/// The configuration of a server.
pub(crate) trait ServerConfig {
    /// Returns what every server has.
    fn shared(&mut self) -> Shared<'_>;

    /// Checks everything that can be checked without touching the machine.
    fn validate(&self) -> Result<(), InvalidConfig>;
}

/// What every server has in its configuration.
pub(crate) struct Shared<'a> {
    pub(super) admin_listen: &'a mut Option<SocketAddr>,
    pub(super) insecure: &'a mut bool,
    pub(super) advertise: &'a mut Option<Endpoint>,
    pub(super) runtimes: &'a mut usize,
    pub(super) clients: &'a mut ClientLimits,
}

impl<C: ServerConfig> Setting<C> {
    /// The settings that every server has, in the order of `--help`.
    pub(super) const SHARED: [Self; 15] = [
        Self {
            name: "admin-listen",
            value_name: "HOST:PORT",
            help: "Where metrics and health are shown over HTTP; port 0 takes a free one, which the ready line names; off \
                   shows nothing",
            value: |config| admin_address(config.shared().admin_listen),
        },
        Self {
            name: "insecure",
            value_name: BOOL,
            help: "Permit an address that other machines reach, although nothing is encrypted or authenticated yet",
            value: |config| truth(config.shared().insecure),
        },
        Self {
            name: "advertise",
            value_name: "HOST:PORT",
            help: "What clients are told to connect to, which routers may share; without it, the address that each client has dialled",
            value: |config| advertised(config.shared().advertise),
        },
        Self {
            name: "runtimes",
            value_name: "N",
            help: "Threads that serve; 0 is half of the cores",
            value: |config| number(config.shared().runtimes),
        },
        Self {
            name: "connections-max",
            value_name: "N",
            help: "Connections at once; more are closed at once",
            value: |config| number(&mut config.shared().clients.connections_max),
        },
        Self {
            name: "connections-per-address-max",
            value_name: "N",
            help: "Connections at once from one IP address",
            value: |config| number(&mut config.shared().clients.connections_per_address_max),
        },
        Self {
            name: "request-size-max",
            value_name: "SIZE",
            help: "The largest request; the connection of a larger one is closed",
            value: |config| size(&mut config.shared().clients.request_bytes_max),
        },
        Self {
            name: "connection-requests-max",
            value_name: "N",
            help: "Unanswered requests of a connection; at the bound it is not read",
            value: |config| number(&mut config.shared().clients.connection_requests_max),
        },
        Self {
            name: "connection-requests-size-max",
            value_name: "SIZE",
            help: "Bytes of unanswered requests of a connection; at the bound it is not read",
            value: |config| size(&mut config.shared().clients.connection_request_bytes_max),
        },
        Self {
            name: "requests-size-max",
            value_name: "SIZE",
            help: "Bytes of unanswered requests of all connections; at the bound none is read",
            value: |config| size(&mut config.shared().clients.request_bytes_total_max),
        },
        Self {
            name: "fetches-size-max",
            value_name: "SIZE",
            help: "Bytes of records in answers of all connections; at the bound a Fetch gets little",
            value: |config| size(&mut config.shared().clients.fetch_bytes_total_max),
        },
        Self {
            name: "idle-timeout",
            value_name: "TIME",
            help: "Close a connection on which nothing was asked or answered for so long",
            value: |config| duration(&mut config.shared().clients.idle_timeout),
        },
        Self {
            name: "receive-timeout",
            value_name: "TIME",
            help: "Close a connection whose request did not arrive whole in this time",
            value: |config| duration(&mut config.shared().clients.receive_timeout),
        },
        Self {
            name: "send-timeout",
            value_name: "TIME",
            help: "Close a connection that took nothing of its answers in this time",
            value: |config| duration(&mut config.shared().clients.send_timeout),
        },
        Self {
            name: "stop-timeout",
            value_name: "TIME",
            help: "How long a clean stop waits for requests under way",
            value: |config| duration(&mut config.shared().clients.stop_timeout),
        },
    ];
}

/// Fields whose setting has another name than theirs, where there is that setting.
const RENAMED: [(&str, &str); 14] = [
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
    ("fetch_bytes_total_max", "fetches-size-max"),
    ("tail_bytes_per_shard", "tail-size"),
];

/// Returns which of these settings fills a field.
pub(super) fn name_of_field(field: &str, names: &[&str]) -> String {
    let renamed = RENAMED
        .iter()
        .find(|(renamed, name)| *renamed == field && names.contains(name));
    renamed.map_or_else(|| field.replace('_', "-"), |(_, name)| (*name).to_owned())
}

/// Returns a fault's text with settings in place of fields.
pub(super) fn with_setting_names(text: &str, names: &[&str]) -> String {
    let words = text.split(' ').map(|word| {
        let bare = word.trim_matches([',', ':', '(', ')', '.']);
        let is_field = RENAMED.iter().any(|(renamed, _)| *renamed == bare) && bare.contains('_');
        match is_field {
            true => word.replace(bare, &format!("--{}", name_of_field(bare, names))),
            false => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
