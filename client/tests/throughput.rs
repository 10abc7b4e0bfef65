//! How fast records leave a producer when nothing else is slow: a peer in a thread of its own that only answers.
//!
//! Not a check, hence ignored: `cargo test --release -p keylane-client --test throughput -- --ignored --nocapture`.

#![allow(clippy::print_stdout, reason = "a measurement prints what it measured")]

mod peer;

use std::io::{Read, Write};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use keylane_client::{Client, Path, ProducerRecord};
use tokio::time::Instant;

use self::peer::Peer;

const RECORD_BYTES: usize = 1024;
const RECORDS: usize = 4_000_000;

#[test]
#[ignore = "a measurement"]
fn ceiling_of_one_producer() {
    let address = peer_in_a_thread(1000);
    runtime().block_on(one_record_in_flight(address));
    for batch_size_bytes in [16, 64, 128, 256].map(|kib| kib * 1024) {
        for partitions in [1, 16, 1000] {
            runtime().block_on(measure(address, batch_size_bytes, partitions));
        }
    }
}

/// Measures what a record costs when each of many small producers has one in flight, on either path.
#[test]
#[ignore = "a measurement"]
fn cost_of_many_small_producers() {
    for path in [Path::Routed, Path::Partitioned] {
        let address = peer_in_a_thread(16);
        runtime().block_on(many_producers(address, path));
    }
}

async fn many_producers(address: std::net::SocketAddr, path: Path) {
    const PRODUCERS: usize = 1000;
    const RECORDS_EACH: usize = 100;
    let client = Client::connect(address).await.expect("a peer");
    let mut producers = Vec::new();
    for _ in 0..PRODUCERS {
        let producer = client.producer().path(path).linger(Duration::ZERO);
        let producer = producer.build().await.expect("a producer");
        // Connections and topics are made before the clock runs.
        let record = ProducerRecord::to("orders").key("k").value("v");
        let receipt = producer.send(record).await.expect("taken");
        receipt.await.expect("answered");
        producers.push(producer);
    }
    let begin = Instant::now();
    let cpu = cpu_seconds();
    let tasks = producers.into_iter().enumerate().map(|(index, producer)| {
        tokio::spawn(async move {
            let value = [b'x'; 100];
            for number in 0..RECORDS_EACH {
                let key = (index * RECORDS_EACH + number).to_string();
                let record = ProducerRecord::to("orders").key(&key).value(&value);
                let receipt = producer.send(record).await.expect("taken");
                receipt.await.expect("answered");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }
    let records = (PRODUCERS * RECORDS_EACH) as f64;
    println!(
        "{path:?}: {:.0} records/s, producers' thread {:.2} s CPU per million records",
        records / begin.elapsed().as_secs_f64(),
        (cpu_seconds() - cpu) / records * 1e6,
    );
}

/// Starts a peer that only answers.
fn peer_in_a_thread(partitions: usize) -> std::net::SocketAddr {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let runtime = runtime();
        runtime.block_on(async {
            let peer = Peer::start("orders", partitions).await;
            peer.keep_nothing();
            peer.on_routed(|_| peer::Action::Serve);
            sender.send(peer.address).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().expect("a peer")
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

async fn measure(address: std::net::SocketAddr, batch_size_bytes: usize, partitions: i32) {
    let client = Client::connect(address).await.expect("a peer");
    let producer = client.producer().batch_size_bytes(batch_size_bytes);
    let producer = producer.build().await.expect("a producer");
    let value = vec![b'x'; RECORD_BYTES];
    let begin = Instant::now();
    let cpu = cpu_seconds();
    for number in 0..RECORDS {
        let partition = i32::try_from(number).expect("few") % partitions;
        let record = ProducerRecord::to("orders").partition(partition);
        let receipt = producer.send(record.value(&value)).await;
        drop(receipt.expect("taken"));
    }
    producer.close().await.expect("answered");
    let seconds = begin.elapsed().as_secs_f64();
    let gigabytes = (RECORDS * RECORD_BYTES) as f64 / 1e9;
    println!(
        "batch {:>7} partitions {partitions:>2}: {:.2} GB/s, {:.2} M records/s, producer thread {:.2} s CPU per GB",
        batch_size_bytes,
        gigabytes / seconds,
        RECORDS as f64 / seconds / 1e6,
        (cpu_seconds() - cpu) / gigabytes,
    );
}

/// Measures the time from `send` to the receipt of one record, and of one byte there and back over bare sockets.
async fn one_record_in_flight(address: std::net::SocketAddr) {
    let client = Client::connect(address).await.expect("a peer");
    let producer = client.producer().linger(Duration::ZERO);
    let producer = producer.build().await.expect("a producer");
    let value = vec![b'x'; RECORD_BYTES];
    let mut times = Vec::new();
    for _ in 0..20_000 {
        let begin = Instant::now();
        let record = ProducerRecord::to("orders").partition(0).value(&value);
        let receipt = producer.send(record).await.expect("taken");
        receipt.await.expect("answered");
        times.push(begin.elapsed());
    }
    times.sort();
    let [p50, p99] = [50, 99].map(|percent| times[times.len() * percent / 100]);
    println!("one record in flight: p50 {p50:?}, p99 {p99:?}");
    println!("bare sockets: p50 {:?}", bare_round_trip());
}

/// Returns the median time of one byte there and back between two threads.
fn bare_round_trip() -> Duration {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_nodelay(true).expect("set");
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    });
    let mut stream = std::net::TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("set");
    let mut times = Vec::new();
    for _ in 0..20_000 {
        let begin = Instant::now();
        stream.write_all(&[1]).expect("written");
        stream.read_exact(&mut [0]).expect("read");
        times.push(begin.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

/// Returns the CPU time of this thread.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text.split(' ').next().expect("a number");
    nanoseconds.parse::<f64>().expect("a number") / 1e9
}
