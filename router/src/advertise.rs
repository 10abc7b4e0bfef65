//! Which addresses a client is told: routers only, and the same ones by every router.
//!
//! A pure function of the cluster's image, this router's configuration, and who asks. If each router named itself,
//! every refresh of metadata would move all leaders for clients that ask a random node. So the node that leads and
//! coordinates everything is picked by rendezvous hashing (Thaler and Ravishankar, 1998) of the client, and every
//! router serves whatever reaches it. Ids and picks come from `hash`, which must never change: it would move
//! every client at once.

use core::net::IpAddr;

use bytestring::ByteString;
use keylane_protocol::cluster::{ClusterImage, Endpoint};
use keylane_protocol::identifiers::BrokerId;

/// The lowest id of a router.
const ROUTER_ID_MIN: i32 = BrokerId::BROKER_MAX.0 + 1;

/// Ids stay below 2^30, because Java's client calls the coordinator 2^31 - 1 - id: that is never another's id then.
const ROUTER_ID_END: i32 = 1 << 30;

/// What the operator says of this router's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advertise {
    /// Clients reach it here (`--advertise`): this one, or, by the same name, any of the routers.
    At(Endpoint),
    /// Nothing: clients are told the address they have dialled. Wrong behind address translation.
    Dialled,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIdentity<'a> {
    /// How it calls itself; `None` counts as an empty name.
    pub client_id: Option<&'a str>,
    /// Where it comes from.
    pub address: IpAddr,
}

/// A node as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id, from 1,000,000 on.
    pub id: BrokerId,
    /// Where it is.
    pub endpoint: Endpoint,
}

/// The nodes that a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// At least one, each address once, in the order of their ids.
    nodes: Vec<Node>,
    /// Which of them leads and coordinates everything.
    leader: usize,
}

impl Advertised {
    /// Returns what a client is told. `local` is the address of this router that it has dialled.
    #[must_use]
    pub fn to_client(
        advertise: &Advertise,
        image: &ClusterImage,
        client: ClientIdentity<'_>,
        local: &Endpoint,
    ) -> Self {
        let nodes = match advertise {
            Advertise::Dialled => vec![node(local, image)],
            Advertise::At(own) => {
                let living = living(image);
                // A router that the controllers do not know yet names the others, as they do.
                if living.is_empty() {
                    vec![node(own, image)]
                } else {
                    living
                }
            }
        };
        let leader = pick(&nodes, client);
        Self { nodes, leader }
    }

    /// Returns the nodes, at least one.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the one that leads and coordinates everything and is the controller.
    #[must_use]
    pub fn leader(&self) -> &Node {
        &self.nodes[self.leader]
    }
}

fn node(endpoint: &Endpoint, image: &ClusterImage) -> Node {
    Node {
        id: router_id(endpoint, image),
        endpoint: endpoint.clone(),
    }
}

/// Returns the routers of the image, of several at one address the one with the lowest id.
fn living(image: &ClusterImage) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for router in image.routers() {
        let is_new = |node: &Node| !is_same(&node.endpoint, &router.endpoint);
        if nodes.iter().all(is_new) {
            nodes.push(Node {
                id: router.id,
                endpoint: router.endpoint.clone(),
            });
        }
    }
    nodes
}

/// Tells whether two endpoints are one address to a client: names of hosts have no case.
fn is_same(left: &Endpoint, right: &Endpoint) -> bool {
    left.port == right.port && left.host.eq_ignore_ascii_case(&right.host)
}

/// Returns the id under which a router at an address is registered.
///
/// It follows from the address alone, and so is the same after a restart, unless another address in the image has that
/// id: then the next one that the address gives is taken.
#[must_use]
pub fn router_id(endpoint: &Endpoint, image: &ClusterImage) -> BrokerId {
    let is_free = |id: &BrokerId| {
        let taken = image.router(*id);
        taken.is_none_or(|router| is_same(&router.endpoint, endpoint))
    };
    let mut candidates = (0..).map(|attempt| id_candidate(endpoint, attempt));
    // Of more candidates than there are routers one is free: two attempts may meet, all of them never do.
    candidates.find(is_free).expect("the attempts do not end")
}

fn id_candidate(endpoint: &Endpoint, attempt: u64) -> BrokerId {
    let host = endpoint.host.to_ascii_lowercase();
    let hash = hash(&[
        host.as_bytes(),
        &endpoint.port.to_be_bytes(),
        &attempt.to_be_bytes(),
    ]);
    let span = u64::try_from(ROUTER_ID_END - ROUTER_ID_MIN).expect("the end is above the start");
    let id = i32::try_from(hash % span).expect("below 2^30");
    BrokerId(ROUTER_ID_MIN + id)
}

/// Returns the place of the node with the highest weight for the client.
fn pick(nodes: &[Node], client: ClientIdentity<'_>) -> usize {
    let address = match client.address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let client_id = client.client_id.unwrap_or_default().as_bytes();
    let weight = |node: &Node| hash(&[client_id, &address, &node.id.0.to_be_bytes()]);
    let weighed = nodes.iter().enumerate();
    let heaviest = weighed.max_by_key(|(_, node)| (weight(node), node.id));
    heaviest.map_or(0, |(place, _)| place)
}

/// FNV-1a of 64 bits over the fields, each behind its length in 8 bytes big-endian, then the finalizer of SplitMix64
/// (Steele, Lea and Flood, 2014). Fixed for ever, like the partitioner.
fn hash(fields: &[&[u8]]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut take = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for field in fields {
        let length = u64::try_from(field.len()).expect("lengths have at most 64 bits");
        length.to_be_bytes().into_iter().for_each(&mut take);
        field.iter().copied().for_each(&mut take);
    }
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

impl Node {
    /// Returns its host as messages carry it.
    #[must_use]
    pub fn host(&self) -> ByteString {
        self.endpoint.host.clone()
    }

    /// Returns its port as messages carry it.
    #[must_use]
    pub fn port(&self) -> i32 {
        i32::from(self.endpoint.port)
    }
}

#[cfg(test)]
mod tests;
