//! What the relay is told, by flag, environment and file, in this order of precedence.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use ipnet::IpNet;
use rp_protocol::relay::RelayName;
use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::server::{Settings, local_relay_names};
use crate::tls::{Source, local_names};

/// The port when nobody names one.
const DEFAULT_PORT: u16 = 3000;

/// The authority that is asked for certificates.
const ACME_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Everything that can be set. In the file the names have underscores.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Address to listen on, TCP and UDP [default: 0.0.0.0]
    #[arg(long, env = "RP_RELAY_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<IpAddr>,
    /// Port to listen on, TCP and UDP; 0 takes a free one [default: 3000]
    #[arg(long, env = "REMOTEPI_RELAY_PORT", value_name = "PORT")]
    pub port: Option<u16>,
    /// File for memberships [default: data/mesh.redb]
    #[arg(long, env = "RP_RELAY_DATABASE", value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// Host and port by which clients know this relay, such as relay.example.org:443; repeat for
    /// more. Logins for other names are refused [default: localhost and the domains of ACME]
    #[arg(long = "name", env = "RP_RELAY_NAMES", value_name = "HOST:PORT", value_delimiter = ',')]
    pub names: Option<Vec<String>>,
    /// Certificate chain in PEM; read again when it changes
    #[arg(long, env = "RP_RELAY_CERTIFICATE", value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Key of the certificate in PEM
    #[arg(long, env = "RP_RELAY_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Make a certificate of its own; clients know it by the fingerprint that is printed
    #[arg(long, env = "RP_RELAY_SELF_SIGNED", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub self_signed: Option<bool>,
    /// Domain to get a certificate for by ACME (TLS-ALPN on port 443); repeat for more
    #[arg(
        long = "acme-domain",
        env = "RP_RELAY_ACME_DOMAINS",
        value_name = "DOMAIN",
        value_delimiter = ','
    )]
    pub acme_domains: Option<Vec<String>>,
    /// Mail address for the authority
    #[arg(long, env = "RP_RELAY_ACME_CONTACT", value_name = "ADDRESS")]
    pub acme_contact: Option<String>,
    /// Directory of the authority [default: that of Let's Encrypt]
    #[arg(long, env = "RP_RELAY_ACME_DIRECTORY", value_name = "URL")]
    pub acme_directory: Option<String>,
    /// Speak plain HTTP on TCP although there is a certificate: a proxy takes TLS off, and the
    /// certificate is for QUIC
    #[arg(long, env = "RP_RELAY_PLAIN_TCP", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub plain_tcp: Option<bool>,
    /// Network of proxies whose X-Forwarded-For counts; repeat for more [default: none]
    #[arg(
        long = "trusted-proxy",
        env = "RP_RELAY_TRUSTED_PROXIES",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    pub trusted_proxies: Option<Vec<IpNet>>,
    /// Form of the log: text or json [default: text]
    #[arg(long, env = "RP_RELAY_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Largest content of an envelope, in MiB; 0 is the default [default: 4]
    #[arg(long, env = "RELAY_MAX_CT_MIB", value_name = "MIB")]
    pub max_content_mib: Option<u64>,
    /// Connections in all; further ones are closed at once [default: 50000]
    #[arg(long, env = "RP_RELAY_MAX_CONNECTIONS", value_name = "COUNT")]
    pub max_connections: Option<usize>,
    /// Connections of one address, or one /64 of IPv6, loopback apart; further ones are closed at
    /// once, or get status 429 behind a proxy [default: 512]
    #[arg(long, env = "RP_RELAY_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT")]
    pub max_connections_per_address: Option<usize>,
    /// Connections accepted in a second; further ones wait, over QUIC they are refused [default:
    /// 5000]
    #[arg(long, env = "RP_RELAY_HANDSHAKES_PER_SECOND", value_name = "COUNT")]
    pub handshakes_per_second: Option<u32>,
    /// Frames of one peer in a second; further ones are read later [default: 50000]
    #[arg(long, env = "RP_RELAY_FRAMES_PER_SECOND", value_name = "COUNT")]
    pub frames_per_second: Option<u32>,
    /// Bytes of one peer in a second; further ones are read later [default: 128 MiB]
    #[arg(long, env = "RP_RELAY_BYTES_PER_SECOND", value_name = "BYTES")]
    pub bytes_per_second: Option<u64>,
    /// Peers that one peer can watch, for presence and for rooms; others of its list are not
    /// watched [default: 4096]
    #[arg(long, env = "RP_RELAY_MAX_SUBSCRIPTIONS", value_name = "COUNT")]
    pub max_subscriptions: Option<usize>,
    /// Open rooms of one peer; the connection with a further one is closed [default: 1024]
    #[arg(long, env = "RP_RELAY_MAX_ROOMS", value_name = "COUNT")]
    pub max_rooms: Option<usize>,
    /// Bytes that wait for one connection; one that falls further behind is cut off [default: 32
    /// MiB]
    #[arg(long, env = "RP_RELAY_MAX_QUEUE_BYTES", value_name = "BYTES")]
    pub max_queue_bytes: Option<usize>,
    /// Bytes held for all connections, waiting, received in part or not handled yet; whoever they
    /// grow further for is cut off [default: 1 GiB]
    #[arg(long, env = "RP_RELAY_MAX_QUEUED_BYTES", value_name = "BYTES")]
    pub max_queued_bytes: Option<usize>,
    /// Owners whose membership is kept; further ones get status 503 [default: 1000000]
    #[arg(long, env = "RP_RELAY_MAX_OWNERS", value_name = "COUNT")]
    pub max_owners: Option<u64>,
    /// Memberships published in a second; further ones get status 429 [default: 200]
    #[arg(long, env = "RP_RELAY_PUBLICATIONS_PER_SECOND", value_name = "COUNT")]
    pub publications_per_second: Option<u32>,
    /// The same from one address, or one /64 of IPv6, whether they are accepted or not; loopback
    /// apart [default: 20]
    #[arg(long, env = "RP_RELAY_PUBLICATIONS_PER_SECOND_PER_ADDRESS", value_name = "COUNT")]
    pub publications_per_second_per_address: Option<u32>,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object in each line.
    Json,
}

