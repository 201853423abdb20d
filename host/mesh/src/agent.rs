//! What an agent of this host is called inside it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The id of an agent that this host runs: eight lower-case hexadecimal digits. It stays the
/// same when the agent is renamed or restarted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentId(String);

/// A text that is no agent id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an agent id is eight hexadecimal digits, such as 3f9c02ab")]
pub struct NotAnAgentId;

impl AgentId {
    /// A new id that nobody can guess.
    #[must_use]
    pub fn random() -> Self {
        let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
        Self(format!("{:08x}", (high >> 32).max(1)))
    }

    /// The id under which the person at this machine has a mailbox; no agent ever gets it.
    #[must_use]
    pub fn person() -> Self {
        Self("00000000".to_owned())
    }

    /// The id as the number it spells, for keys on disk.
    pub(crate) fn number(&self) -> u32 {
        u32::from_str_radix(&self.0, 16).unwrap_or_default()
    }

    /// The id that spells `number`.
    pub(crate) fn from_number(number: u32) -> Self {
        Self(format!("{number:08x}"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AgentId {
    type Error = NotAnAgentId;

    fn try_from(text: String) -> Result<Self, NotAnAgentId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.len() == 8 && text.bytes().all(is_digit) {
            true => Ok(Self(text)),
            false => Err(NotAnAgentId),
        }
    }
}

impl FromStr for AgentId {
    type Err = NotAnAgentId;

    fn from_str(text: &str) -> Result<Self, NotAnAgentId> {
        Self::try_from(text.to_owned())
    }
}

impl From<AgentId> for String {
    fn from(id: AgentId) -> String {
        id.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    #[test]
    fn only_eight_lower_case_hexadecimal_digits_are_an_agent_id() {
        assert!("3f9c02ab".parse::<AgentId>().is_ok());
        for wrong in ["", "3f9c02a", "3f9c02abc", "3F9C02AB", "3f9c02ag", "éééé"] {
            assert_eq!(wrong.parse::<AgentId>(), Err(NotAnAgentId), "{wrong}");
        }
        assert_eq!("00000000".parse(), Ok(AgentId::person()));
        assert_eq!(AgentId::from_number(0x0f9c_02ab).as_str(), "0f9c02ab");
        assert_eq!(AgentId::from_number(0x0f9c_02ab).number(), 0x0f9c_02ab);
        let random = AgentId::random();
        assert_eq!(random.as_str().parse::<AgentId>().unwrap(), random);
    }
}
