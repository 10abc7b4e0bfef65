//! Serves a data folder until a line comes or the input ends: `cargo run -p keylane-broker --example serve FOLDER PORT`.

#![allow(clippy::print_stdout, reason = "it tells its address there")]

use std::io::BufRead;

use keylane_broker::Broker;
use keylane_broker::config::BrokerConfig;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which data folder?")?;
    let port: u16 = arguments.next().map_or(Ok(9092), |port| port.parse())?;
    let mut config = BrokerConfig::new(folder);
    config.listen.set_port(port);
    let broker = Broker::start(config)?;
    println!("{}", broker.address());
    let _ = std::io::stdin().lock().lines().next();
    broker.stop()?;
    Ok(())
}
