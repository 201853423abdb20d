//! What a relay answers over HTTP: it keeps the memberships of owners.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::link::Relay;
use crate::trust::client_config;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HttpError(String);

impl HttpError {
    fn of(error: impl std::fmt::Display) -> Self {
        HttpError(error.to_string())
    }
}

/// Reads something: status and body. `path` begins with a slash and follows the relay's URL. A body
/// of more than `most` bytes is an error.
///
/// # Errors
/// When no answer came before `deadline`.
pub async fn get(
    relay: &Relay,
    path: &str,
    most: usize,
    deadline: Duration,
) -> Result<(u16, Bytes), HttpError> {
    let request = request(relay, Method::GET, path, Bytes::new())?;
    within(deadline, ask(relay, request, most)).await
}

/// Posts JSON: status and body of the answer, as with [`get`].
///
/// # Errors
/// When no answer came before `deadline`; the relay may have taken it.
pub async fn post(
    relay: &Relay,
    path: &str,
    json: String,
    most: usize,
    deadline: Duration,
) -> Result<(u16, Bytes), HttpError> {
    let request = request(relay, Method::POST, path, Bytes::from(json))?;
    within(deadline, ask(relay, request, most)).await
}

fn request(
    relay: &Relay,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, HttpError> {
    Request::builder()
        .method(method)
        .uri(format!("{}{path}", relay.url.path()))
        .header("host", relay.url.authority())
        .header("content-type", "application/json")
        .body(Full::new(body))
        .map_err(HttpError::of)
}

async fn within<T>(
    deadline: Duration,
    asking: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    match tokio::time::timeout(deadline, asking).await {
        Ok(answer) => answer,
        Err(_) => {
            Err(HttpError(format!("the relay gave no answer within {} s", deadline.as_secs())))
        }
    }
}

async fn ask(
    relay: &Relay,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<(u16, Bytes), HttpError> {
    let host = relay.url.host();
    let stream = TcpStream::connect((host.as_str(), relay.url.port())).await;
    let stream = stream.map_err(HttpError::of)?;
    if !relay.url.is_encrypted() {
        return converse(stream, request, most).await;
    }
    let config = client_config(relay.trust, b"http/1.1").map_err(HttpError::of)?;
    let name = ServerName::try_from(host).map_err(HttpError::of)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    converse(stream.map_err(HttpError::of)?, request, most).await
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<(u16, Bytes), HttpError> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(HttpError::of)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(HttpError::of)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), most).collect().await.map_err(HttpError::of)?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(answer);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut answer => answer,
        // Its end comes before the last bytes of the answer are taken.
        _ = &mut connection => answer.await,
    }
}
