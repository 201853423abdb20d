//! What two machines say to each other is neither on the wire of the relay nor in its memory, and
//! what is said to a machine that cannot seal is in both: so it would have been found.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that fails panics, and one that cannot look somewhere says so"
)]

use rp_tests::{
    forwarder::Forwarder,
    host::Host,
    machines::{found, inbox, machine, say, sees},
    old_machine::beside_an_old_one,
    relay::{Options, Relay},
    traces::{Wanted, in_memory},
};

/// A text that is in nobody's bytes by chance, and not the same in every encoding.
fn marker(name: &str) -> String {
    format!("\"Zwölf Boxkämpfer\" {name} {}", uuid::Uuid::new_v4())
}

/// A plain relay behind something that records: the sealing is all that hides.
async fn recorded() -> (Forwarder, Relay) {
    let forwarder = Forwarder::open().await.unwrap();
    let options = Options { name: Some(forwarder.name()), ..Options::default() };
    let relay = Relay::start_as(options).unwrap();
    forwarder.lead_to(relay.address());
    (forwarder, relay)
}

/// The forms in which these texts were recorded.
fn recorded_forms(forwarder: &Forwarder, wanted: &[Wanted]) -> Vec<(usize, &'static str)> {
    let streams = forwarder.recording();
    let found = wanted.iter().enumerate().flat_map(|(place, one)| {
        streams.iter().filter_map(move |stream| Some((place, one.form_in(stream)?)))
    });
    found.collect()
}

/// The forms in which these texts are in the memory of the relay; nothing where that may not be read.
fn remembered_forms(relay: &Relay, wanted: &[Wanted]) -> Option<Vec<(usize, &'static str)>> {
    let found = in_memory(relay.pid().unwrap(), wanted);
    found.inspect_err(|error| eprintln!("the relay's memory is not looked into: {error}")).ok()
}

/// What the person at this machine was told.
async fn bodies(host: &Host, count: usize) -> Vec<String> {
    let inbox = inbox(host, count).await.unwrap();
    inbox.iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_is_sealed_is_in_nothing_that_passes_the_relay_and_not_in_its_memory() {
    let (forwarder, relay) = recorded().await;
    let (lab, mut desk) = (machine(&relay).await.unwrap(), machine(&relay).await.unwrap());
    found(&lab, &desk).await.unwrap();
    let markers = ["there", "back", "large", "waiting"].map(marker);
    let [there, back, part, waiting] = markers.each_ref().map(String::as_str);
    let large = part.repeat(200_000 / part.len());

    for (from, to, body) in [
        (&lab, "desk:person", there),
        (&desk, "lab:person", back),
        (&lab, "desk:person", large.as_str()),
    ] {
        assert_eq!(say(from, to, body).await.unwrap().1, "received");
    }
    desk.stop().await.unwrap();
    sees(&lab, "desk", "offline").await.unwrap();
    assert_eq!(say(&lab, "desk:person", waiting).await.unwrap().1, "waiting");
    desk.start_again().await.unwrap();

    assert_eq!(bodies(&desk, 3).await, [there, large.as_str(), waiting]);
    assert_eq!(bodies(&lab, 1).await, [back]);
    let wanted = markers.map(|marker| Wanted::new(&marker));
    assert_eq!(recorded_forms(&forwarder, &wanted), []);
    assert_eq!(remembered_forms(&relay, &wanted).unwrap_or_default(), []);
    // It was this way that they came.
    let streams = forwarder.recording();
    assert!(streams.iter().map(Vec::len).sum::<usize>() > 2 * large.len());
    let words = Wanted::new("Upgrade: websocket");
    assert!(streams.iter().any(|stream| words.form_in(stream).is_some()));
    let files = [relay.data().join("mesh.redb")];
    for file in files.map(|file| std::fs::read(file).unwrap()) {
        assert!(wanted.iter().all(|one| one.form_in(&file).is_none()));
    }
}

#[tokio::test]
async fn what_is_said_in_the_clear_is_found_on_the_wire_and_in_the_relays_memory() {
    let (forwarder, relay) = recorded().await;
    let (lab, mut old) = beside_an_old_one(&relay).await.unwrap();

    let part = marker("clear");
    let body = part.repeat(20_000 / part.len());
    let (sent, ()) = tokio::join!(say(&lab, "old:/srv/web@web", &body), async {
        let (from, envelope) = old.next().await.unwrap();
        assert_eq!(envelope["body"], body.as_str());
        old.acknowledge(from, &envelope).await.unwrap();
    });
    assert_eq!(sent.unwrap().1, "received");
    let wanted = [Wanted::new(&part)];
    // What a machine sends on a WebSocket is masked, what the relay sends is not.
    assert_eq!(recorded_forms(&forwarder, &wanted), [(0, "JSON")]);
    if let Some(found) = remembered_forms(&relay, &wanted) {
        assert_eq!(found, [(0, "JSON")]);
    }
}
