//! What is inside the program: the components it ships with and the skill.

/// What a component is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It translates a harness.
    Adapter,
    /// It decides about envelopes.
    Policy,
}

/// A component that ships with the program.
pub struct Embedded {
    /// Its id.
    pub id: &'static str,
    /// What it is for.
    pub kind: Kind,
    /// The `.wasm`.
    pub bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/components.rs"));

/// The skill that teaches a model the mesh.
pub const SKILL: &str = include_str!("../skills/agent-network/SKILL.md");
