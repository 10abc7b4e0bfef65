//! What servers count of themselves, read from `/metrics` of their admin ports (`docs/metrics.md`).
//!
//! Counters begin with the process, so two readings make the difference.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may take to connect, to take the request, or between two parts of its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes taken of an answer: more than that of a broker with 10,000 partitions.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The counters of a server at one moment, or the differences between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounters {
    /// Syncs of files and folders of the log.
    pub syncs: u64,
    /// Batches that its writer wrote.
    pub batches: u64,
    /// Bytes of the batches appended, headers included.
    pub appended_bytes: u64,
    /// Requests of clients that produce.
    pub produce_requests: u64,
}

impl ServerCounters {
    /// Reads the counters of the server whose admin port has this address.
    ///
    /// # Errors
    /// When it does not answer, or not with metrics.
    pub fn read(admin: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let head_and_body = answer.split_once("\r\n\r\n");
        let (_, metrics) = head_and_body
            .filter(|(head, _)| head.starts_with("HTTP/1.1 200 "))
            .ok_or_else(|| io::Error::other("the admin port did not answer with metrics"))?;
        Ok(Self::of_text(metrics))
    }

    /// Adds up the series of all nodes of a process, in Prometheus' text format.
    fn of_text(metrics: &str) -> Self {
        let mut counters = Self::default();
        for line in metrics.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let counter = match name {
                "keylane_sync_seconds_count" => &mut counters.syncs,
                "keylane_group_batches_total" => &mut counters.batches,
                "keylane_appended_bytes_total" => &mut counters.appended_bytes,
                "keylane_request_seconds_count" if is_produce_of_clients(labels) => {
                    &mut counters.produce_requests
                }
                _ => continue,
            };
            *counter += value.parse().unwrap_or(0);
        }
        counters
    }

    /// Returns what was counted since an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            syncs: self.syncs.saturating_sub(earlier.syncs),
            batches: self.batches.saturating_sub(earlier.batches),
            appended_bytes: self.appended_bytes.saturating_sub(earlier.appended_bytes),
            produce_requests: self
                .produce_requests
                .saturating_sub(earlier.produce_requests),
        }
    }

    /// Adds what another server counted, or the same in another period.
    pub fn add(&mut self, other: &Self) {
        self.syncs += other.syncs;
        self.batches += other.batches;
        self.appended_bytes += other.appended_bytes;
        self.produce_requests += other.produce_requests;
    }
}

/// Requests between router and broker have another listener.
fn is_produce_of_clients(labels: &str) -> bool {
    let is_produce = labels.contains("api=\"Produce\"") || labels.contains("api=\"RoutedProduce\"");
    is_produce && labels.contains("listener=\"kafka\"")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const METRICS: &str = "# TYPE keylane_sync_seconds histogram\n\
        keylane_sync_seconds_bucket{node=\"broker-1\",le=\"+Inf\"} 99\n\
        keylane_sync_seconds_sum{node=\"broker-1\"} 1.5\n\
        keylane_sync_seconds_count{node=\"broker-1\"} 7\n\
        keylane_sync_seconds_count{node=\"broker-2\"} 5\n\
        keylane_group_batches_total{node=\"broker-1\"} 30\n\
        keylane_appended_bytes_total{node=\"broker-1\"} 4000\n\
        keylane_request_seconds_count{node=\"broker-1\",listener=\"kafka\",api=\"Produce\"} 11\n\
        keylane_request_seconds_count{node=\"r\",listener=\"kafka\",api=\"RoutedProduce\"} 2\n\
        keylane_request_seconds_count{node=\"broker-1\",listener=\"link\",api=\"Produce\"} 500\n\
        keylane_request_seconds_count{node=\"broker-1\",listener=\"kafka\",api=\"Fetch\"} 600\n";

    fn served(answer: String) -> io::Result<ServerCounters> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 512];
            let read = stream.read(&mut request).expect("a request");
            assert!(request[..read].starts_with(b"GET /metrics HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).expect("taken");
        });
        ServerCounters::read(address)
    }

    #[test]
    fn the_counters_of_all_nodes_are_added_and_links_left_out() {
        let found = served(format!("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{METRICS}"));
        let found = found.expect("metrics");
        let expected = ServerCounters {
            syncs: 12,
            batches: 30,
            appended_bytes: 4000,
            produce_requests: 13,
        };
        assert_eq!(found, expected);
        let mut twice = found;
        twice.add(&found);
        assert_eq!(twice.since(&found), found);
    }

    #[test]
    fn an_answer_that_is_no_metrics_is_an_error() {
        for answer in ["", "HTTP/1.1 404 Not Found\r\n\r\n", METRICS] {
            served(answer.to_owned()).expect_err("no metrics");
        }
    }
}
