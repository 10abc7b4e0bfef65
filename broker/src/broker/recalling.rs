//! Before a voter votes it asks the others which registration of it they have seen last: over an old copy of its folder it
//! would vote twice, or for a log that lacks what it once had, before any leader could refuse it.
//!
//! Nobody has to answer, or all voters that start at once would wait for one another: whoever leads looks again.

use std::time::Duration;

use keylane_protocol::cluster::call::RegisterBrokerRequest;
use tokio::task::JoinSet;
use tracing::debug;

use super::error::StartError;
use crate::controller::registration::check_seen;
use crate::membership::Controllers;

/// How long the other voters are waited for. Those that start as well do not answer yet.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// Checks that no other voter that answers has seen a registration of this one which its folder does not know.
///
/// # Errors
/// When one has.
pub(super) async fn check(
    controllers: &Controllers,
    registration: &RegisterBrokerRequest,
) -> Result<(), StartError> {
    // A folder in its first start has promised nothing.
    if registration.starts_known.len() < 2 && registration.incarnation_acknowledged == 0 {
        return Ok(());
    }
    let mut asked = JoinSet::new();
    for voter in controllers.others() {
        let controllers = controllers.clone();
        asked.spawn(async move { controllers.describe(voter, ANSWER_TIMEOUT).await });
    }
    while let Some(answered) = asked.join_next().await {
        match answered {
            Ok(Ok(answer)) => check_seen(&answer.registered, registration).map_err(|refused| {
                let reason = refused.to_string();
                StartError::Refused { reason }
            })?,
            Ok(Err(fault)) => debug!(%fault, "a voter does not say what it has seen"),
            Err(error) => debug!(%error, "a voter was not asked what it has seen"),
        }
    }
    Ok(())
}
