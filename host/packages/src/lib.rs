//! Component packages: what a person drops in or adds, before anything of it is compiled or run.
//!
//! A package is a folder with `component.toml`, `component.wasm` and, when it is signed,
//! `component.sig`; packed into one file it is an archive ([`Package::pack`]). From the folder a
//! person fills to a component in force it goes through these hands:
//!
//! - `package`: read it safely and whole, check who signed it ([`Package`], [`Publisher`])
//! - `system`: what the machine's administrator forbids ([`SystemPolicy`])
//! - `grants`: what the person has granted, and what a new version may do ([`Grants`])
//! - `shelf`: the copies that are in force, which a bad new version does not touch ([`Shelf`])
//! - `fetch`: packages from the network
//! - `text`: the files that a person writes
//!
//! Nothing here is asynchronous: callers on a runtime use its blocking threads.

mod archive;
mod fetch;
mod grants;
mod package;
mod shelf;
mod signature;
mod system;
mod text;

pub use fetch::{FetchError, fetch};
pub use grants::{Decision, Grant, GrantError, Grants};
pub use package::{Digest, MANIFEST, Package, PackageError, SIGNATURE, WASM};
pub use shelf::{Shelf, ShelfError};
pub use signature::{Publisher, SignatureError, SigningKey};
pub use system::{SystemPolicy, SystemPolicyError};
pub use text::read_text;
