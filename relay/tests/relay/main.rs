//! The relay from outside: a real one on a port of its own, and clients that speak the wire.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod abuse;
mod bad_hosts;
mod client;
mod encrypted;
mod forwarding;
mod hosts;
mod http;
mod keepalive;
mod limits;
mod login;
mod machines;
mod mesh;
mod presence;
mod program;
mod rooms;
