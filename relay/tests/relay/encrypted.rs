//! TLS: certificates of one's own, and those that somebody else renews.

use std::path::Path;
use std::sync::Arc;

use rp_relay::tls::{Source, fingerprint, local_names};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{PATIENCE, TestRelay};

/// Believes every certificate; the tests look at it themselves.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// TLS for clients that look at certificates themselves.
pub fn believing_everything() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth()
}

/// The certificate that a relay shows, and its answer to `GET /health`.
async fn ask(relay: &TestRelay) -> (String, String) {
    let config = believing_everything();
    let stream = TcpStream::connect(relay.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let shown = fingerprint(&stream.get_ref().1.peer_certificates().unwrap()[0]);
    let request = b"GET /health HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    (shown, answer)
}

fn make(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    // The key first: a certificate whose key is not there yet must not be taken.
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    fingerprint(made.cert.der())
}

#[tokio::test]
async fn a_certificate_of_its_own_is_made_once_and_known_by_its_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.pem");
    let start = || {
        let names = local_names(([127, 0, 0, 1], 0).into());
        let certificate = Some(Source::Own { file: file.clone(), names });
        TestRelay::start_with(|settings| settings.certificate = certificate)
    };
    let relay = start().await;
    let expected = relay.relay.fingerprint().unwrap().to_owned();
    let (shown, answer) = ask(&relay).await;
    assert_eq!(shown, expected);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("OK"), "{answer}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(start().await.relay.fingerprint(), Some(expected.as_str()));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let first = make(folder.path());
    let certificate = folder.path().join("cert.pem");
    let source =
        Source::Files { certificate: certificate.clone(), key: folder.path().join("key.pem") };
    let relay = TestRelay::start_with(|settings| settings.certificate = Some(source)).await;
    assert_eq!(ask(&relay).await.0, first);
    std::fs::write(&certificate, "no certificate").unwrap();
    assert_eq!(ask(&relay).await.0, first);
    let second = make(folder.path());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while ask(&relay).await.0 != second {
        assert!(tokio::time::Instant::now() < deadline, "the old certificate is still shown");
    }
}

#[tokio::test]
async fn who_speaks_no_tls_where_that_is_spoken_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.pem");
    let names = local_names(([127, 0, 0, 1], 0).into());
    let certificate = Some(Source::Own { file, names });
    let relay = TestRelay::start_with(|settings| settings.certificate = certificate).await;
    let mut stream = TcpStream::connect(relay.address()).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    assert_eq!(ask(&relay).await.0, relay.relay.fingerprint().unwrap());
}
