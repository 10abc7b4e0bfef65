//! `keylane router`: starts a router, says in one JSON line on stdout when it has found its cluster, and waits for a
//! reason to stop.

use keylane_router::Router;
use keylane_router::config::RouterConfig;
use serde_json::json;

use crate::admin::{Admin, Node};
use crate::arguments::ServerArguments;
use crate::cluster::block_on;
use crate::failure::Failure;
use crate::open_files;
use crate::output::print;
use crate::settings::{self, Role};
use crate::stop::StopListener;

/// Runs a router until it is told to stop.
///
/// # Errors
/// When the settings are wrong or the router cannot start.
pub(crate) fn run(arguments: &ServerArguments<settings::Router>) -> Result<(), Failure> {
    let mut config = arguments.configure(settings::Router::defaults())?;
    block_on(async {
        let mut stop = StopListener::new(arguments.until_stdin_closes)?;
        open_files::raise_limit(&mut config.clients.connections_max);
        let admin = Admin::start(config.admin_listen, 1)?;
        let router = Router::start(config.clone())
            .map_err(|error| Failure::because("cannot start the router", &error))?;
        admin.show(Node::Router(router.probe()));
        serve(router, (&config, &admin), &mut stop).await
    })
}

/// Waits for the cluster, then for a reason to stop; a second signal does not wait for requests under way.
async fn serve(
    router: Router,
    (config, admin): (&RouterConfig, &Admin),
    stop: &mut StopListener,
) -> Result<(), Failure> {
    let mut serving = router.serving();
    let reason = tokio::select! {
        is_found = serving.begun() => {
            if is_found {
                announce(&router, config, admin)?;
            }
            stop.next().await
        }
        reason = stop.next() => reason,
    };
    tracing::info!(%reason, "stops: answers what it has read");
    let stopping = tokio::task::spawn_blocking(move || router.stop());
    tokio::select! {
        stopped = stopping => match stopped {
            Ok(()) => {
                tracing::info!("stopped");
                Ok(())
            }
            Err(error) => Err(Failure::because("the stop was not clean", &error)),
        },
        again = stop.next_signal() => {
            tracing::warn!(reason = %again, "ends at once");
            // The threads of the router would be waited for by any other way out.
            std::process::exit(1)
        }
    }
}

/// Says on stdout that clients may come.
fn announce(router: &Router, config: &RouterConfig, admin: &Admin) -> Result<(), Failure> {
    let advertise = config.advertise.as_ref().map(ToString::to_string);
    let ready = json!({
        "ready": true,
        "role": "router",
        "kafka": router.address().to_string(),
        "advertise": advertise,
        "admin": admin.address(),
    });
    print(ready.to_string())
}
