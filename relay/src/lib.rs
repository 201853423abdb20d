//! The relay: it forwards between machines and apps that cannot reach each other.
//!
//! It knows who is connected and in which rooms ([`registry`]), who may write to whom
//! ([`membership`]), and nothing of what they say. [`server`] accepts connections, [`http`] tells
//! what they want, and [`legacy`] serves those that speak the wire of Remote Pi over
//! [`websocket`].

pub mod conversation;
pub mod doubts;
pub mod host;
pub mod hosts;
pub mod http;
pub mod hub;
pub mod import;
pub mod legacy;
pub mod limits;
pub mod membership;
pub mod metrics;
pub mod options;
pub mod permissions;
pub mod recipient;
pub mod registry;
pub mod server;
pub mod stream;
pub mod tls;
pub mod websocket;
