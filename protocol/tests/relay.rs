//! The wire between a host and a relay: its bytes, its login, its bounds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::fmt::Write as _;

use proptest::prelude::*;
use rp_protocol::key::{PublicKey, SecretKey, Signature};
use rp_protocol::relay::login::{
    Client, ClientLogin, ClientStep, LoginError, LoginRefusal, RelayLogin, RelayStep, Transport,
};
use rp_protocol::relay::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn key(byte: u8) -> PublicKey {
    PublicKey::from_bytes([byte; 32])
}

fn id(byte: u8) -> MessageId {
    MessageId([byte; 16])
}

fn name(text: &str) -> RelayName {
    RelayName::parse(text).unwrap()
}

fn read(bytes: &[u8]) -> Frame<'_> {
    read_message(bytes).unwrap().unwrap()
}

mod bytes {
    use super::*;

    const WELCOME: Welcome = Welcome {
        version: 1,
        clock_ms: 1_785_000_000_000,
        keepalive_ms: 25_000,
        max_body: 8_388_608,
        window_bytes: 1_048_576,
        window_messages: 256,
        max_rooms: 64,
        max_watches: 1024,
    };

    /// Each frame and its bytes in hexadecimal, a blank after type, length and each field.
    fn vectors() -> Vec<(Frame<'static>, String)> {
        let bob = "bb".repeat(32);
        let one = "01".repeat(16);
        let hello = Hello {
            versions: vec![1],
            key: key(0xbb),
            instance: Instance([1; 16]),
            relay: name("relay.example.org:443"),
            software: "rp-host/0.1.0".to_owned(),
        };
        let description = RoomDescription {
            name: Some("atlas"),
            model: Some("demo"),
            working: true,
            ..RoomDescription::default()
        };
        let close = Close { code: CloseCode::Overloaded, retry_after_ms: 5000, note: "full" };
        let app = Content::App { from_room: "main", to_room: "r", text: "eA==" };
        vec![
            (
                Frame::Hello(hello),
                format!(
                    "00 80000056 01 01 {bob} {one} 15 72656c61792e6578616d706c652e6f72673a343433 \
                     0d 72702d686f73742f302e312e30"
                ),
            ),
            (Frame::Challenge { nonce: [7; 32] }, format!("02 80000020 {}", "07".repeat(32))),
            (
                Frame::Login { signature: Signature::from_bytes([9; 64]) },
                format!("04 80000040 {}", "09".repeat(64)),
            ),
            (
                Frame::Welcome(WELCOME),
                "06 8000001b 01 c000019f9a4a7a00 800061a8 80800000 80100000 4100 4040 4400"
                    .to_owned(),
            ),
            (Frame::Close(close), "08 80000008 06 5388 04 66756c6c".to_owned()),
            (Frame::Ping(*b"12345678"), "0a 80000008 3132333435363738".to_owned()),
            (Frame::Pong([0; 8]), "0c 80000008 0000000000000000".to_owned()),
            (Frame::Drain { reconnect_after_ms: 750 }, "0f 80000002 42ee".to_owned()),
            (
                Frame::Clone { instance: Instance([1; 16]), since_ms: 1 },
                format!("11 80000011 {one} 01"),
            ),
            (
                Frame::Room { room: "r", description },
                "12 8000000e 01 72 15 05 61746c6173 04 64656d6f".to_owned(),
            ),
            (Frame::RoomClose { room: "r" }, "14 80000002 01 72".to_owned()),
            (Frame::Watch(vec![key(0xbb)]), format!("16 80000020 {bob}")),
            (Frame::Membership, "17 80000000".to_owned()),
            (
                Frame::Presence { peer: key(0xbb), presence: Presence::Legacy, since_ms: 2 },
                format!("19 80000022 {bob} 02 02"),
            ),
            (
                Frame::Send { id: id(1), to: key(0xbb), content: Content::Sealed(b"abc") },
                format!("1a 80000034 {one} {bob} 00 616263"),
            ),
            (
                Frame::Send { id: id(1), to: key(0xbb), content: Content::Envelope("{}") },
                format!("1a 80000033 {one} {bob} 01 7b7d"),
            ),
            (
                Frame::Deliver { id: id(1), from: key(0xbb), content: app },
                format!("1c 8000003c {one} {bob} 02 04 6d61696e 01 72 65413d3d"),
            ),
            (
                Frame::Received {
                    id: id(1),
                    from: key(0xbb),
                    verdict: Verdict::Refused(Refusal::NoSession),
                },
                format!("1e 80000032 {one} {bob} 02 06"),
            ),
            (
                Frame::Answer { id: id(1), answer: Answer::Offline { since_ms: 5 } },
                format!("20 80000012 {one} 03 05"),
            ),
            (Frame::Part { last: true, bytes: b"xyz" }, "22 80000004 01 78797a".to_owned()),
        ]
    }