/// Why the options cannot be used: what, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{} is not right: {reason}\nhint: its names are those of the flags, with underscores", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// Two of them exclude each other, or one lacks another.
    #[error("{0}")]
    Combination(&'static str),
    /// A name that is none.
    #[error(
        "{name} is no name of a relay\nhint: write host and port, such as relay.example.org:443"
    )]
    Name {
        /// What was given.
        name: String,
    },
}

impl Options {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or holds an unknown name or a value of another kind.
    pub fn read(path: &Path) -> Result<Self, OptionsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| OptionsError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| OptionsError::Parse {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    /// These, and where they say nothing, those.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        macro_rules! first {
            ($($name:ident),+ $(,)?) => { Self { $($name: self.$name.or(other.$name),)+ } };
        }
        first!(
            listen,
            port,
            database,
            names,
            certificate,
            key,
            self_signed,
            acme_domains,
            acme_contact,
            acme_directory,
            plain_tcp,
            trusted_proxies,
            log_format,
            max_content_mib,
            max_connections,
            max_connections_per_address,
            handshakes_per_second,
            frames_per_second,
            bytes_per_second,
            max_subscriptions,
            max_rooms,
            max_queue_bytes,
            max_queued_bytes,
            max_owners,
            publications_per_second,
            publications_per_second_per_address,
        )
    }

    /// What they come to.
    ///
    /// # Errors
    /// They do not go together.
    pub fn settings(&self) -> Result<Settings, OptionsError> {
        let address = self.listen.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let listen = SocketAddr::new(address, self.port.unwrap_or(DEFAULT_PORT));
        let database = self.database.clone().unwrap_or_else(|| "data/mesh.redb".into());
        Ok(Settings {
            listen,
            names: self.relay_names(listen)?,
            certificate: self.source(listen, &database)?,
            plain_tcp: self.plain_tcp.unwrap_or(false),
            database,
            trusted_proxies: self.trusted_proxies.clone().unwrap_or_default(),
            limits: self.limits(),
        })
    }

    fn source(&self, listen: SocketAddr, database: &Path) -> Result<Option<Source>, OptionsError> {
        let folder = database.parent().unwrap_or(Path::new("")).to_owned();
        let domains = self.acme_domains.clone().unwrap_or_default();
        let is_own = self.self_signed.unwrap_or(false);
        match (&self.certificate, &self.key, is_own, domains.is_empty()) {
            (None, None, false, true) => Ok(None),
            (Some(certificate), Some(key), false, true) => {
                Ok(Some(Source::Files { certificate: certificate.clone(), key: key.clone() }))
            }
            (None, None, true, true) => {
                let file = folder.join("self-signed.pem");
                Ok(Some(Source::Own { file, names: self.certificate_names(listen) }))
            }
            (None, None, false, false) if self.plain_tcp.unwrap_or(false) => {
                Err(OptionsError::Combination(
                    "an authority asks by TLS on TCP, where only plain HTTP is spoken\nhint: leave out --plain-tcp, or give --certificate and --key instead of --acme-domain",
                ))
            }
            (None, None, false, false) => Ok(Some(Source::Acme {
                domains,
                contact: self.acme_contact.clone(),
                cache: folder.join("acme"),
                directory: self.acme_directory.clone().unwrap_or_else(|| ACME_DIRECTORY.to_owned()),
            })),
            (Some(_), None, ..) | (None, Some(_), ..) => Err(OptionsError::Combination(
                "certificate and key belong together\nhint: give both --certificate and --key",
            )),
            _ => Err(OptionsError::Combination(
                "there is more than one certificate\nhint: give files, --self-signed or --acme-domain",
            )),
        }
    }

    /// The hosts that a certificate of its own is valid for.
    fn certificate_names(&self, listen: SocketAddr) -> Vec<String> {
        let mut names = local_names(listen);
        for name in self.names.iter().flatten() {
            let host = name.rsplit_once(':').map_or(name.as_str(), |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            if !names.contains(&host) {
                names.push(host);
            }
        }
        names
    }

    fn relay_names(&self, listen: SocketAddr) -> Result<Vec<RelayName>, OptionsError> {
        let named = match (&self.names, &self.acme_domains) {
            (Some(names), _) => names.clone(),
            (None, Some(domains)) => domains.iter().map(|domain| format!("{domain}:443")).collect(),
            (None, None) => return Ok(local_relay_names(listen.port())),
        };
        let parse = |name: String| RelayName::parse(&name).map_err(|_| OptionsError::Name { name });
        named.into_iter().map(parse).collect()
    }

    fn limits(&self) -> Limits {
        let default = Limits::default();
        let content =
            self.max_content_mib.filter(|mib| *mib > 0).map(|mib| mib.saturating_mul(1 << 20));
        Limits {
            connections: self.max_connections.unwrap_or(default.connections),
            connections_per_address: self
                .max_connections_per_address
                .unwrap_or(default.connections_per_address),
            handshakes_per_second: self
                .handshakes_per_second
                .unwrap_or(default.handshakes_per_second),
            frames_per_second: self.frames_per_second.unwrap_or(default.frames_per_second),
            bytes_per_second: self.bytes_per_second.unwrap_or(default.bytes_per_second),
            subscriptions: self.max_subscriptions.unwrap_or(default.subscriptions),
            rooms: self.max_rooms.unwrap_or(default.rooms),
            content_bytes: content.unwrap_or(default.content_bytes),
            queue_bytes: self.max_queue_bytes.unwrap_or(default.queue_bytes),
            queued_bytes: self.max_queued_bytes.unwrap_or(default.queued_bytes),
            owners: self.max_owners.unwrap_or(default.owners),
            publications_per_second: self
                .publications_per_second
                .unwrap_or(default.publications_per_second),
            publications_per_second_per_address: self
                .publications_per_second_per_address
                .unwrap_or(default.publications_per_second_per_address),
        }
    }
}
