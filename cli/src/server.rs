//! `keylane broker`: reads the settings, starts the broker, says so in one JSON line on stdout, and waits for a reason to
//! stop.

use keylane_broker::Broker;
use keylane_broker::config::BrokerConfig;
use keylane_broker::topic_settings::Durability;
use serde_json::json;

use crate::admin::{Admin, Node};
use crate::arguments::ServerArguments;
use crate::cluster::block_on;
use crate::failure::Failure;
use crate::open_files;
use crate::output::print;
use crate::quantity::{show_duration, show_size};
use crate::settings::{self, Role};
use crate::stop::StopListener;

/// Runs a broker until it is told to stop.
///
/// # Errors
/// When the settings are wrong, the broker cannot start, or it cannot go on.
pub(crate) fn run(arguments: &ServerArguments<settings::Broker>) -> Result<(), Failure> {
    let mut config = arguments.configure(settings::Broker::defaults())?;
    block_on(async {
        let mut stop = StopListener::new(arguments.until_stdin_closes)?;
        open_files::raise_limit(&mut config.clients.connections_max);
        let admin = Admin::start(config.admin_listen, 1)?;
        let broker = start(&config, &mut stop).await?;
        admin.show(Node::Broker(broker.probe()));
        announce(&config, &broker, &admin)?;
        serve(broker, &mut stop).await
    })
}

/// Starts the broker, which may have to wait for others of its cluster; ends the
/// process if it is told to stop before it serves.
async fn start(config: &BrokerConfig, stop: &mut StopListener) -> Result<Broker, Failure> {
    let config = config.clone();
    let starting = tokio::task::spawn_blocking(move || Broker::start(config));
    tokio::select! {
        started = starting => match started {
            Ok(Ok(broker)) => Ok(broker),
            // What to do about a port or a folder is part of the error.
            Ok(Err(error)) => Err(Failure::because("cannot start the broker", &error)),
            Err(error) => Err(Failure::because("cannot start the broker", &error)),
        },
        reason = stop.next() => {
            tracing::info!(%reason, "ends before it has begun to serve");
            // What it has begun is as after a crash, and its threads would be waited for by any other way out.
            std::process::exit(0)
        }
    }
}

/// Says in the log what an operator must know, then on stdout that clients may come.
fn announce(config: &BrokerConfig, broker: &Broker, admin: &Admin) -> Result<(), Failure> {
    let durability = config.topic_defaults.durability;
    tracing::info!(
        id = config.id.0,
        address = %broker.address(),
        internal = %broker.internal_address(),
        data = %config.data_folder.display(),
        %durability,
        auto_create_topics = config.auto_create_topics,
        "serves Kafka clients"
    );
    log_settings(config);
    let ready = json!({
        "ready": true,
        "role": "broker",
        "id": config.id.0,
        "kafka": broker.address().to_string(),
        "internal": broker.internal_address().to_string(),
        "admin": admin.address(),
        "data": config.data_folder.to_string_lossy(),
        "durability": durability.to_string(),
    });
    print(ready.to_string())
}

/// Says in the log what bounds a server, and what it does not protect from.
pub(crate) fn log_settings(config: &BrokerConfig) {
    let limits = &config.clients;
    tracing::info!(
        connections_max = limits.connections_max,
        request_size_max = show_size(limits.request_bytes_max as u64),
        requests_size_max = show_size(limits.request_bytes_total_max as u64),
        batch_size_max = show_size(u64::from(config.topic_defaults.message_bytes_max)),
        space_reserve = show_size(config.space_reserve_bytes),
        idle_timeout = show_duration(limits.idle_timeout),
        "limits"
    );
    if config.topic_defaults.durability == Durability::PageCache {
        tracing::warn!("durability is page-cache: a power loss may cost acknowledged records");
    }
    if !(config.listen.ip().is_loopback() && config.internal_listen.ip().is_loopback()) {
        tracing::warn!(
            "other machines can connect, and connections are neither encrypted nor authenticated"
        );
    }
}

/// Waits until the broker fails or is told to stop, and then stops it; a second signal does not wait for that.
async fn serve(broker: Broker, stop: &mut StopListener) -> Result<(), Failure> {
    let watch = broker.failure_watch();
    let mut failure = tokio::task::spawn_blocking(move || watch.wait());
    let reason = tokio::select! {
        failed = &mut failure => {
            // Without a failure somebody else stopped it, and nobody else can.
            let failed = failed.ok().flatten();
            let failed = failed.map_or(Failure::new("the broker ended"), |failed| {
                Failure::from_error(&failed)
            });
            return Err(failed.hint("what was acknowledged is on disk: correct the cause and start it again"));
        }
        reason = stop.next() => reason,
    };
    tracing::info!(%reason, "stops: answers what it has read, and writes everything down");
    let stopping = tokio::task::spawn_blocking(move || broker.stop());
    tokio::select! {
        stopped = stopping => match stopped {
            Ok(Ok(())) => {
                tracing::info!("stopped");
                Ok(())
            }
            Ok(Err(error)) => Err(Failure::because("the stop was not clean", &error)),
            Err(error) => Err(Failure::because("the stop was not clean", &error)),
        },
        again = stop.next_signal() => {
            tracing::warn!(reason = %again, "ends at once");
            // The threads of the broker would be waited for by any other way out.
            std::process::exit(1)
        }
    }
}