    #[test]
    fn every_frame_has_the_bytes_of_its_description() {
        for (frame, bytes) in vectors() {
            assert_eq!(hex(&frame.to_bytes()), bytes.replace(' ', ""), "{frame:?}");
            assert_eq!(read(&frame.to_bytes()), frame);
        }
    }

    #[test]
    fn no_frame_is_read_without_its_last_byte_or_with_one_more() {
        for (frame, _) in vectors() {
            let bytes = frame.to_bytes();
            assert!(read_message(&bytes[..bytes.len() - 1]).is_err(), "{frame:?}");
            let longer = [bytes.as_slice(), b"x"].concat();
            assert!(read_message(&longer).is_err(), "{frame:?}");
        }
    }

    #[test]
    fn a_length_may_be_written_in_any_number_of_bytes() {
        let bytes = [&[0x0a, 0x08], b"12345678".as_slice()].concat();
        assert_eq!(read(&bytes), Frame::Ping(*b"12345678"));
    }

    #[test]
    fn every_answer_verdict_and_code_is_read_as_it_was_written() {
        let refusals = (1..=9).map(|number| match number {
            1 => Refusal::NotAuthorised,
            2 => Refusal::TooLarge,
            3 => Refusal::LegacyOnly,
            4 => Refusal::Unwanted,
            5 => Refusal::ClearRefused,
            6 => Refusal::NoSession,
            7 => Refusal::Malformed,
            8 => Refusal::NoSuchRoom,
            other => Refusal::Other(other),
        });
        let verdicts: Vec<Verdict> = [Verdict::Received, Verdict::Busy { retry_after_ms: 20 }]
            .into_iter()
            .chain(refusals.map(Verdict::Refused))
            .collect();
        for verdict in &verdicts {
            let frame = Frame::Received { id: id(2), from: key(1), verdict: *verdict };
            assert_eq!(read(&frame.to_bytes()), frame);
        }
        let answers = verdicts.into_iter().map(Answer::from).chain([
            Answer::Accepted,
            Answer::Handed,
            Answer::Lost,
            Answer::Offline { since_ms: 0 },
        ]);
        for answer in answers {
            let frame = Frame::Answer { id: id(2), answer };
            assert_eq!(read(&frame.to_bytes()), frame);
            assert_eq!(answer.is_final(), answer != Answer::Accepted);
        }
        for code in 0..12 {
            assert_eq!(CloseCode::of(code).number(), code);
        }
    }
}

mod reading {
    use super::*;

