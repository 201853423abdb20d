//! Settings that go together, but with which the relay will hardly do what is wanted of it.

use std::fmt;

use rp_protocol::relay::RelayName;

use crate::server::Settings;
use crate::tls::Source;

/// The port on which an authority asks who holds a name.
const ACME_PORT: u16 = 443;

/// What is doubtful about settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// The relay is for others than this machine, but knows itself by names of this machine only.
    LocalNames,
    /// There is a certificate by ACME on a port that no authority asks on.
    AcmePort(u16),
}

impl fmt::Display for Doubt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalNames => formatter.write_str(
                "hosts on other machines will be refused, because the relay knows itself only by names of this machine",
            ),
            Self::AcmePort(port) => write!(
                formatter,
                "the authority asks on TCP port 443, and the relay listens on {port}: unless that port leads here there will be no certificate"
            ),
        }
    }
}

impl Doubt {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::LocalNames => "say what clients call it, such as --name relay.example.org:443",
            Self::AcmePort(_) => "listen on it with --port 443, or have it passed on as it is",
        }
    }
}

/// Everything that is doubtful about these settings.
#[must_use]
pub fn doubts(settings: &Settings) -> Vec<Doubt> {
    let is_public = !settings.trusted_proxies.is_empty()
        || matches!(&settings.certificate, Some(Source::Files { .. } | Source::Acme { .. }));
    let is_acme = matches!(&settings.certificate, Some(Source::Acme { .. }));
    let port = settings.listen.port();
    let has_local_names = is_public && settings.names.iter().all(is_local);
    let has_acme_port = is_acme && port != ACME_PORT;
    let found = [
        has_local_names.then_some(Doubt::LocalNames),
        has_acme_port.then_some(Doubt::AcmePort(port)),
    ];
    found.into_iter().flatten().collect()
}

fn is_local(name: &RelayName) -> bool {
    let host = name.as_str().rsplit_once(':').map_or(name.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
