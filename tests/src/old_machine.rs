//! A machine of the owner that speaks only the old wire, on which nothing is sealed.

use anyhow::{Context, Result, bail};
use rp_link::{Config, Delivery, Link, Message, RelayUrl, Trust, Wires};
use rp_protocol::{
    key::{PublicKey, SecretKey},
    membership::{Answer, Member},
    owner::owner_from_words,
    relay::MessageId,
};
use serde_json::{Value, json};

use crate::{
    PATIENCE,
    host::Host,
    machines::{machine, sees},
    relay::{Relay, publish},
};

/// One that is logged in.
pub struct OldMachine {
    link: Link,
    deliveries: tokio::sync::mpsc::Receiver<Delivery>,
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
        let relay =
            rp_link::Relay { url: RelayUrl::from_person(&relay.url())?, trust: Trust::Platform };
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
        let (link, deliveries) = Link::start(Config {
            relays: vec![relay],
            key,
            software: "test".to_owned(),
            wires: Wires::Old,
        });
        Ok(OldMachine { link, deliveries })
    }

    /// The next envelope that is not about who is on which machine, and the machine it is from.
    pub async fn next(&mut self) -> Result<(PublicKey, Value)> {
        loop {
            let delivery = tokio::time::timeout(PATIENCE, self.deliveries.recv()).await;
            let delivery = delivery.context("nothing comes")?.context("the link ended")?;
            let Message::Envelope(text) = &delivery.message else { bail!("{delivery:?}") };
            let envelope: Value = serde_json::from_str(text)?;
            let kind = envelope.pointer("/body/type").and_then(Value::as_str).unwrap_or_default();
            if !kind.starts_with("peers_") {
                return Ok((delivery.from, envelope));
            }
        }
    }

    /// Sends an envelope to another machine.
    pub async fn say(&self, to: PublicKey, envelope: &Value) -> Result<()> {
        let id = MessageId(*uuid::Uuid::new_v4().as_bytes());
        drop(self.link.send(id, to, Message::Envelope(envelope.to_string())).await?);
        Ok(())
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