    #[test]
    fn unknown_frames_that_are_odd_are_skipped_and_even_ones_end_the_connection() {
        let mut reader = FrameReader::default();
        let ping = Frame::Ping([1; 8]).to_bytes();
        reader.buffer(0).extend([0x21, 0x02, 0xff, 0xff].iter().chain(&ping).chain(&[0x24, 0x00]));
        assert_eq!(reader.next_frame(), Ok(Some(Frame::Ping([1; 8]))));
        assert_eq!(reader.next_frame(), Err(FrameError::Unknown(0x24)));
        assert_eq!(reader.next_frame(), Err(FrameError::Unknown(0x24)));
        assert_eq!(read_message(&[0x21, 0x00]), Ok(None));
        assert_eq!(read_message(&[0x24, 0x00]), Err(FrameError::Unknown(0x24)));
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_by_its_length_alone() {
        let mut reader = FrameReader::default();
        reader.buffer(0).extend([0x1a, 0x80, 0x01, 0x00, 0x01]);
        let error = FrameError::TooLong { length: 65_537, limit: MAX_FRAME_BYTES };
        assert_eq!(reader.next_frame(), Err(error));
    }

    #[test]
    fn a_large_message_comes_whole_out_of_its_parts() {
        let body = vec![5; MAX_BODY_BYTES];
        let send = Frame::Send { id: id(1), to: key(2), content: Content::Sealed(&body) };
        let bytes = send.to_bytes();
        assert!(is_large(&bytes));
        let mut assembled = Parts::default();
        let mut whole = None;
        for part in parts(&bytes) {
            assert!(whole.is_none());
            let Frame::Part { last, bytes } = read(&part) else { panic!("no part") };
            whole = assembled.push(last, bytes).unwrap();
        }
        assert_eq!(read_large(&whole.unwrap()), Ok(send));
        assert_eq!(assembled.held(), 0);
    }

    #[test]
    fn parts_without_an_end_are_refused_at_the_longest_frame() {
        let mut assembled = Parts::default();
        let refused = (0..300).find_map(|_| assembled.push(false, &[0; 32 * 1024]).err());
        assert!(matches!(refused, Some(FrameError::TooLong { .. })));
        assert_eq!(assembled.held(), 0);
    }

    #[test]
    fn nothing_but_messages_comes_as_a_large_frame() {
        assert!(read_large(&Frame::Ping([0; 8]).to_bytes()).is_err());
        assert!(read_large(&[0x21, 0x00]).is_err());
    }
}

mod logging_in {
    use super::*;

    fn secret() -> SecretKey {
        SecretKey::from_seed(&[0x61; 32])
    }

    const RELAY: &str = "relay.example.org:443";

    fn start(transport: Transport) -> (ClientLogin, Vec<u8>) {
        ClientLogin::start(transport, &secret(), Instance([3; 16]), name(RELAY), "test")
    }

    /// Feeds the relay all frames of the bytes; what it does after the last one.
    fn feed(relay: &mut RelayLogin, bytes: &[u8]) -> Result<RelayStep, LoginRefusal> {
        let mut reader = FrameReader::default();
        reader.buffer(0).extend(bytes);
        let mut last = Ok(RelayStep::Wait);
        while let Some(frame) = reader.next_frame().unwrap() {
            last = relay.on_frame(&frame, &[name("other:1"), name(RELAY)]);
        }
        last
    }

    fn client_of(secret: &SecretKey) -> RelayStep {
        RelayStep::LoggedIn(Client {
            key: secret.public(),
            instance: Instance([3; 16]),
            software: "test".to_owned(),
        })
    }

    fn challenged(relay: &mut RelayLogin) -> (ClientLogin, Vec<u8>) {
        let (mut client, hello) = start(Transport::WebSocket);
        let RelayStep::Send(challenge) = feed(relay, &hello).unwrap() else {
            panic!("no challenge")
        };
        let ClientStep::Send(login) = client.on_frame(&read(&challenge), &secret()).unwrap() else {
            panic!("no login")
        };
        (client, login)
    }

    #[test]
    fn a_quic_login_is_done_with_the_first_flight() {
        let transport = Transport::Quic { exporter: [8; 32] };
        let (_, bytes) = start(transport);
        let mut relay = RelayLogin::new(transport, [0; 32]);
        assert_eq!(feed(&mut relay, &bytes), Ok(client_of(&secret())));
    }

    #[test]
    fn a_websocket_login_signs_the_challenge() {
        let mut relay = RelayLogin::new(Transport::WebSocket, [4; 32]);
        let (_, login) = challenged(&mut relay);
        assert_eq!(feed(&mut relay, &login), Ok(client_of(&secret())));
    }

