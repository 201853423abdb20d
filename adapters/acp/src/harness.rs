//! The agents, and where they part. What is here was measured of the versions named here.

use rp_sdk::interface::{Abilities, Description};

/// An agent that is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harness {
    OpenCode,
    PiAcp,
    Gemini,
    /// The program that the agent's settings name. Nothing is known of it.
    Other,
}

/// Text that an agent sends as if the model had said it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Status<'a> {
    /// It says nothing that is not told otherwise.
    Dropped,
    /// The model failed, and is asked once more.
    Retry(&'a str),
    /// The session is in this mode now.
    Mode(&'a str),
}

impl Harness {
    pub(crate) const ALL: [Self; 4] = [Self::OpenCode, Self::PiAcp, Self::Gemini, Self::Other];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|harness| harness.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenCode => "opencode",
            Self::PiAcp => "pi-acp",
            Self::Gemini => "gemini",
            Self::Other => "acp",
        }
    }

    /// What it is called in a sentence.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::OpenCode => "OpenCode",
            Self::PiAcp => "pi-acp",
            Self::Gemini => "Gemini CLI",
            Self::Other => "the agent",
        }
    }

    pub(crate) fn tested(self) -> &'static [&'static str] {
        match self {
            Self::OpenCode => &["1.18.33"],
            Self::PiAcp => &["0.0.34"],
            Self::Gemini => &["0.61.0"],
            Self::Other => &[],
        }
    }

    /// How a person installs it.
    pub(crate) fn install(self) -> &'static str {
        match self {
            Self::OpenCode => "npm install --global opencode-ai",
            Self::PiAcp => "npm install --global pi-acp @earendil-works/pi-coding-agent",
            Self::Gemini => "npm install --global @google/gemini-cli",
            Self::Other => {
                r#"name the agent's program in the settings: {"command":["program","argument"]}"#
            }
        }
    }

    /// What a person does who is not logged in.
    pub(crate) fn login(self) -> &'static str {
        match self {
            Self::OpenCode => "run `opencode auth login` in a terminal",
            Self::PiAcp => {
                "run `pi` in a terminal and log in with /login, or set the provider's API key"
            }
            Self::Gemini => "run `gemini` in a terminal and log in, or set GEMINI_API_KEY",
            Self::Other => "log in with the agent's own program in a terminal",
        }
    }

    pub(crate) fn describe(self) -> Description {
        let title = if self == Self::Other { "Agent Client Protocol" } else { self.title() };
        // pi-acp has no argument for its version: asked for it, it starts the server.
        let (program, version_args) = match self {
            Self::OpenCode => ("opencode", vec!["--version".to_owned()]),
            Self::PiAcp => ("pi-acp", Vec::new()),
            Self::Gemini => ("gemini", vec!["--version".to_owned()]),
            Self::Other => ("", Vec::new()),
        };
        Description {
            name: self.name().to_owned(),
            title: title.to_owned(),
            program: program.to_owned(),
            version_args,
            tested: self.tested().iter().map(|version| (*version).to_owned()).collect(),
            install: self.install().to_owned(),
            abilities: self.abilities(),
        }
    }

    pub(crate) fn abilities(self) -> Abilities {
        // Prompts that have to wait wait in the adapter, so every agent queues, and an abort
        // takes back what is queued.
        let common = Abilities::QUEUE
            | Abilities::INTERRUPT
            | Abilities::TAKE_BACK
            | Abilities::ABORT
            | Abilities::IMAGES
            | Abilities::LIST_MODELS
            | Abilities::SET_MODEL
            | Abilities::STREAM_THINKING
            | Abilities::NEW_SESSION
            | Abilities::RESUME
            | Abilities::HISTORY;
        common
            | match self {
                Self::OpenCode => {
                    Abilities::STEER
                        | Abilities::PERMISSION_QUESTIONS
                        | Abilities::SET_THINKING
                        | Abilities::STREAM_TOOL_OUTPUT
                        | Abilities::COMPACT
                        | Abilities::MESH_TOOLS
                        | Abilities::USAGE
                        | Abilities::COST
                        | Abilities::MODEL_ERRORS
                }
                Self::PiAcp => {
                    Abilities::QUESTIONS
                        | Abilities::SURVIVES_DENIAL
                        | Abilities::SET_THINKING
                        | Abilities::STREAM_TOOL_OUTPUT
                        | Abilities::COMPACT
                        | Abilities::USAGE
                }
                Self::Gemini => {
                    Abilities::PERMISSION_QUESTIONS
                        | Abilities::SURVIVES_DENIAL
                        | Abilities::MESH_TOOLS
                        | Abilities::USAGE
                        | Abilities::MODEL_ERRORS
                }
                // Nobody has measured it, so this is what the protocol has. What the agent lacks of
                // it is answered with `unsupported` all the same.
                Self::Other => Abilities::PERMISSION_QUESTIONS,
            }
    }

    /// Whether it accepts MCP servers and starts none of them.
    pub(crate) fn ignores_servers(self) -> bool {
        self == Self::PiAcp
    }

    /// Whether its `/compact` takes instructions.
    pub(crate) fn compacts_as_told(self) -> bool {
        self == Self::PiAcp
    }

    /// Whether the rest of a loaded session's history may follow the answer.
    pub(crate) fn history_follows_answer(self) -> bool {
        self == Self::Gemini
    }

    /// Whether a tool call is announced before its arguments are complete.
    pub(crate) fn arguments_come_late(self) -> bool {
        self == Self::OpenCode
    }

    /// Whether each chunk of thinking is a thought of its own.
    pub(crate) fn thoughts_are_whole(self) -> bool {
        self == Self::Gemini
    }

    /// A thought as the model had it: without a subject Gemini puts an empty heading over it.
    pub(crate) fn thought(self, text: &str) -> &str {
        match self {
            Self::Gemini => text.strip_prefix("****\n").unwrap_or(text),
            _ => text,
        }
    }

    /// The name of a tool. The protocol has none: there is a title, which often is the command
    /// that is run, and a kind. `live` is false for a call out of the history.
    pub(crate) fn tool_name<'a>(
        self,
        id: &'a str,
        title: &'a str,
        kind: &'a str,
        live: bool,
    ) -> &'a str {
        match self {
            Self::OpenCode if live && !title.is_empty() => title,
            Self::Gemini if id.contains("__") => id.rsplit_once("__").map_or(id, |(name, _)| name),
            _ if !matches!(kind, "" | "other") => kind,
            _ if !title.is_empty() => title,
            _ => "tool",
        }
    }

    /// What a text of the model really is, if it is not the model's.
    pub(crate) fn status(self, text: &str) -> Option<Status<'_>> {
        match self {
            Self::PiAcp => {
                let queued = text.starts_with("Queued message (position ")
                    || text.starts_with("Starting queued message. (");
                if (queued && text.ends_with([')', '.'])) || text == "Retry finished, resuming." {
                    return Some(Status::Dropped);
                }
                let retry = text.starts_with("Retrying (attempt ") && text.ends_with(")...");
                retry.then_some(Status::Retry(text))
            }
            Self::Gemini => text.strip_prefix("[MODE_UPDATE] ").map(Status::Mode),
            _ => None,
        }
    }

    /// Whether a message of the user out of the history was never written by one.
    pub(crate) fn made_up(self, text: &str) -> bool {
        self == Self::Gemini
            && (text.starts_with("<session_context>") || text.starts_with("[Function Response: "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_harness_is_found_by_its_name_and_no_other_is() {
        for harness in Harness::ALL {
            assert_eq!(Harness::named(harness.name()), Some(harness));
        }
        assert_eq!(Harness::named("pi"), None);
    }

    #[test]
    fn what_pi_acp_says_itself_is_told_from_what_the_model_says() {
        let status = |text| Harness::PiAcp.status(text);
        assert_eq!(status("Queued message (position 1)."), Some(Status::Dropped));
        assert_eq!(status("Starting queued message. (0 remaining)"), Some(Status::Dropped));
        assert_eq!(status("Retry finished, resuming."), Some(Status::Dropped));
        let retry = "Retrying (attempt 1/3, waiting 2s)...";
        assert_eq!(status(retry), Some(Status::Retry(retry)));
        assert_eq!(status("Retrying is a verb."), None);
        assert_eq!(Harness::OpenCode.status(retry), None);
    }

    #[test]
    fn a_tool_has_the_best_name_its_agent_gives() {
        let name = |harness: Harness, live| harness.tool_name("call_1", "ls", "execute", live);
        assert_eq!(name(Harness::OpenCode, true), "ls");
        assert_eq!(name(Harness::OpenCode, false), "execute");
        assert_eq!(name(Harness::Other, true), "execute");
        let gemini = Harness::Gemini.tool_name("mcp_mesh_list_peers__fc_g", "list", "other", true);
        assert_eq!(gemini, "mcp_mesh_list_peers");
        assert_eq!(Harness::Other.tool_name("1", "", "other", true), "tool");
    }
}
