//! Which relay: the URL a person gives, and what connecting makes of it.

use std::fmt;

use rp_protocol::relay::RelayName;
use url::{Host, Url};

/// The relay of those who name none.
pub const DEFAULT_RELAY: &str = "https://relay-rp1.jacobmoura.work";

/// Where a host's relay was read. In their order: the first that is not empty decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The environment variable `REMOTE_PI_RELAY`.
    Environment,
    /// `relay` in the file `config.json`.
    File,
    /// [`DEFAULT_RELAY`].
    Default,
}

/// Chooses the relay's URL, from the environment and the file as they are.
#[must_use]
pub fn choose<'a>(environment: Option<&'a str>, file: Option<&'a str>) -> (&'a str, Source) {
    match (environment, file) {
        (Some(url), _) if !url.is_empty() => (url, Source::Environment),
        (_, Some(url)) if !url.is_empty() => (url, Source::File),
        _ => (DEFAULT_RELAY, Source::Default),
    }
}

/// The URL of a relay, `http://` or `https://`, with the text that it was given as.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayUrl {
    text: String,
    url: Url,
    name: RelayName,
}

/// Why a text is no URL of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotARelayUrl {
    /// It is that of a WebSocket.
    #[error("the relay's URL begins with ws:// or wss://")]
    WebSocket,
    /// It is none, or has another scheme.
    #[error("the relay's URL is not one of http:// or https://")]
    Other,
}

impl NotARelayUrl {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            NotARelayUrl::WebSocket => {
                "write http:// instead of ws://, and https:// instead of wss://"
            }
            NotARelayUrl::Other => "a relay's URL looks like https://relay.example.org",
        }
    }
}

impl RelayUrl {
    /// Reads what a person typed. White space around it is taken off; the rest is kept as it is.
    ///
    /// # Errors
    /// When it is no `http://` or `https://` URL, in any case of the letters.
    pub fn from_person(typed: &str) -> Result<Self, NotARelayUrl> {
        let typed = typed.trim();
        if scheme(typed).is_some_and(|scheme| matches!(scheme.as_str(), "ws" | "wss")) {
            return Err(NotARelayUrl::WebSocket);
        }
        RelayUrl::of(typed)
    }

    /// Reads what stands in the environment or in a file: there `ws://` and `wss://` are good as well.
    ///
    /// # Errors
    /// When nothing can be connected to under it.
    pub fn from_settings(text: &str) -> Result<Self, NotARelayUrl> {
        match (scheme(text).as_deref(), text.split_once("://")) {
            (Some("ws"), Some((_, rest))) => RelayUrl::of(&format!("http://{rest}")),
            (Some("wss"), Some((_, rest))) => RelayUrl::of(&format!("https://{rest}")),
            _ => RelayUrl::of(text),
        }
    }

    fn of(text: &str) -> Result<Self, NotARelayUrl> {
        let url = Url::parse(text).map_err(|_| NotARelayUrl::Other)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(NotARelayUrl::Other);
        }
        let host = url.host_str().ok_or(NotARelayUrl::Other)?;
        let port = url.port_or_known_default().ok_or(NotARelayUrl::Other)?;
        let name = RelayName::new(host, port).map_err(|_| NotARelayUrl::Other)?;
        Ok(RelayUrl { text: text.to_owned(), url, name })
    }

    /// As it was given: what is kept and shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name a login is bound to.
    #[must_use]
    pub fn name(&self) -> &RelayName {
        &self.name
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The URL of the WebSocket: another scheme, the rest as it was given.
    #[must_use]
    pub fn websocket(&self) -> String {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        format!("{}://{rest}", if self.is_encrypted() { "wss" } else { "ws" })
    }

    /// The host without brackets, as the system resolves it and certificates name it.
    pub(crate) fn host(&self) -> String {
        match self.url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        }
    }

    /// Host and port as they stand in the URL.
    pub(crate) fn authority(&self) -> &str {
        self.url.authority()
    }

    /// The path without the slash at its end.
    pub(crate) fn path(&self) -> &str {
        self.url.path().trim_end_matches('/')
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RelayUrl({})", self.name)
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn scheme(text: &str) -> Option<String> {
    text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn the_environment_comes_before_the_file_and_that_before_the_default() {
        assert_eq!(choose(Some("http://a"), Some("http://b")), ("http://a", Source::Environment));
        assert_eq!(choose(Some(""), Some("http://b")), ("http://b", Source::File));
        assert_eq!(choose(None, Some("")), (DEFAULT_RELAY, Source::Default));
    }

    #[test]
    fn what_a_person_typed_is_kept_as_it_is() {
        let url = RelayUrl::from_person("  HTTPS://Relay.Example.org/path/ ").unwrap();
        assert_eq!(url.as_str(), "HTTPS://Relay.Example.org/path/");
        assert_eq!(url.websocket(), "wss://Relay.Example.org/path/");
        assert_eq!(url.name().as_str(), "relay.example.org:443");
        let plain = RelayUrl::from_person("http://[::1]:3000").unwrap();
        assert_eq!((plain.websocket().as_str(), plain.is_encrypted()), ("ws://[::1]:3000", false));
        assert_eq!((plain.host().as_str(), plain.port()), ("::1", 3000));
    }

    #[test]
    fn a_person_is_told_what_is_wrong() {
        for text in ["ws://a", "WSS://a"] {
            assert_eq!(RelayUrl::from_person(text), Err(NotARelayUrl::WebSocket), "{text}");
        }
        for text in ["", "relay.example.org", "ftp://a", "https://", "http:// a"] {
            assert_eq!(RelayUrl::from_person(text), Err(NotARelayUrl::Other), "{text}");
        }
    }

    #[test]
    fn settings_may_name_the_websocket() {
        let url = RelayUrl::from_settings("wss://relay.example.org:444").unwrap();
        assert_eq!(url.as_str(), "https://relay.example.org:444");
    }
}
