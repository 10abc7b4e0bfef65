//! Ports for servers that must know of one another before they listen, as voters do: for tests and benchmarks.
//!
//! A port that the system chose is one of those it gives to whoever dials out, too, and may be taken by the time it is
//! listened at. These lie below that range and are given once by a process; the process's id keeps others apart.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports of outgoing connections, which begin at 32768 on Linux.
const PORTS: std::ops::Range<u16> = 10_240..32_768;

/// Ports that neighbouring process ids are apart.
const STRIDE: u32 = 61;

static GIVEN: AtomicU32 = AtomicU32::new(0);

/// Returns ports of the loopback interface at which nobody listened just now.
///
/// # Panics
/// When there are none.
#[must_use]
pub fn free_ports(count: usize) -> Vec<u16> {
    let tries = u32::from(PORTS.end - PORTS.start);
    let ports = (0..tries).map(|_| next_port());
    let free = ports.filter(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let free: Vec<u16> = free.take(count).collect();
    assert_eq!(free.len(), count, "no {count} ports are free");
    free
}

fn next_port() -> u16 {
    let span = u32::from(PORTS.end - PORTS.start);
    let given = GIVEN.fetch_add(1, Ordering::Relaxed);
    let place = std::process::id().wrapping_mul(STRIDE).wrapping_add(given) % span;
    PORTS.start + u16::try_from(place).expect("less than the span")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_once_and_can_be_listened_at() {
        let mut ports = [free_ports(3), free_ports(2)].concat();
        for &port in &ports {
            assert!(PORTS.contains(&port));
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free");
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 5);
    }
}
