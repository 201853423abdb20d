//! Components that misbehave, one test for each way. The guests are WebAssembly text, so
//! that a test shows all of what the component does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

mod actions;
mod cache;
mod fixture;
mod guest;
mod limits;
mod loading;
mod log;
mod policy;
mod real;
mod wasi;
