//! The name of a relay: what a WebSocket login is bound to.

use std::fmt;

/// The longest name of a relay, in bytes: a host name of 253, a colon and a port.
pub const MAX_RELAY_NAME_BYTES: usize = 259;

/// Host and port of a relay as its clients know it: `relay.example.org:443`, `[2001:db8::1]:3000`.
///
/// The host is in lower case and without a dot at its end, an IPv6 address stands in brackets, and
/// the port is always there, also where a URL leaves it out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelayName(String);

/// A text that names no relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a relay's name is a host and a port, such as relay.example.org:443")]
pub struct NotARelayName;

impl RelayName {
    /// The name of a relay on this host and port. The host is brought into its form.
    ///
    /// # Errors
    /// When the host is empty, too long, or holds what no host name or address does.
    pub fn new(host: &str, port: u16) -> Result<Self, NotARelayName> {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = bare.unwrap_or(&host).parse::<core::net::Ipv6Addr>();
        let is_plain = |character: char| {
            character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_')
        };
        let is_host = address.is_ok() || !host.is_empty() && host.chars().all(is_plain);
        let name = match address {
            Ok(address) => format!("[{address}]:{port}"),
            Err(_) => format!("{host}:{port}"),
        };
        if !is_host || port == 0 || name.len() > MAX_RELAY_NAME_BYTES {
            return Err(NotARelayName);
        }
        Ok(RelayName(name))
    }

    /// Reads a name with its port, in any spelling of the host.
    ///
    /// # Errors
    /// As [`RelayName::new`], and when there is no port.
    pub fn parse(text: &str) -> Result<Self, NotARelayName> {
        let (host, port) = text.rsplit_once(':').ok_or(NotARelayName)?;
        RelayName::new(host, port.parse().map_err(|_| NotARelayName)?)
    }

    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelayName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_host_are_one_name() {
        for (spelling, name) in [
            ("Relay.Example.org.:443", "relay.example.org:443"),
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("[2001:DB8:0::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(RelayName::parse(spelling).unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_is_no_host_with_a_port_is_no_name() {
        for text in
            ["", "relay", ":443", "relay:0", "relay:70000", "a b:1", "a/b:1", "[::g]:1", "[:1"]
        {
            assert_eq!(RelayName::parse(text), Err(NotARelayName), "{text}");
        }
        assert_eq!(RelayName::new(&"a".repeat(260), 1), Err(NotARelayName));
    }
}
