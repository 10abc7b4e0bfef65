//! Produce, read and administer on a real cluster, named by `KAFKA_BOOTSTRAP`; without it nothing is tested.
//!
//! The script that starts a real Apache Kafka runs this; any other cluster that allows creating topics will do as well.

mod cases;

/// Where the cluster is.
struct Cluster {
    address: String,
}

fn cluster() -> Option<Cluster> {
    let address = std::env::var("KAFKA_BOOTSTRAP").ok()?;
    Some(Cluster { address })
}
