//! A machine of the owner that speaks only the old wire, on which nothing is sealed. It shares no code
//! of that wire with the host: what it says is written here as the wire's reference has it.

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use rp_link::{RelayUrl, Trust};
use rp_protocol::{
    key::{PublicKey, SecretKey},
    membership::{Answer, Member},
    owner::owner_from_words,
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::{
    PATIENCE,
    host::Host,
    machines::{machine, sees},
    relay::{Relay, publish},
};

type Socket = WebSocketStream<TcpStream>;

/// How many frames may wait on either side.
const MAX_FRAMES: usize = 256;

/// One that is logged in.
pub struct OldMachine {
    said: mpsc::Sender<Value>,
    heard: mpsc::Receiver<Value>,
}

/// A machine `lab` that has the owner's key, and one called `old` that `lab` sees.
pub async fn beside_an_old_one(relay: &Relay) -> Result<(Host, OldMachine)> {
    let lab = machine(relay).await?;
    let created = lab.run_json(&["mesh", "create", "--name", "lab"]).await?;
    let words = created.get("recovery_words").and_then(Value::as_str).context("no words")?;
    let old = OldMachine::join(relay, words, "old").await?;
    sees(&lab, "old", "online-legacy").await?;
    Ok((lab, old))
}

impl OldMachine {
    /// Logs in, and is added to the mesh whose owner has these recovery words.
    pub async fn join(relay: &Relay, words: &str, nickname: &str) -> Result<Self> {
        let owner = owner_from_words(words)?;
        let key = SecretKey::from_seed(&[7; 32]);
        let url = relay.url();
        let address = url.strip_prefix("http://").context("the relay is encrypted")?;
        let relay = rp_link::Relay { url: RelayUrl::from_person(&url)?, trust: Trust::Platform };
        let path = format!("/mesh/{}", owner.public().hash());
        let (status, body) = rp_link::get(&relay, &path, 1 << 20, PATIENCE).await?;
        let Answer::Membership(signed) = Answer::read(status, &body) else {
            bail!("no membership, but status {status}");
        };
        let mut membership = signed.membership().clone();
        membership.version += 1;
        membership.members.push(Member {
            key: key.public(),
            relay_url: relay.url.to_string(),
            paired_at: "2026-01-01T00:00:00.000Z".to_owned(),
            nickname: Some(nickname.to_owned()),
        });
        publish(&relay, &owner, membership).await?;
        let (said, to_be_said) = mpsc::channel(MAX_FRAMES);
        let (hearing, heard) = mpsc::channel(MAX_FRAMES);
        tokio::spawn(converse(log_in(address, &key).await?, to_be_said, hearing));
        Ok(OldMachine { said, heard })
    }

    /// The next envelope that is not about who is on which machine, and the machine it is from.
    pub async fn next(&mut self) -> Result<(PublicKey, Value)> {
        loop {
            let frame = timeout(PATIENCE, self.heard.recv()).await.context("nothing comes")?;
            let frame = frame.context("the connection ended")?;
            let text = |pointer: &str| frame.pointer(pointer).and_then(Value::as_str);
            let kind = text("/envelope/body/type").unwrap_or_default();
            if text("/type") == Some("pi_envelope_in") && !kind.starts_with("peers_") {
                let from = PublicKey::parse(text("/from_pc").unwrap_or_default())?;
                return Ok((from, frame.get("envelope").cloned().unwrap_or_default()));
            }
        }
    }

    /// Sends an envelope to another machine.
    pub async fn say(&self, to: PublicKey, envelope: &Value) -> Result<()> {
        let frame = json!({ "type": "pi_envelope", "to_pc": to, "envelope": envelope });
        Ok(self.said.send(frame).await?)
    }

    /// Says, as the broker of a machine called `old`, that a message has been received.
    pub async fn acknowledge(&self, to: PublicKey, envelope: &Value) -> Result<()> {
        let field = |name: &str| envelope.get(name).and_then(Value::as_str).unwrap_or_default();
        let target = field("to").split_once(':').map_or("", |(_, target)| target);
        let ack = json!({
            "from": "old:broker", "to": field("from"), "id": uuid::Uuid::now_v7(),
            "re": field("id"), "body": { "type": "ack", "status": "received", "target": target },
        });
        self.say(to, &ack).await
    }
}

/// Proves to have the key by signing what the relay has drawn.
async fn log_in(address: &str, key: &SecretKey) -> Result<Socket> {
    let opening = async {
        let stream = TcpStream::connect(address).await?;
        anyhow::Ok(client_async(format!("ws://{address}/"), stream).await?.0)
    };
    let mut socket = timeout(PATIENCE, opening).await??;
    let hello = json!({ "type": "hello", "pubkey": key.public(), "room_id": "main" });
    socket.send(Message::text(hello.to_string())).await?;
    let Some(Ok(Message::Text(text))) = timeout(PATIENCE, socket.next()).await? else {
        bail!("the relay does not answer the hello");
    };
    let challenge: Value = serde_json::from_str(&text)?;
    ensure!(challenge.get("type") == Some(&json!("challenge")), "{challenge}");
    let nonce = challenge.get("nonce").and_then(Value::as_str).context("no nonce")?;
    let signature = key.sign(&STANDARD.decode(nonce)?);
    let auth = json!({ "type": "auth", "sig": signature.to_string() });
    socket.send(Message::text(auth.to_string())).await?;
    Ok(socket)
}

/// Passes on what is said and heard until one side ends.
async fn converse(
    mut socket: Socket,
    mut to_be_said: mpsc::Receiver<Value>,
    heard: mpsc::Sender<Value>,
) -> Result<()> {
    loop {
        tokio::select! {
            frame = to_be_said.recv() => match frame {
                Some(frame) => socket.send(Message::text(frame.to_string())).await?,
                None => return Ok(()),
            },
            message = socket.next() => {
                if let Message::Text(text) = message.context("the relay is gone")?? {
                    heard.send(serde_json::from_str(&text)?).await?;
                }
            }
        }
    }
}
