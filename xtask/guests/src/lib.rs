//! Builds the WebAssembly guests and checks the interfaces they are built against.
//!
//! Shared by `xtask` and the build script of `rp-host`, so it stays light and prints
//! nothing: whoever calls it hands over a callback for the lines a person may want to see.

mod build;
mod command;
mod released;
mod toolchain;

use std::path::{Path, PathBuf};

pub use build::build;
pub use released::check_released;
pub use toolchain::{Toolchain, find_toolchain, install_toolchain};

/// Receives lines about what is going on, without a line feed.
pub type Progress<'a> = dyn FnMut(&str) + 'a;

/// One first-party component.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The component's id, which is also the name of its file.
    pub id: &'static str,
    /// Its package in the guest workspace.
    pub package: &'static str,
    /// Its folder, from the root of the repository, with its manifest.
    pub folder: &'static str,
}

/// Every first-party component.
pub const SOURCES: &[Source] = &[
    Source { id: "pi", package: "rp-adapter-pi", folder: "adapters/pi" },
    Source { id: "claude-code", package: "rp-adapter-claude-code", folder: "adapters/claude-code" },
    Source { id: "codex", package: "rp-adapter-codex", folder: "adapters/codex" },
    Source { id: "acp", package: "rp-adapter-acp", folder: "adapters/acp" },
    Source { id: "demo", package: "rp-adapter-demo", folder: "adapters/demo" },
    Source { id: "default", package: "rp-routing-default", folder: "components/routing/default" },
    Source { id: "guarded", package: "rp-routing-guarded", folder: "components/routing/guarded" },
    Source { id: "core", package: "rp-actions-core", folder: "components/actions/core" },
    Source { id: "extras", package: "rp-actions-extras", folder: "components/actions/extras" },
];

/// A component that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// The component's id.
    pub id: &'static str,
    /// Its manifest, `component.toml`.
    pub manifest: PathBuf,
    /// The component's `.wasm` file.
    pub component: PathBuf,
}

/// The files and folders the components are made from, for `cargo:rerun-if-changed`. Only
/// paths that exist, because cargo takes a missing one for a changed one.
pub fn inputs(root: &Path) -> Vec<PathBuf> {
    let shared = [
        "wit",
        "sdk/Cargo.toml",
        "sdk/src",
        "adapters/Cargo.toml",
        "adapters/Cargo.lock",
        "rust-toolchain.toml",
    ];
    shared
        .into_iter()
        .chain(SOURCES.iter().map(|source| source.folder))
        .map(|path| root.join(path))
        .filter(|path| path.exists())
        .collect()
}
