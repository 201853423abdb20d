//! A client of the mesh written from its wire format alone: JSON lines on a Unix socket. It
//! shares no code with the broker, so that a mistake there is not repeated here.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use crate::PATIENCE;

/// A connection that says and hears whatever a test wants.
pub struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
}

impl Connection {
    /// Connects to the broker's socket.
    pub async fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).await;
        let stream = stream.with_context(|| format!("connect to {}", socket.display()))?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: BufReader::new(reader), writer, line: Vec::new() })
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(PATIENCE, self.writer.write_all(bytes))
            .await
            .context("the broker does not read")??;
        Ok(())
    }

    /// Sends one value as a line.
    pub async fn send(&mut self, value: &Value) -> Result<()> {
        self.send_bytes(format!("{value}\n").as_bytes()).await
    }

    /// The next line, or nothing when the broker closed the connection.
    ///
    /// # Errors
    /// When neither happens within [`PATIENCE`], or the line is not JSON.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        timeout(PATIENCE, self.next_unbounded()).await.context("the broker says nothing")?
    }

    /// The next line if it comes within this time. For showing that nothing comes.
    ///
    /// # Errors
    /// When the line is not JSON or the broker closed the connection.
    pub async fn next_within(&mut self, limit: Duration) -> Result<Option<Value>> {
        match timeout(limit, self.next_unbounded()).await {
            Err(_) => Ok(None),
            Ok(Ok(None)) => bail!("the broker closed the connection"),
            Ok(value) => value,
        }
    }

    async fn next_unbounded(&mut self) -> Result<Option<Value>> {
        match self.reader.read_until(b'\n', &mut self.line).await {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let line = std::mem::take(&mut self.line);
        serde_json::from_slice(&line).context("a line that is not JSON").map(Some)
    }

    /// Registers and gives the acknowledgement.
    ///
    /// # Errors
    /// When the broker closes the connection instead.
    pub async fn register(&mut self, name: &str, cwd: &str) -> Result<Value> {
        self.send(&json!({ "type": "register", "name": name, "cwd": cwd })).await?;
        self.next().await?.context("the broker refused the registration")
    }

    /// Asks who is there without registering.
    pub async fn probe(&mut self) -> Result<Value> {
        self.send(&json!({ "type": "list_peers" })).await?;
        self.next().await?.context("the broker closed the connection")
    }
}

/// A registered peer.
pub struct Peer {
    /// What others send to.
    pub address: String,
    /// The name the broker gave it.
    pub name: String,
    connection: Connection,
    /// What arrived while something else was awaited, oldest first.
    waiting: Vec<Value>,
}

impl Peer {
    /// Connects and registers.
    pub async fn join(socket: &Path, name: &str, cwd: &str) -> Result<Self> {
        let mut connection = Connection::open(socket).await?;
        let ack = connection.register(name, cwd).await?;
        let field = |key: &str| {
            let value = ack.get(key).and_then(Value::as_str).map(str::to_owned);
            value.with_context(|| format!("no {key} in {ack}"))
        };
        let (address, name) = (field("address_assigned")?, field("name_assigned")?);
        Ok(Self { address, name, connection, waiting: Vec::new() })
    }

    /// The connection itself, for saying what no peer should say.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Sends an envelope and gives its id. `to` is an address or a list of them.
    pub async fn send(&mut self, to: impl Into<Value>, body: impl Into<Value>) -> Result<String> {
        self.send_envelope(to.into(), body.into(), Value::Null).await
    }

    /// Answers an envelope.
    pub async fn answer(&mut self, envelope: &Value, body: impl Into<Value>) -> Result<String> {
        let part = |key: &str| envelope.get(key).cloned().with_context(|| format!("no {key}"));
        self.send_envelope(part("from")?, body.into(), part("id")?).await
    }

    async fn send_envelope(&mut self, to: Value, body: Value, re: Value) -> Result<String> {
        let id = uuid::Uuid::now_v7().to_string();
        // The broker puts the address here; real clients send their name.
        let from = &self.name;
        let envelope = json!({ "from": from, "to": to, "id": id, "re": re, "body": body });
        self.connection.send(&envelope).await?;
        Ok(id)
    }

    /// The next envelope of any kind.
    pub async fn next(&mut self) -> Result<Value> {
        self.next_where(|_| true).await
    }

    /// The next envelope that is not the broker's own.
    pub async fn next_message(&mut self) -> Result<Value> {
        self.next_where(|envelope| !is_from_broker(envelope)).await
    }

    /// The broker's acknowledgement of the message with this id: its body.
    pub async fn ack(&mut self, id: &str) -> Result<Value> {
        let wanted = |envelope: &Value| {
            is_from_broker(envelope) && envelope.get("re").and_then(Value::as_str) == Some(id)
        };
        let envelope = self.next_where(wanted).await?;
        envelope.get("body").cloned().context("no body")
    }

    /// The broker's next notice of this type, `peer_joined` or `peer_left`: its body.
    pub async fn notice(&mut self, kind: &str) -> Result<Value> {
        let wanted = |envelope: &Value| {
            is_from_broker(envelope)
                && envelope.pointer("/body/type").and_then(Value::as_str) == Some(kind)
        };
        let envelope = self.next_where(wanted).await?;
        envelope.get("body").cloned().context("no body")
    }

    /// The addresses on the mesh, this one included.
    pub async fn list_peers(&mut self) -> Result<Vec<String>> {
        let id = self.send("broker", json!({ "type": "list_peers" })).await?;
        let roster = self.ack(&id).await?;
        let peers = roster.get("peers").and_then(Value::as_array).context("no peers")?;
        Ok(peers.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Waits until the broker closes the connection.
    pub async fn closed(&mut self) -> Result<()> {
        while self.connection.next().await?.is_some() {}
        Ok(())
    }

    /// The first envelope that fits. Others are kept for later, in their order.
    pub async fn next_where(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        if let Some(at) = self.waiting.iter().position(&fits) {
            return Ok(self.waiting.remove(at));
        }
        loop {
            let envelope =
                self.connection.next().await?.context("the broker closed the connection")?;
            if fits(&envelope) {
                return Ok(envelope);
            }
            self.waiting.push(envelope);
        }
    }
}

fn is_from_broker(envelope: &Value) -> bool {
    envelope.get("from").and_then(Value::as_str) == Some("broker")
}
