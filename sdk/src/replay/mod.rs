//! Feeds the recorded transcript of a harness to an adapter and writes down what it does.
//!
//! A recording is a JSONL file of `{"dir":"in"|"out"|"err","at_ms":N,"line":"..."}`: what was
//! written to the harness and what it wrote. The `out` and `err` lines are given to the
//! adapter as they are. The `in` lines were written by the recorder, not by the adapter, so a
//! [`Translator`] turns each into the command whose effect it is; ids that the recorder chose
//! are replaced by the adapter's own in the answers.
//!
//! The result is a text to keep beside the recording ([`golden`]), and a list of broken
//! promises: those that hold for every adapter are checked on the way ([`check`]).
//! [`replay_folder`] does this for all recordings of a harness, which `cases.json` beside them
//! names.

pub mod check;
mod folder;
pub mod golden;
mod recording;
mod render;
mod run;
mod sessions;

pub use folder::replay_folder;
pub use recording::{Case, Direction, Line, cases, read};
pub use run::{Recording, Replay, Translation, Translator, replay};
