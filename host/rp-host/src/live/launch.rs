//! How each harness is told of the mesh, without a word in the person's own files.

use std::{ffi::OsString, path::Path};

use serde_json::{Value, json};

use crate::{
    api,
    problem::{Problem, While},
};

/// The tools of the mesh, and what gives Pi its messages.
const PI_FILES: [(&str, &str); 2] = [
    ("mesh.ts", include_str!("../../../../adapters/pi/extension/mesh.ts")),
    ("live.ts", include_str!("../../../../adapters/pi/extension/live.ts")),
];

/// What speaks for the agent on the control socket. It is in the environment, never in arguments:
/// those are for everybody on the machine to read.
const VARIABLES: [&str; 3] = ["RP_HOST_SOCKET", "RP_AGENT_ID", "RP_AGENT_TOKEN"];

/// Seconds after which a harness gives up on a hook of the mesh.
const HOOK_SECONDS: u32 = 30;

/// A harness that can live in a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harness {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// Pi.
    Pi,
    /// OpenCode.
    OpenCode,
}

/// What a harness is started with.
#[derive(Debug, Default)]
pub struct Launch {
    /// Before the person's own arguments.
    pub arguments: Vec<OsString>,
    /// On top of this process's own environment.
    pub environment: Vec<(String, String)>,
    /// In the agent's private folder.
    pub files: Vec<(&'static str, String)>,
    /// What the person must know.
    pub note: Option<&'static str>,
}

impl Harness {
    /// The harness as `rp-host harness list` names it.
    pub fn adapter(self) -> &'static str {
        match self {
            Self::Claude => "claude-code",
            Self::Codex => "codex",
            Self::Pi => "pi",
            Self::OpenCode => "opencode",
        }
    }

    /// Refuses what would take the mesh out of the harness again.
    pub fn check(self, flags: &[OsString]) -> Result<(), Problem> {
        let is_settings = |flag: &OsString| {
            flag.to_str()
                .is_some_and(|flag| flag == "--settings" || flag.starts_with("--settings="))
        };
        if self == Self::Claude && flags.iter().any(is_settings) {
            return Err(Problem::usage(
                "Claude Code takes --settings once, and rp-host gives it its hooks by that",
            )
            .hint("put your settings into .claude/settings.local.json of the folder"));
        }
        Ok(())
    }

    /// What the harness of this agent is started with; its private files are in `own`.
    pub fn launch(self, live: &api::Live, own: &Path) -> Result<Launch, Problem> {
        let program = std::env::current_exe().doing("find this program")?;
        let program = program.to_str().ok_or_else(|| {
            Problem::failed(format!("the path {} is not valid UTF-8", program.display()))
        })?;
        let mut launch = match self {
            Self::Claude => claude(live, own, program),
            Self::Codex => codex(program),
            Self::Pi => pi(live, own),
            Self::OpenCode => opencode(live, program),
        };
        launch.environment.extend(variables(live));
        Ok(launch)
    }
}

fn variables(live: &api::Live) -> impl Iterator<Item = (String, String)> {
    let values = [&live.socket, &live.id, &live.token];
    VARIABLES.into_iter().zip(values).map(|(name, value)| (name.to_owned(), value.clone()))
}

fn hook_command(program: &str) -> String {
    format!("'{}' hook", program.replace('\'', r"'\''"))
}

fn claude(live: &api::Live, own: &Path, program: &str) -> Launch {
    let environment: serde_json::Map<String, Value> =
        variables(live).map(|(name, value)| (name, value.into())).collect();
    let server = json!({
        "type": "stdio", "command": program, "args": ["mcp"], "env": environment,
        // Otherwise the model has to search for the tools before it sees them.
        "alwaysLoad": true,
    });
    let hook = json!([{ "hooks": [
        { "type": "command", "command": hook_command(program), "timeout": HOOK_SECONDS },
    ] }]);
    let settings = json!({
        "hooks": { "SessionStart": hook, "UserPromptSubmit": hook, "Stop": hook },
        "permissions": { "allow": ["mcp__mesh"] },
    });
    let path = |name| own.join(name).into_os_string();
    Launch {
        // The first takes everything up to the next option, so it does not come last.
        arguments: vec![
            "--mcp-config".into(),
            path("mcp.json"),
            "--settings".into(),
            path("settings.json"),
        ],
        files: vec![
            ("mcp.json", json!({ "mcpServers": { "mesh": server } }).to_string()),
            ("settings.json", settings.to_string()),
        ],
        ..Launch::default()
    }
}

/// Codex reads what stands behind `-c` as TOML, and JSON text and lists of texts are that.
fn codex(program: &str) -> Launch {
    let hook = format!(
        "[{{hooks=[{{type=\"command\",command={},timeout={HOOK_SECONDS}}}]}}]",
        json!(hook_command(program))
    );
    let settings = [
        format!("mcp_servers.mesh.command={}", json!(program)),
        "mcp_servers.mesh.args=[\"mcp\",\"--ask\"]".to_owned(),
        format!("mcp_servers.mesh.env_vars={}", json!(VARIABLES)),
        "mcp_servers.mesh.default_tools_approval_mode=\"approve\"".to_owned(),
        format!("hooks.SessionStart={hook}"),
        format!("hooks.UserPromptSubmit={hook}"),
        format!("hooks.Stop={hook}"),
    ];
    Launch {
        arguments: settings.into_iter().flat_map(|setting| ["-c".into(), setting.into()]).collect(),
        note: Some(
            "Codex asks you once whether to trust the hooks that bring messages (/hooks); without them \
             its model is told to fetch messages itself.",
        ),
        ..Launch::default()
    }
}

fn pi(live: &api::Live, own: &Path) -> Launch {
    Launch {
        arguments: vec![
            "-e".into(),
            own.join("live.ts").into_os_string(),
            "--skill".into(),
            live.skill.clone().into(),
        ],
        files: PI_FILES.map(|(name, text)| (name, text.to_owned())).to_vec(),
        environment: vec![("RP_AGENT_LIVE".to_owned(), own.display().to_string())],
        ..Launch::default()
    }
}

/// OpenCode adds what stands in this variable to its own configuration.
fn opencode(live: &api::Live, program: &str) -> Launch {
    let environment: serde_json::Map<String, Value> =
        variables(live).map(|(name, value)| (name, value.into())).collect();
    let server = json!({
        "type": "local", "command": [program, "mcp", "--ask"], "environment": environment,
        "enabled": true,
    });
    let config = json!({ "mcp": { "mesh": server } });
    Launch {
        environment: vec![("OPENCODE_CONFIG_CONTENT".to_owned(), config.to_string())],
        note: Some(
            "OpenCode has no hooks for messages: its model is told to ask for them with \
             get_messages.",
        ),
        ..Launch::default()
    }
}
