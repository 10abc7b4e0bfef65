//! Addresses and ids: the same everywhere, for ever, and each once.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use super::*;
use crate::testing::Cluster;

fn endpoint(host: &str, port: i32) -> Endpoint {
    Endpoint::new(&host.into(), port).expect("an endpoint")
}

fn client(client_id: &str) -> ClientIdentity<'_> {
    ClientIdentity {
        client_id: Some(client_id),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)),
    }
}

/// Three routers, each with an address of its own.
fn three() -> (Cluster, [Endpoint; 3]) {
    let endpoints = ["r1", "r2", "r3"].map(|host| endpoint(host, 9092));
    let cluster = endpoints
        .iter()
        .fold(Cluster::of_brokers(1), |cluster, own| {
            let id = router_id(own, &cluster.image());
            cluster.with_router(id.0, &own.host, i32::from(own.port))
        });
    (cluster, endpoints)
}

#[test]
fn an_id_follows_from_the_address_for_ever() {
    let image = ClusterImage::default();
    let id = |host, port| router_id(&endpoint(host, port), &image).0;
    // These numbers must never change: a router would come back as another.
    assert_eq!(
        [
            id("localhost", 9092),
            id("kafka.example", 9092),
            id("::1", 1)
        ],
        [305_471_463, 872_642_567, 600_789_911]
    );
    assert_eq!(id("LocalHost", 9092), id("localhost", 9092));
}

#[test]
fn ids_are_a_routers_and_leave_room_for_javas_coordinator_ids() {
    for port in 1..10_000 {
        let id = router_id(&endpoint("host", port), &ClusterImage::default());
        assert!(id.is_router() && i32::MAX - id.0 > id.0, "{id}");
    }
}

#[test]
fn an_id_that_another_address_has_is_not_taken() {
    let own = endpoint("r1", 9092);
    let first = router_id(&own, &ClusterImage::default());
    let cluster = Cluster::of_brokers(1).with_router(first.0, "other", 9092);
    let second = router_id(&own, &cluster.image());
    assert_eq!(second, id_candidate(&own, 1));
    let cluster = cluster.with_router(second.0, "r1", 9092);
    assert_eq!(router_id(&own, &cluster.image()), second);
}

#[test]
fn routers_that_share_an_address_are_one_node() {
    let shared = endpoint("kafka.example", 9092);
    let id = router_id(&shared, &ClusterImage::default());
    let cluster = Cluster::of_brokers(1)
        .with_router(id.0, "kafka.example", 9092)
        .with_router(id.0 + 1, "KAFKA.example", 9092);
    let advertised = Advertised::to_client(
        &Advertise::At(shared.clone()),
        &cluster.image(),
        client("a"),
        &endpoint("127.0.0.1", 1),
    );
    let only = Node {
        id,
        endpoint: shared,
    };
    assert_eq!(
        (advertised.nodes(), advertised.leader()),
        (&[only.clone()][..], &only)
    );
}

#[test]
fn without_configuration_a_client_is_told_what_it_dialled() {
    let (cluster, _) = three();
    let local = endpoint("192.168.0.5", 9092);
    let advertised =
        Advertised::to_client(&Advertise::Dialled, &cluster.image(), client("a"), &local);
    assert_eq!(advertised.nodes().len(), 1);
    assert_eq!(advertised.leader().endpoint, local);
    assert!(advertised.leader().id.is_router());
}

#[test]
fn a_router_that_is_not_registered_yet_names_the_others_or_itself_alone() {
    let (cluster, endpoints) = three();
    let own = Advertise::At(endpoint("r4", 9092));
    let told = |image: &ClusterImage| {
        let told = Advertised::to_client(&own, image, client("a"), &endpoint("x", 1));
        let nodes = told.nodes().iter();
        nodes.map(|node| node.endpoint.clone()).collect::<Vec<_>>()
    };
    let mut others = told(&cluster.image());
    others.sort();
    assert_eq!(others, endpoints);
    assert_eq!(told(&ClusterImage::default()), [endpoint("r4", 9092)]);
}

#[test]
fn every_router_tells_a_client_the_same_and_clients_are_spread() {
    let (cluster, endpoints) = three();
    let image = cluster.image();
    let mut clients_of: BTreeMap<BrokerId, usize> = BTreeMap::new();
    for number in 0..1000 {
        let name = format!("client-{number}");
        let told = endpoints.clone().map(|own| {
            let local = own.clone();
            Advertised::to_client(&Advertise::At(own), &image, client(&name), &local)
        });
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{name}");
        *clients_of.entry(told[0].leader().id).or_default() += 1;
    }
    assert_eq!(clients_of.len(), 3);
    assert!(
        clients_of.values().all(|&clients| clients > 250),
        "{clients_of:?}"
    );
}

#[test]
fn a_router_that_leaves_moves_its_own_clients_only() {
    let (cluster, endpoints) = three();
    let all = Advertised::to_client(
        &Advertise::At(endpoints[0].clone()),
        &cluster.image(),
        client("a"),
        &endpoints[0],
    );
    let rest: Vec<Node> = all.nodes()[..2].to_vec();
    for number in 0..1000 {
        let name = format!("client-{number}");
        let before = &all.nodes()[pick(all.nodes(), client(&name))];
        let after = &rest[pick(&rest, client(&name))];
        assert!(before == after || *before == all.nodes()[2], "{name}");
    }
}

#[test]
fn an_address_is_the_same_client_in_both_families() {
    let (cluster, endpoints) = three();
    let four = Ipv4Addr::new(10, 1, 2, 3);
    let leader = |address| {
        let client = ClientIdentity {
            client_id: None,
            address,
        };
        let own = Advertise::At(endpoints[0].clone());
        Advertised::to_client(&own, &cluster.image(), client, &endpoints[0])
    };
    let mapped: Ipv6Addr = four.to_ipv6_mapped();
    assert_eq!(leader(IpAddr::V4(four)), leader(IpAddr::V6(mapped)));
}
