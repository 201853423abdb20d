//! The command line's side of the control API: HTTP/1.1 over the Unix socket.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
};

use crate::{
    api,
    problem::{Problem, While},
};

/// A daemon that does not answer a question for so long is not well. It takes its time only
/// with what waits for harnesses or messages.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(700);

/// An answer larger than this is refused.
const LARGEST_ANSWER: usize = 256 * 1024 * 1024;

/// Speaks to the daemon of one state root.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    token: Option<String>,
}

impl Client {
    /// A client of the daemon behind this socket; nothing is connected yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, token: None }
    }

    /// Speaks as an agent instead of as the person.
    pub fn speaking_as(mut self, token: String) -> Self {
        self.token = Some(token);
        self
    }

    /// Whether somebody listens.
    pub async fn is_up(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    /// Reads something.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// Asks for something.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Problem> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Takes something away.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.call(Method::DELETE, path, None::<&()>).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Problem> {
        let waits = method != Method::GET || path.contains("wait_ms=");
        let limit = if waits { LONGEST_WAIT } else { LONGEST_ANSWER };
        match tokio::time::timeout(limit, self.ask(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(Problem::unreachable(format!(
                "the daemon has not answered for {} s",
                limit.as_secs()
            ))
            .hint("it may be stopped or overloaded; `rp-host logs` may say why")),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Problem> {
        let response = self.request(method, path, body).await?;
        let body = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| {
                Problem::unreachable(format!("the daemon's answer broke off: {error}"))
            })?
            .to_bytes();
        serde_json::from_slice(&body).map_err(|error| {
            Problem::failed(format!("the daemon's answer was not understood: {error}"))
                .hint("the daemon may be of another version: restart it with `rp-host stop`")
        })
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<hyper::Response<Incoming>, Problem> {
        let unreachable = |reason: String| {
            Problem::unreachable(format!(
                "the daemon does not answer on {}: {reason}",
                self.socket.display()
            ))
            .hint("start it with `rp-host serve`")
        };
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|e| unreachable(e.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| unreachable(e.to_string()))?;
        tokio::spawn(connection);

        let content = match body {
            Some(body) => serde_json::to_vec(body).doing("write the request")?,
            None => Vec::new(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "rp-host")
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(content))).doing("write the request")?;
        let response =
            sender.send_request(request).await.map_err(|e| unreachable(e.to_string()))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    /// Asks for something that is there as long as the connection is held: its first event, and the
    /// rest of the stream.
    pub async fn hold<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(T, Held), Problem> {
        let body = self.request(Method::POST, path, Some(body)).await?.into_body();
        let mut held = Held { body, pending: Vec::new() };
        let first = held.next().await.ok_or_else(|| {
            Problem::unreachable("the daemon's answer broke off").hint("`rp-host logs` may say why")
        })?;
        let first = serde_json::from_slice(&first).doing("read the daemon's answer")?;
        Ok((first, held))
    }

    /// Follows events, for as long as it is held.
    pub async fn stream(&self, path: &str) -> Result<Held, Problem> {
        let body = self.request(Method::GET, path, None::<&()>).await?.into_body();
        Ok(Held { body, pending: Vec::new() })
    }

    /// Sends the newest events of a session, then the live ones, into a channel, until nobody
    /// listens to it or the daemon ends them. `begun` is told once none can be missed any more.
    pub async fn events(
        &self,
        agent: &str,
        last: u64,
        to: mpsc::Sender<api::NumberedEvent>,
        begun: oneshot::Sender<()>,
    ) -> Result<(), Problem> {
        let path = format!("/v1/agents/{agent}/events?last={last}");
        let body = self.request(Method::GET, &path, None::<&()>).await?.into_body();
        // Nobody may wait for it.
        let _ = begun.send(());
        let mut events = Held { body, pending: Vec::new() };
        // A daemon that ends breaks the stream off; the caller says so.
        while let Some(json) = events.next().await {
            let event = serde_json::from_slice(&json).doing("read an event")?;
            if to.send(event).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits until a daemon answers, at most this long. `is_hopeless` is asked again and again
    /// and can end the wait.
    pub async fn wait_until_up(
        &self,
        limit: Duration,
        mut is_hopeless: impl FnMut() -> bool,
    ) -> bool {
        let deadline = tokio::time::Instant::now() + limit;
        while tokio::time::Instant::now() < deadline {
            // In this order: what ended may have become ready for a moment, or somebody else.
            let hopeless = is_hopeless();
            if self.is_up().await {
                return true;
            }
            if hopeless {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// Waits until nobody listens any more.
    pub async fn wait_until_down(&self) {
        while self.is_up().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A stream of events that is being held. Dropping it hangs up.
pub struct Held {
    body: Incoming,
    pending: Vec<u8>,
}

impl Held {
    /// The JSON of the next event; nothing when the daemon ended the stream.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                if let Some(json) = line.strip_prefix(b"data:") {
                    return Some(json.to_vec());
                }
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.pending.extend_from_slice(&data);
            }
        }
    }

    /// The next event; nothing when the daemon ended the stream.
    pub async fn next_as<T: DeserializeOwned>(&mut self) -> Option<Result<T, Problem>> {
        let json = self.next().await?;
        Some(serde_json::from_slice(&json).doing("read an event"))
    }

    /// Waits until the daemon ended the stream; gives the last event.
    pub async fn last<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut last = None;
        while let Some(event) = self.next().await {
            last = serde_json::from_slice(&event).ok();
        }
        last
    }
}

async fn refusal(response: hyper::Response<Incoming>) -> Problem {
    let status = response.status();
    let body = match Limited::new(response.into_body(), LARGEST_ANSWER).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Problem::failed(format!("the daemon's answer broke off: {error}")),
    };
    let Ok(body) = serde_json::from_slice::<api::ErrorBody>(&body) else {
        return Problem::failed(format!("the daemon refused with status {status}"));
    };
    let problem = if status == StatusCode::BAD_REQUEST {
        Problem::usage(body.error.message)
    } else {
        Problem::failed(body.error.message)
    };
    match body.error.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
