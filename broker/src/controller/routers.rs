//! Routers come and go: each has an id that follows from its address, and one address has one id.
//!
//! A core.

use keylane_protocol::cluster::{ClusterImage, MetadataRecord, RouterRegistered, RouterRemoved};

use super::core::AskError;

/// Returns the records that register a router; none if it is registered with the same address.
///
/// # Errors
/// When its id or its address cannot be a router's.
pub(super) fn register(
    image: &ClusterImage,
    router: RouterRegistered,
) -> Result<Vec<MetadataRecord>, AskError> {
    let id = router.router_id;
    let is_same = |host: &str, port: u16| *host == *router.host && i32::from(port) == router.port;
    if let Some(known) = image.router(id)
        && is_same(&known.endpoint.host, known.endpoint.port)
    {
        return Ok(Vec::new());
    }
    let mut records = Vec::new();
    // A host and port under two ids breaks clients, so the newer id has it.
    let others = image.routers().filter(|other| other.id != id);
    let same = others.filter(|other| is_same(&other.endpoint.host, other.endpoint.port));
    records.extend(same.map(|other| {
        RouterRemoved {
            router_id: other.id,
        }
        .into()
    }));
    let router_epoch = image.next_broker_epoch();
    records.push(
        RouterRegistered {
            router_epoch,
            ..router
        }
        .into(),
    );
    match image.with(&records) {
        Ok(_) => Ok(records),
        Err(error) => Err(AskError::Router {
            id,
            reason: error.to_string(),
        }),
    }
}