    #[test]
    fn the_signatures_are_those_of_the_description() {
        let hello = Frame::Hello(Hello {
            versions: vec![1],
            key: secret().public(),
            instance: Instance([3; 16]),
            relay: name(RELAY),
            software: "test".to_owned(),
        })
        .to_bytes();
        let payload = &hello[5..];
        let quic = [b"rp/1 login quic\0".as_slice(), &[8; 32], payload].concat();
        let (_, bytes) = start(Transport::Quic { exporter: [8; 32] });
        let login = Frame::Login { signature: secret().sign(&quic) }.to_bytes();
        assert_eq!(bytes, [hello.as_slice(), &login].concat());
        assert_eq!(
            hex(secret().sign(&quic).as_bytes()),
            concat!(
                "d646fe4a2762c3b9872928a08f3ab25de66bb34c2be9fa13ee7f6bcb8f714a46",
                "335d4d1a822222050337dc1ed8095e461cb18b1df1ae0223c43bd49247a67500",
            )
        );
        let websocket = [b"rp/1 login websocket\0".as_slice(), &[4; 32], payload].concat();
        let (_, login) = challenged(&mut RelayLogin::new(Transport::WebSocket, [4; 32]));
        assert_eq!(login, Frame::Login { signature: secret().sign(&websocket) }.to_bytes());
        assert_eq!(
            hex(secret().sign(&websocket).as_bytes()),
            concat!(
                "ee3af60268a4c68db922e05b0f79e671d8a3135c098d61cd7a66e0d2e9221954",
                "b749fd89dca7907646469cc2bf9aaea48a46638bc5cd14d017b0d1b8021c7e06",
            )
        );
    }

    #[test]
    fn a_login_for_another_relay_is_refused() {
        let mut relay = RelayLogin::new(Transport::WebSocket, [4; 32]);
        let (_, hello) = ClientLogin::start(
            Transport::WebSocket,
            &secret(),
            Instance([3; 16]),
            name("evil.example.org:443"),
            "test",
        );
        assert_eq!(feed(&mut relay, &hello), Err(LoginRefusal::OtherRelay));
    }

    #[test]
    fn a_relay_between_cannot_pass_a_login_on() {
        // It puts the other relay's challenge to the client, and its own name stays signed.
        let mut honest = RelayLogin::new(Transport::WebSocket, [4; 32]);
        let (mut client, _) = ClientLogin::start(
            Transport::WebSocket,
            &secret(),
            Instance([3; 16]),
            name("evil.example.org:443"),
            "test",
        );
        let (_, hello) = start(Transport::WebSocket);
        let RelayStep::Send(challenge) = feed(&mut honest, &hello).unwrap() else { panic!() };
        let ClientStep::Send(login) = client.on_frame(&read(&challenge), &secret()).unwrap() else {
            panic!()
        };
        assert_eq!(feed(&mut honest, &login), Err(LoginRefusal::Signature));
        // On QUIC its connections have other exporter material.
        let (_, bytes) = start(Transport::Quic { exporter: [8; 32] });
        let mut honest = RelayLogin::new(Transport::Quic { exporter: [9; 32] }, [0; 32]);
        assert_eq!(feed(&mut honest, &bytes), Err(LoginRefusal::Signature));
    }

    #[test]
    fn a_recorded_login_is_refused_on_another_connection_and_on_the_same() {
        let mut first = RelayLogin::new(Transport::WebSocket, [4; 32]);
        let (_, login) = challenged(&mut first);
        assert!(feed(&mut first, &login).is_ok());
        assert_eq!(feed(&mut first, &login), Err(LoginRefusal::OutOfStep));
        let mut second = RelayLogin::new(Transport::WebSocket, [5; 32]);
        challenged(&mut second);
        assert_eq!(feed(&mut second, &login), Err(LoginRefusal::Signature));
    }

