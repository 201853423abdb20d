//! Action types of `rp-protocol` and of the actions world, into each other, and the session types
//! that actions hear of and adapters do not.
//!
//! JSON that a component wrote is parsed here. Text that is no JSON becomes a JSON string.

use rp_protocol::{actions as ours, session};

use crate::{
    bindings::{
        actions::exports::rp::actions::handler as theirs, harness::rp::session::types as wit,
    },
    convert_session::{all, same_names, value},
};

same_names!(session::Role => wit::Role, User Assistant Tool System);
same_names!(wit::Urgency => session::Urgency, WhenIdle AfterTools Interrupt);
same_names!(session::FailureKind => wit::FailureKind,
    Unsupported Refused Busy NotFound Harness Invalid);

// What a component says.

impl From<theirs::Action> for ours::Action {
    fn from(action: theirs::Action) -> Self {
        ours::Action {
            name: action.name,
            title: action.title,
            summary: action.summary,
            icon: action.icon,
            parameters: value(action.parameters),
            destructive: action.destructive,
            harnesses: action.harnesses,
        }
    }
}

impl From<theirs::Progress> for ours::Progress {
    fn from(progress: theirs::Progress) -> Self {
        match progress {
            theirs::Progress::Steps(steps) => ours::Progress::Steps { steps: all(steps) },
            theirs::Progress::Finished(text) => ours::Progress::Finished { text },
        }
    }
}

impl From<theirs::Step> for ours::Step {
    fn from(step: theirs::Step) -> Self {
        match step {
            theirs::Step::Command(command) => ours::Step::Command { command: command.into() },
            theirs::Step::Ask(prompt) => ours::Step::Ask { prompt },
            theirs::Step::Send((to, body)) => ours::Step::Send { to, body: value(body) },
            theirs::Step::Notify(text) => ours::Step::Notify { text },
        }
    }
}

impl From<wit::Command> for session::Command {
    fn from(command: wit::Command) -> Self {
        use session::Command as Ours;
        use wit::Command as Theirs;
        match command {
            Theirs::Prompt(prompt) => Ours::Prompt(session::Prompt {
                text: prompt.text,
                images: all(prompt.images),
                urgency: prompt.urgency.into(),
            }),
            Theirs::Abort => Ours::Abort,
            Theirs::NewSession => Ours::NewSession,
            Theirs::Resume(session) => Ours::Resume { session },
            Theirs::Compact(instructions) => Ours::Compact { instructions },
            Theirs::SetModel(model) => Ours::SetModel { model: model.into() },
            Theirs::SetThinking(level) => Ours::SetThinking { level: level.into() },
            Theirs::ListModels => Ours::ListModels,
            Theirs::History => Ours::History,
            Theirs::Answer((question, answer)) => Ours::Answer { question, answer: answer.into() },
            Theirs::Rename(title) => Ours::Rename { title },
            Theirs::Refresh => Ours::Refresh,
            Theirs::Other((name, arguments)) => Ours::Other { name, arguments: value(arguments) },
        }
    }
}

impl From<wit::Answer> for session::Answer {
    fn from(answer: wit::Answer) -> Self {
        match answer {
            wit::Answer::Choice(choice) => session::Answer::Choice { choice },
            wit::Answer::Confirm(yes) => session::Answer::Confirm { yes },
            wit::Answer::Text(text) => session::Answer::Text { text },
            wit::Answer::DenyWithGuidance(guidance) => {
                session::Answer::DenyWithGuidance { guidance }
            }
            wit::Answer::Dismiss => session::Answer::Dismiss,
        }
    }
}

// What a component is told.

impl From<&ours::Context> for theirs::Context {
    fn from(context: &ours::Context) -> Self {
        theirs::Context {
            agent: (&context.agent).into(),
            state: (&context.state).into(),
            parameters: serde_json::Value::Object(context.parameters.clone()).to_string(),
            peers: context.peers.iter().map(Into::into).collect(),
        }
    }
}

impl From<&ours::Peer> for theirs::Peer {
    fn from(peer: &ours::Peer) -> Self {
        theirs::Peer {
            pc: peer.pc.clone(),
            address: peer.address.clone(),
            name: peer.name.clone(),
            cwd: peer.cwd.clone(),
            harness: peer.harness.clone(),
        }
    }
}

impl From<&session::State> for wit::State {
    fn from(state: &session::State) -> Self {
        wit::State {
            working: state.working,
            model: state.model.as_ref().map(Into::into),
            thinking: state.thinking.map(Into::into),
            title: state.title.clone(),
            native_session: state.native_session.clone(),
        }
    }
}

impl From<&session::Model> for wit::Model {
    fn from(model: &session::Model) -> Self {
        let session::ModelRef { provider, id } = &model.reference;
        wit::Model {
            ref_: wit::ModelRef { provider: provider.clone(), id: id.clone() },
            name: model.name.clone(),
            reasoning: model.reasoning,
            vision: model.vision,
            context_window: model.context_window,
        }
    }
}

/// The replies as the component gets them.
pub(crate) fn replies(
    replies: &[Result<session::Reply, session::Failure>],
) -> Vec<Result<wit::Reply, wit::Failure>> {
    let one = |reply: &Result<session::Reply, session::Failure>| match reply {
        Ok(reply) => Ok(reply.into()),
        Err(failure) => Err(failure.into()),
    };
    replies.iter().map(one).collect()
}

impl From<&session::Reply> for wit::Reply {
    fn from(reply: &session::Reply) -> Self {
        use session::Reply as Ours;
        match reply {
            Ours::Done => wit::Reply::Done,
            Ours::Models { models } => wit::Reply::Models(models.iter().map(Into::into).collect()),
            Ours::History { messages } => {
                wit::Reply::History(messages.iter().map(Into::into).collect())
            }
            Ours::Data { data } => wit::Reply::Data(data.to_string()),
        }
    }
}

impl From<&session::Failure> for wit::Failure {
    fn from(failure: &session::Failure) -> Self {
        wit::Failure {
            kind: failure.kind.into(),
            message: failure.message.clone(),
            hint: failure.hint.clone(),
        }
    }
}

impl From<&session::Message> for wit::Message {
    fn from(message: &session::Message) -> Self {
        wit::Message {
            id: message.id.clone(),
            role: message.role.into(),
            text: message.text.clone(),
            thinking: message.thinking.clone(),
            tool: message.tool.as_ref().map(Into::into),
            images: message.images.iter().map(Into::into).collect(),
            at_ms: message.at_ms,
        }
    }
}

impl From<&session::ToolCall> for wit::ToolCall {
    fn from(call: &session::ToolCall) -> Self {
        wit::ToolCall {
            id: call.id.clone(),
            name: call.name.clone(),
            input: call.input.to_string(),
            output: call.output.clone(),
            failed: call.failed,
        }
    }
}
