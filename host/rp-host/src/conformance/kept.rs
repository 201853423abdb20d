//! What tests of adapters saw, kept for the listing of harnesses.

use std::collections::BTreeMap;

use super::{Measured, Report};
use crate::{
    files,
    paths::StateRoot,
    problem::{Problem, While},
};

/// Components that are remembered; of more, some are forgotten.
const MOST: usize = 200;

/// What was seen of a component's harnesses, by the SHA-256 of its code.
pub type Kept = BTreeMap<String, Vec<Measured>>;

/// Everything that is kept. What cannot be read is as if it had never been seen.
pub fn kept(root: &StateRoot) -> Kept {
    let text = std::fs::read(root.conformance()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Keeps what a test saw, in place of what was seen of the same code before.
pub fn keep(root: &StateRoot, report: &Report) -> Result<(), Problem> {
    let Some(sha256) = report.sha256.as_ref().filter(|_| !report.abilities.is_empty()) else {
        return Ok(());
    };
    let mut all = kept(root);
    while all.len() >= MOST {
        all.pop_first();
    }
    all.insert(sha256.clone(), report.abilities.clone());
    let path = root.conformance();
    let text = serde_json::to_vec(&all).doing("write down what was seen")?;
    files::write_atomically(&path, &text).doing(format!("write {}", path.display()))
}
