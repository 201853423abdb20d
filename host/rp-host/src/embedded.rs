//! What is inside the program: the components it ships with and the skill.

/// A component that ships with the program.
pub struct Embedded {
    /// Its `component.toml`.
    pub manifest: &'static str,
    /// The `.wasm`.
    pub bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/components.rs"));

include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// The skill that teaches a model the mesh.
pub const SKILL: &str = include_str!("../skills/agent-network/SKILL.md");
