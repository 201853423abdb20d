//! A client of a daemon's control API.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::PATIENCE;

/// The control API of a state root. It outlives the daemon that serves it, and reaches the next.
#[derive(Debug, Clone)]
pub struct Control {
    /// The socket.
    pub socket: PathBuf,
}

impl Control {
    /// Asks.
    ///
    /// # Errors
    /// When nobody answers, or the answer is no success.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Tells.
    ///
    /// # Errors
    /// When nobody answers, or the answer is no success.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, body.to_string().into()).await
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Value> {
        let call = async {
            let stream = UnixStream::connect(&self.socket).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let connection = tokio::spawn(connection);
            let request = Request::builder().method(method).uri(path).header("host", "localhost");
            let request = request.header("content-type", "application/json");
            let response = sender.send_request(request.body(Full::new(body))?).await?;
            let status = response.status();
            let text = response.into_body().collect().await?.to_bytes();
            connection.abort();
            ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&text));
            Ok(if text.is_empty() { Value::Null } else { serde_json::from_slice(&text)? })
        };
        tokio::time::timeout(PATIENCE, call).await.context("the control API does not answer")?
    }
}
