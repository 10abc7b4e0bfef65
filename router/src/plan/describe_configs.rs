//! DescribeConfigs: a topic's settings from any broker, a broker's from itself, this router's from here (KIP-133).
//!
//! Java's client asks the node whose settings it wants, so a router is asked for its own id.

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::BrokerId;
use keylane_protocol::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, NodeSetting, RESOURCE_TYPE_BROKER,
    RESOURCE_TYPE_TOPIC,
};

use crate::merge::describe_configs::DescribeConfigsMerge;
use crate::routing::Routing;

/// The version in which brokers are asked.
pub const VERSION: i16 = 4;

/// Whom a part goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// Any broker that can be reached: all know the cluster's topics.
    AnyBroker,
    /// This one.
    Broker(BrokerId),
}

/// What one broker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeConfigsPart {
    /// Which broker.
    pub to: Destination,
    /// The request, in [`VERSION`].
    pub request: DescribeConfigsRequest,
    /// Where among the resources of the client's request each of its resources stands, in order.
    pub places: Vec<usize>,
}

/// This router as DescribeConfigs shows it.
#[derive(Clone, Copy, Debug)]
pub struct OwnSettings<'a> {
    /// The id under which clients know it.
    pub id: BrokerId,
    /// Its settings.
    pub settings: &'a [NodeSetting],
}

/// What a DescribeConfigs becomes.
#[derive(Debug)]
pub struct DescribeConfigsPlan {
    /// What to send.
    pub parts: Vec<DescribeConfigsPart>,
    /// The answer, which has the places of what is answered here already.
    pub merge: DescribeConfigsMerge,
}

/// Splits a DescribeConfigs by who knows the answers.
#[must_use]
pub fn plan(
    request: &DescribeConfigsRequest,
    own: OwnSettings<'_>,
    routing: &Routing,
) -> DescribeConfigsPlan {
    let resources: Vec<DescribeConfigsResource> = request.distinct_resources().cloned().collect();
    let mut merge = DescribeConfigsMerge::new(&resources);
    let mut parts: Vec<DescribeConfigsPart> = Vec::new();
    for (place, resource) in resources.into_iter().enumerate() {
        let is_broker = resource.resource_type == RESOURCE_TYPE_BROKER;
        if is_broker && resource.resource_name.is_empty() {
            // What was changed for all brokers while they ran: nothing can be.
            merge.on_settings(place, Vec::new());
            continue;
        }
        match destination(&resource, own, routing) {
            Ok(Some(to)) => part_to(&mut parts, to, request).add(resource, place),
            Ok(None) => {
                let mut settings = own.settings.iter().map(NodeSetting::told).collect();
                request.keep_wanted(&resource, &mut settings);
                merge.on_settings(place, settings);
            }
            Err((code, text)) => merge.on_refused(place, code, text.into()),
        }
    }
    DescribeConfigsPlan { parts, merge }
}

/// Returns who is to be asked, `None` for this router itself.
fn destination(
    resource: &DescribeConfigsResource,
    own: OwnSettings<'_>,
    routing: &Routing,
) -> Result<Option<Destination>, (ErrorCode, String)> {
    match resource.resource_type {
        RESOURCE_TYPE_TOPIC => return Ok(Some(Destination::AnyBroker)),
        RESOURCE_TYPE_BROKER => {}
        other => {
            let text =
                format!("configurations exist of topics (2) and brokers (4), not of type {other}");
            return Err((ErrorCode::InvalidRequest, text));
        }
    }
    let name = &*resource.resource_name;
    let Ok(id) = name.parse().map(BrokerId) else {
        let text = format!("a broker is named by its id, a number, not by {name:?}");
        return Err((ErrorCode::InvalidRequest, text));
    };
    if id == own.id {
        return Ok(None);
    }
    if id.is_router() {
        let text = format!("this is router {}; ask router {id} itself", own.id);
        return Err((ErrorCode::InvalidRequest, text));
    }
    if routing.image().broker(id).is_none() {
        let text = format!("the cluster has no broker {id}");
        return Err((ErrorCode::InvalidRequest, text));
    }
    if !routing.is_reachable(id) {
        let text = format!("broker {id} cannot be reached");
        return Err((ErrorCode::BrokerNotAvailable, text));
    }
    Ok(Some(Destination::Broker(id)))
}

fn part_to<'a>(
    parts: &'a mut Vec<DescribeConfigsPart>,
    to: Destination,
    request: &DescribeConfigsRequest,
) -> &'a mut DescribeConfigsPart {
    let known = parts.iter().position(|part| part.to == to);
    let part = known.unwrap_or_else(|| {
        parts.push(DescribeConfigsPart {
            to,
            request: DescribeConfigsRequest {
                resources: Vec::new(),
                ..request.clone()
            },
            places: Vec::new(),
        });
        parts.len() - 1
    });
    &mut parts[part]
}

impl DescribeConfigsPart {
    fn add(&mut self, resource: DescribeConfigsResource, place: usize) {
        self.request.resources.push(resource);
        self.places.push(place);
    }
}

#[cfg(test)]
mod tests;
