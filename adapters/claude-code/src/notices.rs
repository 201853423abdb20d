//! What happens beside the conversation: retries, compactions, servers that fail.

use rp_sdk::session::Severity;

use crate::decode::{ApiRetry, McpServer, System};
use crate::session::ClaudeCode;

impl ClaudeCode {
    /// `api_retry`
    pub(crate) fn retrying(&mut self, line: ApiRetry<'_>) {
        let error = line.error.as_deref().unwrap_or("unknown");
        let what = match (error, line.error_status) {
            (_, Some(status)) => format!("the provider answers {status} ({error})"),
            ("unknown", None) => "the provider cannot be reached, or broke off".to_owned(),
            (_, None) => format!("the provider failed ({error})"),
        };
        let seconds = line.retry_delay_ms / 1000.0;
        let (attempt, of) = (line.attempt, line.max_retries);
        let text = format!("{what}: trying again in {seconds:.1} s ({attempt} of {of})");
        self.effects.notice(Severity::Warning, text);
    }

    /// `status`
    pub(crate) fn status(&mut self, line: System<'_>) {
        self.learn_mode(line.permission_mode.as_deref());
        if line.status.as_deref() == Some("compacting") {
            self.effects.notice(Severity::Info, "Claude shortens the context");
        }
        if let Some(error) = line.compact_error
            && !self.turn.local_said(&error)
        {
            self.effects
                .notice(Severity::Warning, format!("the context was not shortened: {}", &*error));
        }
    }

    /// `compact_boundary`
    pub(crate) fn compacted(&mut self, line: System<'_>) {
        self.turn.local_achieved();
        self.known.shortened();
        let tokens = line.compact_metadata.map(|data| (data.pre_tokens, data.post_tokens));
        let text = match tokens {
            Some((Some(before), Some(after))) => {
                format!("the context was shortened from {before} to about {after} tokens")
            }
            _ => "the context was shortened".to_owned(),
        };
        self.effects.notice(Severity::Info, text);
    }

    /// `conversation_reset`: what follows is another conversation.
    pub(crate) fn conversation_reset(&mut self) {
        if !self.turn.is_busy() && self.prompts.clear_is_next() {
            self.work_begins();
        }
        self.turn.local_achieved();
        self.known.moved();
    }

    /// `informational`
    pub(crate) fn informed(&mut self, line: System<'_>) {
        let severity = match line.level.as_deref() {
            Some("error") => Severity::Error,
            Some("warning") => Severity::Warning,
            _ => Severity::Info,
        };
        if let Some(text) = line.content {
            self.effects.notice(severity, text.into_owned());
        }
    }

    /// A server that fails stops nothing, so somebody has to be told of the mesh's.
    pub(crate) fn look_at_servers(&mut self, servers: &[McpServer<'_>]) {
        let Some(mesh) = self.request.mesh.as_ref().map(|mesh| mesh.server.name.as_str()) else {
            return;
        };
        let failed =
            servers.iter().any(|server| &*server.name == mesh && &*server.status == "failed");
        if failed && !std::mem::replace(&mut self.process.told_of_mesh, true) {
            let text = "Claude Code could not start the server with the tools of the mesh";
            self.effects.notice(Severity::Error, text);
        }
    }
}
