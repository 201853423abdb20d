#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use proptest::prelude::*;

use super::*;

/// A frame as a client sends it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
        medium @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend(u64::try_from(long).unwrap().to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    frame
}

#[derive(Debug, PartialEq, Eq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close,
    Piece,
}

/// Feeds `bytes` in chunks of this many, as a socket would.
fn read_in(decoder: &mut Decoder, bytes: &[u8], chunk: usize) -> Result<Vec<Got>, Violation> {
    let (mut buffer, mut got) = (Vec::new(), Vec::new());
    for chunk in bytes.chunks(chunk) {
        buffer.extend_from_slice(chunk);
        loop {
            if buffer.is_empty() {
                break;
            }
            match decoder.next(&mut buffer)? {
                Step::Need(needed) => {
                    assert!(needed > buffer.len());
                    break;
                }
                Step::Message(used, message) => {
                    got.push(match message {
                        Message::Text(text) => Got::Text(text.to_owned()),
                        Message::Binary(bytes) => Got::Binary(bytes.to_vec()),
                        Message::Ping(payload) => Got::Ping(payload.to_vec()),
                        Message::Pong => Got::Pong,
                        Message::Close => Got::Close,
                        Message::Piece => Got::Piece,
                    });
                    buffer.drain(..used);
                }
            }
        }
    }
    Ok(got)
}

fn read(bytes: &[u8]) -> Result<Vec<Got>, Violation> {
    read_in(&mut Decoder::new(1 << 20), bytes, usize::MAX)
}

#[test]
fn the_example_of_the_standard_is_read_and_written() {
    // RFC 6455 section 5.7: a masked and an unmasked "Hello".
    let client = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(&client), Ok(vec![Got::Text("Hello".to_owned())]));
    let mut server = Vec::new();
    write_frame(&mut server, Opcode::Text, b"Hello");
    assert_eq!(server, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    // Section 1.3.
    assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn a_message_in_pieces_with_a_ping_between_them_is_put_together() {
    let bytes = [
        masked(0x01, b"Hel"),
        masked(0x89, b"p"),
        masked(0x00, b""),
        masked(0x80, b"lo"),
        masked(0x82, &[1, 2]),
    ]
    .concat();
    let expected = vec![
        Got::Piece,
        Got::Ping(b"p".to_vec()),
        Got::Piece,
        Got::Text("Hello".to_owned()),
        Got::Binary(vec![1, 2]),
    ];
    assert_eq!(read(&bytes), Ok(expected));
}

#[test]
fn what_breaks_the_protocol_is_found() {
    let unmasked = [0x81, 0x01, 0x41];
    assert_eq!(read(&unmasked), Err(Violation::Protocol));
    for (what, frame) in [
        ("a reserved bit", masked(0xC1, b"a")),
        ("an unknown opcode", masked(0x83, b"a")),
        ("a ping in pieces", masked(0x09, b"a")),
        ("a long ping", masked(0x89, &[0; 126])),
        ("a continuation of nothing", masked(0x80, b"a")),
        ("a message inside another", [masked(0x01, b"a"), masked(0x81, b"b")].concat()),
    ] {
        assert_eq!(read(&frame), Err(Violation::Protocol), "{what}");
    }
    assert_eq!(read(&masked(0x81, &[0xFF, 0xFE])), Err(Violation::NotUtf8));
    let halves = "é".as_bytes();
    let split = [masked(0x01, &halves[..1]), masked(0x80, &halves[1..])].concat();
    assert_eq!(read(&split), Ok(vec![Got::Piece, Got::Text("é".to_owned())]));
}

#[test]
fn a_message_may_be_as_large_as_the_limit_and_no_larger_whole_or_in_pieces() {
    let read = |bytes: &[u8]| read_in(&mut Decoder::new(1000), bytes, usize::MAX);
    assert_eq!(read(&masked(0x82, &[7; 1000])), Ok(vec![Got::Binary(vec![7; 1000])]));
    assert_eq!(read(&masked(0x82, &[7; 1001])), Err(Violation::TooLarge));
    let pieces = [masked(0x02, &[7; 600]), masked(0x80, &[7; 401])].concat();
    assert_eq!(read(&pieces), Err(Violation::TooLarge));
    // Only the header of the largest length there is.
    let header = [0x82, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
    assert_eq!(read(&header), Err(Violation::TooLarge));
}

proptest! {
    #[test]
    fn what_was_written_is_read_however_it_is_cut(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70_000), 1..4),
        chunk in 1usize..5_000,
    ) {
        let bytes: Vec<u8> =
            messages.iter().flat_map(|message| masked(0x82, message)).collect();
        let expected: Vec<Got> = messages.into_iter().map(Got::Binary).collect();
        prop_assert_eq!(read_in(&mut Decoder::new(1 << 20), &bytes, chunk), Ok(expected));
    }

    #[test]
    fn random_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000), chunk in 1usize..50) {
        let _ = read_in(&mut Decoder::new(1000), &bytes, chunk);
    }
}