    #[test]
    fn a_signature_for_one_transport_does_not_fit_the_other() {
        let (_, quic) = start(Transport::Quic { exporter: [4; 32] });
        let mut relay = RelayLogin::new(Transport::WebSocket, [4; 32]);
        challenged(&mut relay);
        let login = &quic[quic.len() - 69..];
        assert!(matches!(read(login), Frame::Login { .. }));
        assert_eq!(feed(&mut relay, login), Err(LoginRefusal::Signature));
    }

    #[test]
    fn a_bare_signature_of_the_old_wire_does_not_log_in() {
        let mut relay = RelayLogin::new(Transport::WebSocket, [4; 32]);
        challenged(&mut relay);
        let login = Frame::Login { signature: secret().sign(&[4; 32]) }.to_bytes();
        assert_eq!(feed(&mut relay, &login), Err(LoginRefusal::Signature));
    }

    #[test]
    fn a_relay_that_speaks_no_offered_version_says_so() {
        let hello = Frame::Hello(Hello {
            versions: vec![2, 3],
            key: secret().public(),
            instance: Instance([3; 16]),
            relay: name(RELAY),
            software: String::new(),
        });
        let mut relay = RelayLogin::new(Transport::WebSocket, [4; 32]);
        let refusal = relay.on_frame(&hello, &[name(RELAY)]).unwrap_err();
        assert_eq!(refusal, LoginRefusal::Version);
        let (mut client, _) = start(Transport::WebSocket);
        let Err(LoginError::Closed { code, .. }) = client.on_frame(&refusal.close(), &secret())
        else {
            panic!("not closed")
        };
        assert_eq!(code, CloseCode::UnsupportedVersion);
    }

    #[test]
    fn nothing_may_come_before_the_hello_or_instead_of_the_login() {
        let mut relay = RelayLogin::new(Transport::WebSocket, [4; 32]);
        assert_eq!(feed(&mut relay, &Frame::Ping([0; 8]).to_bytes()), Err(LoginRefusal::OutOfStep));
        let mut relay = RelayLogin::new(Transport::WebSocket, [4; 32]);
        let (_, hello) = start(Transport::WebSocket);
        let twice = [hello.as_slice(), &hello].concat();
        assert_eq!(feed(&mut relay, &twice), Err(LoginRefusal::OutOfStep));
        let (mut client, _) = start(Transport::Quic { exporter: [0; 32] });
        let challenge = Frame::Challenge { nonce: [0; 32] };
        assert_eq!(client.on_frame(&challenge, &secret()), Err(LoginError::OutOfStep));
    }
}

mod in_flight {
    use super::*;

    #[test]
    fn the_window_is_for_each_recipient_and_room_comes_back_with_the_answer() {
        let mut flight = Flight::new(100, 2);
        assert_eq!(flight.start(id(1), key(1), 60, ()), Ok(()));
        assert_eq!(flight.start(id(2), key(1), 60, ()), Err(NotStarted::WindowFull));
        assert_eq!(flight.start(id(1), key(2), 60, ()), Err(NotStarted::SameId));
        assert_eq!(flight.start(id(2), key(2), 60, ()), Ok(()));
        assert_eq!(flight.settle(&id(1)).unwrap().to, key(1));
        assert_eq!(flight.settle(&id(1)), None);
        assert_eq!(flight.start(id(3), key(1), 30, ()), Ok(()));
        assert_eq!(flight.start(id(4), key(1), 30, ()), Ok(()));
        assert_eq!(flight.start(id(5), key(1), 0, ()), Err(NotStarted::WindowFull));
        let ids: Vec<MessageId> = flight.take_all().map(|(id, _)| id).collect();
        assert_eq!(ids, [id(2), id(3), id(4)]);
        assert!(flight.has_room(&key(1), 100));
    }

    #[test]
    fn a_message_longer_than_the_window_goes_alone() {
        let mut flight = Flight::new(100, 2);
        assert_eq!(flight.start(id(1), key(1), 500, ()), Ok(()));
        assert!(!flight.has_room(&key(1), 0));
    }

