//! The HTTP side of opening a WebSocket (RFC 6455 section 4.2).

use axum::http::{HeaderMap, HeaderName, StatusCode, Version, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// A request to become a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The value of `Sec-WebSocket-Accept` that answers it.
    pub accept: String,
    /// The sub-protocols that the client offers, in its order.
    pub protocols: Vec<String>,
}

/// The value of `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key`.
#[must_use]
pub fn accept_key(key: &[u8]) -> String {
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest.finalize())
}

/// Reads the headers of an upgrade request. Extensions that the client offers are not looked at.
///
/// # Errors
/// The status and one line of text to answer with.
pub fn requested_upgrade(
    version: Version,
    headers: &HeaderMap,
) -> Result<Upgrade, (StatusCode, &'static str)> {
    let bad = |reason| Err((StatusCode::BAD_REQUEST, reason));
    if version < Version::HTTP_11 {
        return Err((StatusCode::UPGRADE_REQUIRED, "the connection cannot be upgraded"));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade") {
        return bad("the Connection header does not include upgrade");
    }
    if !has_token(headers, &header::UPGRADE, "websocket") {
        return bad("the Upgrade header is not websocket");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return bad("the Sec-WebSocket-Version header is not 13");
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return bad("the Sec-WebSocket-Key header is missing");
    };
    Ok(Upgrade {
        accept: accept_key(key.as_bytes()),
        protocols: tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).map(str::to_owned).collect(),
    })
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}
