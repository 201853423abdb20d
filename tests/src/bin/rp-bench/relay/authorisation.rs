//! What it costs the relay to find out that one machine may write to another.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use hdrhistogram::Histogram;
use rp_protocol::{
    key::{PublicKey, SecretKey},
    membership::{Member, Membership, Stored},
};
use rp_relay::membership::{ForeignRow, Memberships};
use rp_tests::relay::{Options, Relay};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::legacy::{self, Socket, key};
use crate::{Table, float};

/// How many owners there are where there are few, and where there are many.
const FEW: u64 = 1_000;
const MANY: u64 = 100_000;
/// Owners whose machines write to each other.
const ASKED: u64 = 500;
/// How many rows are written at once.
const ROWS_AT_ONCE: usize = 1_000;

/// A decision that a connection asks for the first time, over one that it remembers.
///
/// A machine writes to another that is not connected, so the answer is the relay's own: that it
/// is offline, which only those are told who may write to it. The same once more is decided from
/// memory; the difference is what the decision costs. The relay was started on the file that the
/// memberships are in, so nothing of it is in the relay's memory.
pub(crate) async fn measure(table: &mut Table) -> Result<()> {
    let few = cold_over_warm(table, FEW).await?;
    let many = cold_over_warm(table, MANY).await?;
    table.floor("cold authorisation, 1000 owners stored, p50", few, "us");
    let met = many < 50.0 && many < few + 25.0;
    let bar = "under 50 us, no growth";
    table.row("cold authorisation, 100000 owners stored, p50", many, "us", bar, met);
    Ok(())
}

async fn cold_over_warm(table: &mut Table, owners: u64) -> Result<f64> {
    let mut relay = Relay::stopped(Options::default())?;
    store(&relay.data().join("mesh.redb"), owners).await?;
    relay.start_again()?;
    let (mut cold, mut warm) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    for number in 0..ASKED {
        let (one, other) = machines(number * (owners / ASKED));
        let mut socket = legacy::log_in(&relay.address().to_string(), &one).await?;
        // What is answered without a decision, until the connection runs smoothly.
        for _ in 0..5 {
            ask(&mut socket, "nobody", "bad_envelope").await?;
        }
        for latency in [&mut cold, &mut warm] {
            let start = Instant::now();
            ask(&mut socket, &other.public().to_string(), "offline").await?;
            latency.record(u64::try_from(start.elapsed().as_nanos())?)?;
        }
    }
    let p50 = |latency: &Histogram<u64>| float(latency.value_at_quantile(0.5)) / 1000.0;
    let what = format!("answer to an envelope, decision remembered, {owners} owners, p50");
    table.floor(&what, p50(&warm), "us");
    Ok(p50(&cold) - p50(&warm))
}

/// Sends an envelope for a machine and hears why it is not passed on.
async fn ask(socket: &mut Socket, target: &str, reason: &str) -> Result<()> {
    let envelope = json!({
        "from": "one:/srv/web@web", "to": "other:/srv/api@api",
        "id": "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "re": null, "body": "hello",
    });
    let request = json!({ "type": "pi_envelope", "to_pc": target, "envelope": envelope });
    socket.send(Message::text(request.to_string())).await?;
    let answer = socket.next().await.context("the relay has closed the connection")??;
    let answer: Value = serde_json::from_str(answer.to_text()?)?;
    ensure!(answer["envelope"]["body"]["reason"] == reason, "another answer: {answer}");
    Ok(())
}

/// The two machines of an owner.
fn machines(owner: u64) -> (SecretKey, SecretKey) {
    (key(3 * owner + 1), key(3 * owner + 2))
}

/// Fills a file as the relay itself does when it takes over the memberships of another.
async fn store(file: &Path, owners: u64) -> Result<()> {
    let memberships = Memberships::open(file).await?;
    let numbers: Vec<u64> = (0..owners).collect();
    for numbers in numbers.chunks(ROWS_AT_ONCE) {
        memberships.import(numbers.iter().map(|number| row(*number)).collect()).await?;
    }
    ensure!(memberships.owners()? == owners, "not all owners were stored");
    Ok(())
}

fn row(number: u64) -> ForeignRow {
    let owner = key(3 * number);
    let (one, other) = machines(number);
    let members = vec![member(one.public()), member(other.public())];
    let membership = Membership { version: 1, issued_at: 1, owner: owner.public(), members };
    let signed = membership.sign(&owner);
    let (blob, signature) = (signed.blob().to_vec(), *signed.signature().as_bytes());
    let stored = Stored { blob, signature, version: 1, updated_at: 1 };
    ForeignRow { owner: owner.public(), stored }
}

pub(super) fn member(key: PublicKey) -> Member {
    Member {
        key,
        relay_url: "http://127.0.0.1".to_owned(),
        paired_at: "2026-01-01T00:00:00.000Z".to_owned(),
        nickname: None,
    }
}