    proptest! {
        #[test]
        fn what_is_counted_in_is_counted_out(
            steps in prop::collection::vec((0..8_u8, 0..3_u8, 0..60_u64, any::<bool>()), 0..100),
        ) {
            let mut flight = Flight::new(100, 3);
            for (message, peer, bytes, begins) in steps {
                if begins {
                    let had_room = flight.has_room(&key(peer), bytes);
                    let known = flight.get(&id(message)).is_some();
                    let started = flight.start(id(message), key(peer), bytes, ());
                    prop_assert_eq!(started.is_ok(), had_room && !known);
                } else {
                    flight.settle(&id(message));
                }
            }
            for message in 0..8 {
                flight.settle(&id(message));
            }
            prop_assert!(flight.is_empty());
            prop_assert!((0..3).all(|peer| flight.has_room(&key(peer), 1000)));
        }
    }
}

fn keys() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey::from_bytes)
}

/// Frames with content that lives for the test, leaked: proptest wants owned values.
fn frames() -> impl Strategy<Value = Frame<'static>> {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let text = || "\\PC{0,20}".prop_map(leak);
    let bytes = || {
        prop::collection::vec(any::<u8>(), 0..300)
            .prop_map(|bytes| -> &'static [u8] { bytes.leak() })
    };
    let number = || 0..=rp_protocol::relay::fields::MAX_NUMBER;
    let content = prop_oneof![
        bytes().prop_map(Content::Sealed),
        text().prop_map(Content::Envelope),
        (text(), text(), text()).prop_map(|(from_room, to_room, text)| Content::App {
            from_room,
            to_room,
            text
        }),
    ];
    let description = (
        prop::option::of(text()),
        prop::option::of(text()),
        prop::option::of(text()),
        prop::option::of(text()),
        any::<bool>(),
    )
        .prop_map(|(name, cwd, model, thinking, working)| RoomDescription {
            name,
            cwd,
            model,
            thinking,
            working,
        });
    let send = (any::<[u8; 16]>(), keys(), content, any::<bool>()).prop_map(
        |(id, peer, content, is_send)| match is_send {
            true => Frame::Send { id: MessageId(id), to: peer, content },
            false => Frame::Deliver { id: MessageId(id), from: peer, content },
        },
    );
    prop_oneof![
        send,
        (text(), description).prop_map(|(room, description)| Frame::Room { room, description }),
        prop::collection::vec(keys(), 0..5).prop_map(Frame::Watch),
        (keys(), number()).prop_map(|(peer, since_ms)| Frame::Presence {
            peer,
            presence: Presence::Online,
            since_ms
        }),
        (number(), number(), text()).prop_map(|(code, retry_after_ms, note)| Frame::Close(Close {
            code: CloseCode::of(code),
            retry_after_ms,
            note
        })),
        (any::<bool>(), bytes()).prop_map(|(last, bytes)| Frame::Part { last, bytes }),
    ]
}

proptest! {
    #[test]
    fn any_frames_in_any_chunks_are_read_as_they_were_written(
        frames in prop::collection::vec(frames(), 0..10),
        sizes in prop::collection::vec(1_usize..80, 1..20),
    ) {
        let mut stream = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut stream));
        let mut reader = FrameReader::default();
        let mut count = 0;
        let mut rest = stream.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            reader.buffer(chunk.len()).extend_from_slice(chunk);
            while let Some(frame) = reader.next_frame().unwrap() {
                prop_assert_eq!(&frame, &frames[count]);
                count += 1;
            }
            rest = after;
        }
        prop_assert_eq!(count, frames.len());
    }

    #[test]
    fn any_bytes_are_answered_and_what_is_read_is_written_alike(
        kind in 0..0x26_u64,
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(frame) = Frame::decode(kind, &payload) {
            let bytes = frame.to_bytes();
            prop_assert_eq!(read_message(&bytes), Ok(Some(frame)));
        }
    }
}
