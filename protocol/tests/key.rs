//! Keys and their texts, rule by rule.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rp_protocol::key::{BadSignature, KeyError, PublicKey, SecretKey, Signature, decode_base64};

/// `fbefbe`, then 00 to 1c: its text has both characters in which the alphabets differ.
fn special() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..3].copy_from_slice(&[0xfb, 0xef, 0xbe]);
    for (index, byte) in bytes[3..].iter_mut().enumerate() {
        *byte = u8::try_from(index).unwrap();
    }
    bytes
}

#[test]
fn four_spellings_name_the_same_key_and_one_is_written() {
    for bytes in [special(), [0xff; 32], [0; 32]] {
        let key = PublicKey::from_bytes(bytes);
        for text in [
            STANDARD.encode(bytes),
            STANDARD_NO_PAD.encode(bytes),
            URL_SAFE.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
        ] {
            assert_eq!(text.parse(), Ok(key));
        }
        assert_eq!(key.to_string(), STANDARD.encode(bytes));
        assert_eq!(key.to_url_safe(), URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(serde_json::to_string(&key).unwrap(), format!("\"{key}\""));
        assert_eq!(serde_json::from_str::<PublicKey>(&format!("\"{key}\"")).unwrap(), key);
    }
}

#[test]
fn other_spellings_are_refused() {
    let text = STANDARD.encode(special());
    let bare = STANDARD_NO_PAD.encode(special());
    assert!(text.starts_with("++++") && text.ends_with('='));
    for wrong in [
        format!("--{}", &text[2..]),
        format!("++--{}", &bare[4..]),
        format!("{text}="),
        format!("{bare}=="),
        format!("{}={}", &bare[..20], &bare[21..]),
        format!("{text} "),
        format!(" {text}"),
        format!("{text}\n"),
        format!("{bare}\n"),
        format!("{text}AAAA"),
        format!("%{}", &text[1..]),
        format!("{}\u{e9}", &text[..42]),
        // The last character of 32 bytes has two unused bits.
        format!("{}J=", &text[..42]),
        format!("{}J", &text[..42]),
    ] {
        assert_eq!(PublicKey::parse(&wrong), Err(KeyError::Encoding), "{wrong:?}");
    }
    for length in [0, 1, 31, 33, 64] {
        let wrong = STANDARD.encode(vec![7; length]);
        assert_eq!(PublicKey::parse(&wrong), Err(KeyError::Length), "{length}");
    }
}

#[test]
fn an_error_does_not_repeat_the_text() {
    for text in ["a secret typed into the wrong field", "AAAA"] {
        let error = PublicKey::parse(text).unwrap_err();
        assert!(!error.to_string().contains(text));
        assert!(!format!("{error:?}").contains(text));
    }
}

#[test]
fn only_a_point_of_the_curve_can_verify() {
    // y = 2 is on no point of the curve.
    let mut bytes = [0; 32];
    bytes[0] = 2;
    let key = PublicKey::from_bytes(bytes);
    assert_eq!(PublicKey::parse(&key.to_string()), Ok(key));
    assert_eq!(PublicKey::parse_point(&key.to_string()), Err(KeyError::NotAPoint));
    assert_eq!(key.verify(b"", &Signature::from_bytes([0; 64])), Err(BadSignature));
}

#[test]
fn a_key_of_small_order_verifies_nothing() {
    // The neutral element, with which S = 0 and R = the neutral element fit every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let key = PublicKey::from_bytes(neutral);
    assert_eq!(key.verify(b"anything", &Signature::from_bytes(signature)), Err(BadSignature));
}

#[test]
fn the_published_login_vector_holds() {
    let secret = SecretKey::from_seed(&[0x61; 32]);
    let nonce: Vec<u8> = (0..32).collect();
    let expected =
        "wmG6+QlJ2UtwWSB3q4BKmtyteXVVwKIFoffDkK08u4plasR04aJ7j4lbPWFZRl17TgLNd1Xf0A3wqKarqZoEAg==";
    assert_eq!(secret.public().to_string(), "rwaj4ykXFOTzVsGcmxXNGVHsbmZiqne+B1R/KJODNB0=");
    assert_eq!(secret.sign(&nonce).to_string(), expected);
    let signature = Signature::parse(expected).unwrap();
    assert_eq!(secret.public().verify(&nonce, &signature), Ok(()));
    assert_eq!(secret.public().verify(&nonce[1..], &signature), Err(BadSignature));
    assert_eq!(
        SecretKey::from_seed(&[0x62; 32]).public().verify(&nonce, &signature),
        Err(BadSignature)
    );
}

#[test]
fn a_signature_has_one_spelling() {
    let signature = Signature::from_bytes([0xfb; 64]);
    let text = signature.to_string();
    assert_eq!(Signature::parse(&text), Some(signature));
    assert_eq!(Signature::parse(text.trim_end_matches('=')), None);
    assert_eq!(Signature::parse(&text.replace('+', "-").replace('/', "_")), None);
    assert_eq!(Signature::parse(&STANDARD.encode([0; 63])), None);
}

#[test]
fn debug_output_shows_no_whole_key() {
    let secret = SecretKey::from_seed(&[0x61; 32]);
    for shown in [format!("{secret:?}"), format!("{:?}", secret.public())] {
        assert!(shown.contains(&secret.public().fingerprint()), "{shown}");
        assert!(shown.len() < 24, "{shown}");
    }
    assert_eq!(secret.public().fingerprint(), secret.public().hash()[..8]);
}

proptest! {
    #[test]
    fn every_key_survives_its_texts(bytes: [u8; 32]) {
        let key = PublicKey::from_bytes(bytes);
        prop_assert_eq!(key.to_string().parse(), Ok(key));
        prop_assert_eq!(key.to_url_safe().parse(), Ok(key));
    }

    #[test]
    fn what_is_read_as_base64_has_exactly_one_meaning(text in "[A-Za-z0-9+/_=-]{0,12}") {
        if let Some(bytes) = decode_base64(&text) {
            let spellings = [
                STANDARD.encode(&bytes),
                STANDARD_NO_PAD.encode(&bytes),
                URL_SAFE.encode(&bytes),
                URL_SAFE_NO_PAD.encode(&bytes),
            ];
            prop_assert!(spellings.contains(&text));
        }
    }
}
