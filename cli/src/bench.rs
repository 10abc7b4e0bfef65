//! `keylane bench`: maps flags on the bench's options and its outcome on an exit code.

use keylane_bench::BenchError;
use keylane_bench::options::{BenchOptions, Durability, Extent, Paths, ProducePath, Through};
use keylane_bench::workload::KeyDistribution;

use crate::arguments::{
    BenchArguments, BenchCommand, DurabilityName, PathName, ThroughName, WorkloadArguments,
};
use crate::failure::Failure;
use crate::open_files;

/// Runs `keylane bench`.
///
/// # Errors
/// When the options make no sense, a server does not start, or a record was lost, doubled, reordered or altered.
pub(crate) fn run(arguments: BenchArguments) -> Result<(), Failure> {
    let options = match arguments.command {
        Some(BenchCommand::NullBroker { json }) => {
            return keylane_bench::null_broker::null_broker_main(&json)
                .map_err(|error| Failure::because("the null broker failed", &error));
        }
        Some(BenchCommand::NullRelay) => {
            return keylane_bench::null_relay::null_relay_main()
                .map_err(|error| Failure::because("the null relay failed", &error));
        }
        Some(BenchCommand::Scale(workload)) => options(*workload, Extent::Scale),
        Some(BenchCommand::Limit(workload)) => options(*workload, Extent::Limit),
        None => options(arguments.workload, Extent::Measure),
    };
    // Servers raise theirs; the null broker and relay have the one of this process.
    open_files::raise();
    let report = keylane_bench::run(&options).map_err(|error| match error {
        BenchError::Options { faults } => Failure::faults(faults),
        error => Failure::from_error(&error),
    })?;
    match report.is_clean {
        true => Ok(()),
        false => Err(Failure::new(
            "the verification failed, so that no figure of this run counts",
        )),
    }
}

fn options(arguments: WorkloadArguments, extent: Extent) -> BenchOptions {
    let bytes = |size: Option<u64>| size.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    BenchOptions {
        extent,
        program: None,
        connect: arguments.connect,
        brokers: arguments.brokers,
        routers: arguments.routers,
        through: arguments.through.map(|through| match through {
            ThroughName::Broker => Through::Broker,
            ThroughName::Router => Through::Router,
        }),
        path: arguments.path.map(|path| match path {
            PathName::Routed => Paths::Only(ProducePath::Routed),
            PathName::Partitioned => Paths::Only(ProducePath::Partitioned),
            PathName::Both => Paths::Both,
        }),
        partitions: arguments.partitions,
        producers: arguments.producers,
        clients: arguments.clients,
        in_flight: arguments.in_flight,
        readers: arguments.readers,
        record_size_bytes: bytes(arguments.record_size),
        batch_size_bytes: bytes(arguments.batch_size),
        rate: arguments.rate,
        acks: arguments.acks.map(crate::produce::acks),
        durability: arguments.durability.map(|durability| match durability {
            DurabilityName::Fsync => Durability::Fsync,
            DurabilityName::PageCache => Durability::PageCache,
        }),
        duration: arguments.duration,
        input: arguments.input,
        key: arguments.key,
        repeat: arguments.repeat,
        key_count: arguments.keys,
        key_distribution: arguments
            .zipf
            .map(|exponent| KeyDistribution::Zipf { exponent }),
        data: arguments.data,
        json: arguments.json,
        svg: arguments.svg,
    }
}
