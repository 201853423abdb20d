//! What an agent answers when it is asked.

use rp_sdk::handler::{Outcome, Peer};
use rp_sdk::session::{Failure, FailureKind, Reply};

/// The text of its last message.
pub(crate) fn text(agent: &Peer, answer: &Outcome) -> Result<String, Failure> {
    let text = match answer {
        Ok(Reply::Data(json)) => serde_json::from_str::<String>(json).unwrap_or_default(),
        Ok(_) => String::new(),
        Err(failure) => return Err(failure.clone()),
    };
    let text = text.trim();
    if text.is_empty() {
        let message = format!("{} ended its turn without an answer", agent.name);
        return Err(Failure::new(FailureKind::Harness, message));
    }
    Ok(text.to_owned())
}
