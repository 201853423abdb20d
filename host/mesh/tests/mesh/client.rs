//! A peer as any program could be one: it knows the wire and nothing of this crate.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// How long anything may take before the test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    pub address: String,
    pub name: String,
}

pub fn id() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl Client {
    pub async fn connect(socket: &Path) -> Client {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (reader, writer) = stream.into_split();
        Client {
            reader: BufReader::new(reader),
            writer,
            address: String::new(),
            name: String::new(),
        }
    }

    /// Registers; the answer is the first line that comes.
    pub async fn register(socket: &Path, name: &str, cwd: &str) -> Client {
        let mut request = json!({"type": "register", "name": name});
        if !cwd.is_empty() {
            request["cwd"] = json!(cwd);
        }
        Client::register_with(socket, &request).await
    }

    pub async fn register_with(socket: &Path, request: &Value) -> Client {
        let mut client = Client::connect(socket).await;
        client.write(&format!("{request}\n")).await;
        let answer = client.line().await;
        assert_eq!(answer["type"], "register_ack");
        client.address = answer["address_assigned"].as_str().unwrap().to_owned();
        client.name = answer["name_assigned"].as_str().unwrap().to_owned();
        client
    }

    pub async fn write(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).await.unwrap();
    }

    pub async fn write_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.writer.write_all(bytes).await
    }

    /// Sends an envelope with a false sender, as the broker does not care for it.
    pub async fn send(&mut self, to: impl Into<Value>, body: Value) -> String {
        self.send_answer(to, body, Value::Null).await
    }

    pub async fn send_answer(&mut self, to: impl Into<Value>, body: Value, re: Value) -> String {
        let id = id();
        let to = to.into();
        let envelope = json!({"from": "somebody", "to": to, "id": id, "re": re, "body": body});
        self.write(&format!("{envelope}\n")).await;
        id
    }

    pub async fn raw_line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read =
            timeout(PATIENCE, self.reader.read_line(&mut line)).await.expect("a line in time");
        match read {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line),
        }
    }

    /// The next line, whatever it is.
    pub async fn line(&mut self) -> Value {
        serde_json::from_str(&self.raw_line().await.expect("not the end")).unwrap()
    }

    /// The next line that is not about peers coming and going.
    pub async fn message(&mut self) -> Value {
        loop {
            let line = self.line().await;
            if line["body"]["type"] != "peer_joined" && line["body"]["type"] != "peer_left" {
                return line;
            }
        }
    }

    /// The acknowledgement that must come next, and its status.
    pub async fn ack(&mut self, id: &str) -> (String, String) {
        let line = self.message().await;
        assert_eq!(line["from"], "broker");
        assert_eq!(line["to"], self.address);
        assert_eq!(line["re"], id);
        assert_eq!(line["body"]["type"], "ack");
        let text = |key: &str| line["body"][key].as_str().unwrap().to_owned();
        (text("status"), text("target"))
    }

    pub async fn received_by(&mut self, id: &str) -> String {
        let (status, target) = self.ack(id).await;
        assert_eq!(status, "received");
        target
    }

    /// The roster. Fails when anything but notices comes before it, so it also shows that nothing
    /// else was said.
    pub async fn roster(&mut self) -> Value {
        let id = self.send("broker", json!({"type": "list_peers"})).await;
        let line = self.message().await;
        assert_eq!(line["body"]["type"], "list_peers_reply", "said before: {line}");
        assert_eq!(line["re"], id);
        line["body"].clone()
    }

    pub async fn peers(&mut self) -> Vec<String> {
        let roster = self.roster().await;
        let peers = roster["peers"].as_array().unwrap();
        peers.iter().map(|peer| peer.as_str().unwrap().to_owned()).collect()
    }

    pub async fn hears_nothing(&mut self) {
        self.roster().await;
    }

    /// Reads some bytes, whatever they belong to.
    pub async fn read_some(&mut self, count: usize) -> Vec<u8> {
        let mut some = vec![0; count];
        let read = timeout(PATIENCE, self.reader.read_exact(&mut some)).await;
        read.expect("bytes in time").unwrap();
        some
    }

    /// Reads up to the end of the stream.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        let end = timeout(PATIENCE, self.reader.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the connection was not closed");
    }

    /// The next notice and whom it is about.
    pub async fn notice(&mut self) -> (String, String) {
        let line = self.line().await;
        assert_eq!(line["from"], "broker");
        assert_eq!(line["to"], self.address);
        assert_eq!(line["re"], Value::Null);
        assert_eq!(line["body"]["name"], line["body"]["address"]);
        let text = |key: &str| line["body"][key].as_str().unwrap().to_owned();
        (text("type"), text("address"))
    }
}
