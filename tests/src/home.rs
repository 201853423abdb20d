//! A home folder in which harnesses know the scripted model and nothing else.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::install::Program;

/// A home folder; it vanishes when this is dropped.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
}

impl Home {
    /// A home with these programs, for a model at this address: [`crate::model::Model::url`].
    pub fn new(model_url: &str, programs: &[Program]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rp-home-").tempdir()?;
        let write = |path: &str, text: String| -> Result<()> {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
            Ok(fs::write(path, text)?)
        };
        write("environment", environment(folder.path(), model_url))?;
        write(".pi/agent/models.json", pi_models(model_url).to_string())?;
        write(".pi/agent/settings.json", pi_settings().to_string())?;
        write(".codex/config.toml", codex_config(model_url))?;
        write(".config/opencode/opencode.json", opencode_config(model_url).to_string())?;
        fs::create_dir(folder.path().join("tmp"))?;
        // A link suffices: a program takes the folder above the link's for its home.
        fs::create_dir(folder.path().join("bin"))?;
        for program in programs {
            symlink(&program.path, folder.path().join("bin").join(program.name))?;
        }
        Ok(Self { folder })
    }

    /// A program of this home. It needs no variable in its environment.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.path().join("bin").join(name)
    }

    /// A `PATH` on which this home's programs come first.
    pub fn search_path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", self.folder.path().join("bin").display())
    }

    /// What a program needs in its environment to use this home and its programs.
    pub fn environment(&self) -> Vec<(String, String)> {
        let home = self.folder.path().display().to_string();
        vec![("HOME".to_owned(), home), ("PATH".to_owned(), self.search_path())]
    }
}

/// What every program of a home starts with, as a shell reads it: whatever the tests themselves
/// run in, a harness finds its files in its home and its model on loopback.
fn environment(home: &Path, model_url: &str) -> String {
    let anthropic = model_url.trim_end_matches("/v1");
    format!(
        "export HOME='{home}' TMPDIR='{home}/tmp'\n\
         export XDG_CONFIG_HOME='{home}/.config' XDG_CACHE_HOME='{home}/.cache'\n\
         export XDG_DATA_HOME='{home}/.local/share' XDG_STATE_HOME='{home}/.local/state'\n\
         export PI_CODING_AGENT_DIR='{home}/.pi/agent' PI_OFFLINE=1\n\
         export ANTHROPIC_BASE_URL='{anthropic}' ANTHROPIC_API_KEY=unused\n\
         export CLAUDE_CONFIG_DIR='{home}/.claude' CLAUDE_CODE_MAX_RETRIES=3\n\
         export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_TELEMETRY=1\n\
         export CODEX_HOME='{home}/.codex'\n\
         export OPENCODE_DISABLE_MODELS_FETCH=1 npm_config_offline=true\n\
         unset CLAUDECODE ANTHROPIC_AUTH_TOKEN ANTHROPIC_MODEL OPENAI_API_KEY OPENCODE_CONFIG\n",
        home = home.display()
    )
}

fn pi_models(url: &str) -> Value {
    let model = |id: &str, name: &str| {
        json!({
            "id": id, "name": name, "reasoning": true, "input": ["text", "image"],
            "contextWindow": 200_000, "maxTokens": 8192,
        })
    };
    let models = [model("script-1", "Script One"), model("script-2", "Script Two")];
    json!({ "providers": { "scripted": {
        "baseUrl": url, "api": "openai-completions", "apiKey": "unused", "models": models,
    } } })
}

fn pi_settings() -> Value {
    json!({
        "defaultProvider": "scripted",
        "defaultModel": "script-1",
        "quietStartup": true,
        // Retries as they are, but at once.
        "retry": { "enabled": true, "maxRetries": 3, "baseDelayMs": 20 },
    })
}

fn codex_config(url: &str) -> String {
    format!(
        "model = \"script-1\"\nmodel_provider = \"scripted\"\ncheck_for_update_on_startup = false\n\
         [model_providers.scripted]\nname = \"scripted\"\nbase_url = \"{url}\"\n\
         wire_api = \"responses\"\n"
    )
}

/// OpenCode asks about commands only where its configuration says so.
fn opencode_config(url: &str) -> Value {
    let model = json!({
        "reasoning": true, "attachment": true,
        "limit": { "context": 200_000, "output": 8192 },
        "modalities": { "input": ["text", "image"], "output": ["text"] },
    });
    json!({
        "autoupdate": false,
        "share": "disabled",
        "model": "scripted/script-1",
        "small_model": "scripted/script-2",
        "permission": { "bash": "ask" },
        "provider": { "scripted": {
            "npm": "@ai-sdk/openai-compatible",
            "options": { "baseURL": url, "apiKey": "unused" },
            "models": { "script-1": model, "script-2": {} },
        } },
    })
}
