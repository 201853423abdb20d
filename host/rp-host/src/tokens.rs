//! Tokens that tell the agents apart on the control socket.
//!
//! A token is random, lives as long as the daemon and is handed to the harness in its
//! environment. It narrows what a harness can ask for; it does not protect against other
//! programs of the same user, who could open the socket anyway. What an agent runs is told from
//! those by its descent, unless it takes pains to detach itself.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

/// The tokens of all agents that were given one.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<String, String>>);

impl Tokens {
    /// The token of an agent; made when it is asked for first.
    pub fn of(&self, agent: &str) -> String {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens
            .entry(agent.to_owned())
            // 122 random bits of the operating system.
            .or_insert_with(|| uuid::Uuid::new_v4().simple().to_string())
            .clone()
    }

    /// Gives an agent the token that it had from an earlier daemon.
    pub fn set(&self, agent: &str, token: &str) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(agent.to_owned(), token.to_owned());
    }

    /// The agent a token belongs to.
    pub fn agent(&self, token: &str) -> Option<String> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Comparing hashes takes a time that says nothing about the tokens.
        let wanted = Sha256::digest(token.as_bytes());
        tokens
            .iter()
            .find(|(_, known)| Sha256::digest(known.as_bytes()) == wanted)
            .map(|(agent, _)| agent.clone())
    }

    /// The token of an agent that is gone means nothing any more.
    pub fn forget(&self, agent: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_agent_until_the_agent_is_gone() {
        let tokens = Tokens::default();
        let token = tokens.of("a1b2c3d4");
        assert_eq!(tokens.of("a1b2c3d4"), token);
        assert_eq!(tokens.agent(&token).as_deref(), Some("a1b2c3d4"));
        assert_eq!(tokens.agent("something else"), None);
        tokens.forget("a1b2c3d4");
        assert_eq!(tokens.agent(&token), None);
    }
}
