//! What the configurations of all servers share: bounds on what clients can make one hold, and faults told together.
//!
//! A server validates its configuration once, at its start, and tells all faults it finds.

use std::fmt;
use std::time::Duration;

use crate::cluster::Endpoint;

/// The longest name of a host (DNS).
pub const HOST_BYTES_MAX: usize = 255;

/// Bounds on what the clients of a Kafka listener can make its server hold. A deployment may want to change them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// The most connections at once; at the bound new ones are closed at once.
    pub connections_max: usize,
    /// The most connections at once from one IP address; at the bound new ones from there are closed at once.
    pub connections_per_address_max: usize,
    /// The largest request; the connection of a larger one is closed before anything is allocated.
    /// Kafka's `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// The most requests of one connection that were read and not answered; at the bound it is not read.
    pub connection_requests_max: usize,
    /// The most bytes of such requests; at the bound the connection is not read. A single request may be larger.
    pub connection_request_bytes_max: usize,
    /// The most bytes of requests of all connections that were read and not answered; at the bound none is begun. As
    /// many again may belong to large requests that have not arrived whole; at that bound large ones are not read on.
    pub request_bytes_total_max: usize,
    /// The most record bytes in answers of all connections that were not taken yet; at the bound a Fetch gets little, so
    /// that clients who do not take their answers cannot fill the memory, nor stop the others.
    pub fetch_bytes_total_max: usize,
    /// A connection on which nothing is asked or answered for so long is closed. Kafka's `connections.max.idle.ms`.
    pub idle_timeout: Duration,
    /// A request must arrive whole within this time after its first byte.
    pub receive_timeout: Duration,
    /// A client must take some bytes of its answers within this time.
    pub send_timeout: Duration,
    /// How long a clean stop waits for requests under way.
    pub stop_timeout: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        const MEBIBYTE: usize = 1 << 20;
        Self {
            connections_max: 10_000,
            connections_per_address_max: 5_000,
            request_bytes_max: 100 * MEBIBYTE,
            connection_requests_max: 1024,
            connection_request_bytes_max: 8 * MEBIBYTE,
            request_bytes_total_max: 512 * MEBIBYTE,
            fetch_bytes_total_max: 512 * MEBIBYTE,
            idle_timeout: Duration::from_secs(600),
            receive_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

impl ClientLimits {
    /// Adds what is wrong with these bounds in a server that can take requests of up to `request_bytes` bytes.
    pub fn validate(&self, request_bytes: usize, faults: &mut Faults) {
        faults.check_counts(&[
            ("connections_max", self.connections_max),
            (
                "connections_per_address_max",
                self.connections_per_address_max,
            ),
            ("connection_requests_max", self.connection_requests_max),
            (
                "connection_request_bytes_max",
                self.connection_request_bytes_max,
            ),
            ("fetch_bytes_total_max", self.fetch_bytes_total_max),
        ]);
        faults.check_times(&[
            ("idle_timeout", self.idle_timeout),
            ("receive_timeout", self.receive_timeout),
            ("send_timeout", self.send_timeout),
        ]);
        if !(1024..=request_bytes).contains(&self.request_bytes_max) {
            let text = format!("must be from 1024 to {request_bytes}");
            faults.add("request_bytes_max", text);
        }
        if self.request_bytes_total_max < self.request_bytes_max {
            let text =
                "must be at least request_bytes_max, or the largest request could never be read";
            faults.add("request_bytes_total_max", text);
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field.
    pub field: &'static str,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.text)
    }
}

/// A configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} fault(s): {}", faults.len(), joined(faults))]
pub struct InvalidConfig {
    /// All of its faults, at least one.
    pub faults: Vec<Fault>,
}

fn joined(faults: &[Fault]) -> String {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// What a validation has found so far.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault.
    pub fn add(&mut self, field: &'static str, text: impl Into<String>) {
        let text = text.into();
        self.0.push(Fault { field, text });
    }

    /// Adds those of these counts that are 0.
    pub fn check_counts(&mut self, counts: &[(&'static str, usize)]) {
        for (field, _) in counts.iter().filter(|(_, count)| *count == 0) {
            self.add(field, "must be at least 1");
        }
    }

    /// Adds those of these times that are 0.
    pub fn check_times(&mut self, times: &[(&'static str, Duration)]) {
        for (field, _) in times.iter().filter(|(_, time)| time.is_zero()) {
            self.add(field, "must be longer than 0");
        }
    }

    /// Adds the fault of a listener, unless it `is_permitted`: only this machine can reach it, or that others do is meant.
    pub fn check_reach(
        &mut self,
        field: &'static str,
        address: impl fmt::Display,
        is_permitted: bool,
    ) {
        if !is_permitted {
            let text = format!(
                "{address} can be reached by other machines, and nothing is encrypted or authenticated yet: \
                 listen on 127.0.0.1, or say that this is meant (insecure)"
            );
            self.add(field, text);
        }
    }

    /// Adds the fault of an endpoint that nobody could dial.
    pub fn check_endpoint(&mut self, field: &'static str, endpoint: &Endpoint) {
        if !(1..=HOST_BYTES_MAX).contains(&endpoint.host.len()) || endpoint.port == 0 {
            let text = format!(
                "{endpoint} is no address: a host of 1 to {HOST_BYTES_MAX} characters and a port that is not 0"
            );
            self.add(field, text);
        }
    }

    /// Returns an error with all faults if there are any.
    ///
    /// # Errors
    /// What was added.
    pub fn into_result(self) -> Result<(), InvalidConfig> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(InvalidConfig { faults: self.0 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_have_no_fault() {
        let mut faults = Faults::default();
        ClientLimits::default().validate(crate::limits::FRAME_SIZE_BYTES_MAX, &mut faults);
        assert_eq!(faults.into_result(), Ok(()));
    }

    #[test]
    fn all_faults_of_limits_are_told_together() {
        let limits = ClientLimits {
            connections_max: 0,
            send_timeout: Duration::ZERO,
            request_bytes_max: 4096,
            request_bytes_total_max: 1,
            ..ClientLimits::default()
        };
        let mut faults = Faults::default();
        limits.validate(2048, &mut faults);
        let invalid = faults.into_result().expect_err("invalid");
        assert_eq!(
            invalid.to_string(),
            "the configuration has 4 fault(s): connections_max: must be at least 1; send_timeout: must be longer than \
             0; request_bytes_max: must be from 1024 to 2048; request_bytes_total_max: must be at least \
             request_bytes_max, or the largest request could never be read"
        );
    }
}
