//! Addresses of brokers: `host:port`, from the application or from a Metadata answer.

use std::fmt;

use crate::limits::BOOTSTRAP_ADDRESSES_MAX;

/// Where a broker can be dialled. The host may be a name, an IPv4 address or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerAddress {
    /// A host name or an address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Why a text is not a list of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// There is no address at all.
    #[error("no address was given: name at least one broker as host:port")]
    NoneGiven,
    /// There are far too many.
    #[error("{count} addresses were given, at most 256 are taken")]
    TooMany {
        /// Number of addresses.
        count: usize,
    },
    /// One of them is not `host:port`.
    #[error("{text:?} is not an address: write host:port, such as localhost:9092 or [::1]:9092")]
    Malformed {
        /// The text.
        text: String,
    },
}

impl BrokerAddress {
    /// Reads `host:port`.
    ///
    /// # Errors
    /// When host or port is missing or the port is not a number from 1 to 65535.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let malformed = || InvalidAddress::Malformed {
            text: text.to_owned(),
        };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(malformed)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let port: u16 = port.parse().map_err(|_| malformed())?;
        let colons_need_brackets = host.contains(':') && bracketed.is_none();
        if host.is_empty()
            || host.contains(char::is_whitespace)
            || port == 0
            || colons_need_brackets
        {
            return Err(malformed());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// Where to look for the cluster first: one or more addresses.
///
/// Made from text with commas (`"a:9092,b:9092"`), or from a list of texts, each of which may again contain commas.
pub trait Bootstrap {
    /// Returns the addresses as texts, not yet checked.
    fn texts(self) -> Vec<String>;
}

impl Bootstrap for &str {
    fn texts(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl Bootstrap for String {
    fn texts(self) -> Vec<String> {
        vec![self]
    }
}

impl Bootstrap for &String {
    fn texts(self) -> Vec<String> {
        vec![self.clone()]
    }
}

impl Bootstrap for std::net::SocketAddr {
    fn texts(self) -> Vec<String> {
        vec![self.to_string()]
    }
}

impl<T: ToString> Bootstrap for Vec<T> {
    fn texts(self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

impl<T: ToString> Bootstrap for &[T] {
    fn texts(self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

impl<T: ToString, const N: usize> Bootstrap for [T; N] {
    fn texts(self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

/// Returns the checked addresses, each once, in the order given.
pub(crate) fn addresses(bootstrap: impl Bootstrap) -> Result<Vec<BrokerAddress>, InvalidAddress> {
    let texts = bootstrap.texts();
    let parts = texts.iter().flat_map(|text| text.split(','));
    let mut addresses = Vec::new();
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        let address = BrokerAddress::parse(part)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
        if addresses.len() > BOOTSTRAP_ADDRESSES_MAX {
            let count = texts.iter().flat_map(|text| text.split(',')).count();
            return Err(InvalidAddress::TooMany { count });
        }
    }
    if addresses.is_empty() {
        return Err(InvalidAddress::NoneGiven);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_from_commas_and_from_collections() {
        let shown = |list: Vec<BrokerAddress>| {
            let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
            texts.join(" ")
        };
        let read = addresses("a:1, b:2,,a:1").expect("valid");
        assert_eq!(shown(read), "a:1 b:2");
        let read = addresses(["a:1,b:2", "[::1]:3"]).expect("valid");
        assert_eq!(shown(read), "a:1 b:2 [::1]:3");
    }

    #[test]
    fn what_is_not_host_and_port_is_named() {
        for text in ["", ",", " "] {
            assert_eq!(addresses(text), Err(InvalidAddress::NoneGiven));
        }
        for text in [
            "a", "a:", ":1", "a:0", "a:65536", "::1:9", "a b:1", "http://a",
        ] {
            let error = addresses(text).expect_err("must be refused");
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
