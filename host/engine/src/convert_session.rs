//! Session types of `rp-protocol` and of the harness world, into each other. What only actions
//! hear of is in `convert_actions`.
//!
//! JSON that a component wrote is parsed here. Text that is no JSON becomes a JSON string,
//! so that nothing a harness said is lost.

use rp_protocol::session as ours;
use serde_json::Value;

use crate::bindings::harness::{
    exports::rp::harness::adapter as harness, rp::session::types as theirs,
};

pub(crate) fn value(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

pub(crate) fn all<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(B::from).collect()
}

/// Conversions between enums whose cases have the same names and carry nothing.
macro_rules! same_names {
    ($from:ty => $to:ty, $($case:ident)*) => {
        impl From<$from> for $to {
            fn from(from: $from) -> Self {
                match from { $(<$from>::$case => <$to>::$case,)* }
            }
        }
    };
}

pub(crate) use same_names;

same_names!(theirs::Thinking => ours::Thinking, Off Minimal Low Medium High Xhigh Max);
same_names!(ours::Thinking => theirs::Thinking, Off Minimal Low Medium High Xhigh Max);
same_names!(theirs::Role => ours::Role, User Assistant Tool System);
same_names!(ours::Urgency => theirs::Urgency, WhenIdle AfterTools Interrupt);
same_names!(theirs::Severity => ours::Severity, Info Warning Error);
same_names!(theirs::PermissionEffect => ours::PermissionEffect,
    AllowOnce AllowAlways DenyOnce DenyAlways);
same_names!(theirs::FailureKind => ours::FailureKind,
    Unsupported Refused Busy NotFound Harness Invalid);
same_names!(theirs::TurnEnd => ours::TurnEnd, Completed Aborted Failed Limit);
same_names!(harness::Framing => ours::Framing, Lines Bytes);

// What a component says.

impl From<theirs::Image> for ours::Image {
    fn from(image: theirs::Image) -> Self {
        ours::Image { mime: image.mime, data: image.data }
    }
}

impl From<theirs::ModelRef> for ours::ModelRef {
    fn from(reference: theirs::ModelRef) -> Self {
        ours::ModelRef { provider: reference.provider, id: reference.id }
    }
}

impl From<theirs::Model> for ours::Model {
    fn from(model: theirs::Model) -> Self {
        ours::Model {
            reference: model.ref_.into(),
            name: model.name,
            reasoning: model.reasoning,
            vision: model.vision,
            context_window: model.context_window,
        }
    }
}

impl From<theirs::PermissionOption> for ours::PermissionOption {
    fn from(option: theirs::PermissionOption) -> Self {
        ours::PermissionOption { id: option.id, label: option.label, effect: option.effect.into() }
    }
}

impl From<theirs::QuestionKind> for ours::QuestionKind {
    fn from(kind: theirs::QuestionKind) -> Self {
        match kind {
            theirs::QuestionKind::Permission(request) => ours::QuestionKind::Permission {
                tool: request.tool,
                input: value(request.input),
                options: all(request.options),
            },
            theirs::QuestionKind::Choose(options) => ours::QuestionKind::Choose { options },
            theirs::QuestionKind::Confirm => ours::QuestionKind::Confirm,
            theirs::QuestionKind::Text(prefill) => ours::QuestionKind::Text { prefill },
        }
    }
}

impl From<theirs::Question> for ours::Question {
    fn from(question: theirs::Question) -> Self {
        ours::Question {
            id: question.id,
            title: question.title,
            detail: question.detail,
            kind: question.kind.into(),
            expires_ms: question.expires_ms,
        }
    }
}

impl From<theirs::ToolCall> for ours::ToolCall {
    fn from(call: theirs::ToolCall) -> Self {
        ours::ToolCall {
            id: call.id,
            name: call.name,
            input: value(call.input),
            output: call.output,
            failed: call.failed,
        }
    }
}

impl From<theirs::Message> for ours::Message {
    fn from(message: theirs::Message) -> Self {
        ours::Message {
            id: message.id,
            role: message.role.into(),
            text: message.text,
            thinking: message.thinking,
            tool: message.tool.map(Into::into),
            images: all(message.images),
            at_ms: message.at_ms,
        }
    }
}

impl From<theirs::Usage> for ours::Usage {
    fn from(usage: theirs::Usage) -> Self {
        ours::Usage {
            input: usage.input,
            output: usage.output,
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            cost_usd: usage.cost_usd,
            context_percent: usage.context_percent,
        }
    }
}

impl From<theirs::State> for ours::State {
    fn from(state: theirs::State) -> Self {
        ours::State {
            working: state.working,
            model: state.model.map(Into::into),
            thinking: state.thinking.map(Into::into),
            title: state.title,
            native_session: state.native_session,
        }
    }
}

impl From<theirs::Reply> for ours::Reply {
    fn from(reply: theirs::Reply) -> Self {
        match reply {
            theirs::Reply::Done => ours::Reply::Done,
            theirs::Reply::Models(models) => ours::Reply::Models { models: all(models) },
            theirs::Reply::History(messages) => ours::Reply::History { messages: all(messages) },
            theirs::Reply::Data(data) => ours::Reply::Data { data: value(data) },
        }
    }
}

impl From<theirs::Failure> for ours::Failure {
    fn from(failure: theirs::Failure) -> Self {
        ours::Failure { kind: failure.kind.into(), message: failure.message, hint: failure.hint }
    }
}

impl From<theirs::Event> for ours::Event {
    fn from(event: theirs::Event) -> Self {
        use theirs::Event as Theirs;
        match event {
            Theirs::State(state) => ours::Event::State(state.into()),
            Theirs::TurnStarted => ours::Event::TurnStarted,
            Theirs::PromptSeen(number) => ours::Event::PromptSeen { number },
            Theirs::PromptsDropped(numbers) => ours::Event::PromptsDropped { numbers },
            Theirs::Text((message, piece)) => ours::Event::Text { message, piece },
            Theirs::Thinking((message, piece)) => ours::Event::Thinking { message, piece },
            Theirs::ToolStarted(call) => ours::Event::ToolStarted(call.into()),
            Theirs::ToolProgress((call, piece)) => ours::Event::ToolProgress { call, piece },
            Theirs::ToolEnded(call) => ours::Event::ToolEnded(call.into()),
            Theirs::MessageEnded(message) => ours::Event::MessageEnded(message.into()),
            Theirs::Question(question) => ours::Event::Question(question.into()),
            Theirs::QuestionSettled(question) => {
                ours::Event::QuestionSettled { question, how: None }
            }
            Theirs::Usage(usage) => ours::Event::Usage(usage.into()),
            Theirs::TurnEnded(how) => ours::Event::TurnEnded { how: how.into() },
            Theirs::Notice((severity, text)) => {
                ours::Event::Notice { severity: severity.into(), text }
            }
            Theirs::Other((name, data)) => ours::Event::Other { name, data: value(data) },
        }
    }
}

impl From<harness::LaunchSpec> for ours::LaunchSpec {
    fn from(spec: harness::LaunchSpec) -> Self {
        ours::LaunchSpec {
            program: spec.program,
            args: spec.args,
            env: spec.env,
            files: spec.files,
            framing: spec.framing.into(),
        }
    }
}

impl From<harness::Effect> for ours::Effect {
    fn from(effect: harness::Effect) -> Self {
        use harness::Effect as Theirs;
        match effect {
            Theirs::Write(bytes) => ours::Effect::Write(bytes),
            Theirs::Event(event) => ours::Effect::Event(event.into()),
            Theirs::Settle((number, outcome)) => {
                ours::Effect::Settle(number, outcome.map(Into::into).map_err(Into::into))
            }
            Theirs::WakeAfter(milliseconds) => ours::Effect::WakeAfter(milliseconds),
            Theirs::Relaunch(spec) => ours::Effect::Relaunch(spec.into()),
            Theirs::Stop => ours::Effect::Stop,
        }
    }
}

impl From<harness::Description> for ours::HarnessDescription {
    fn from(description: harness::Description) -> Self {
        ours::HarnessDescription {
            name: description.name,
            title: description.title,
            program: description.program,
            version_args: description.version_args,
            tested: description.tested,
            install: description.install,
            abilities: abilities(description.abilities),
        }
    }
}

fn abilities(flags: harness::Abilities) -> Vec<ours::Ability> {
    use harness::Abilities as Flag;
    use ours::Ability;
    [
        (Flag::STEER, Ability::Steer),
        (Flag::QUEUE, Ability::Queue),
        (Flag::INTERRUPT, Ability::Interrupt),
        (Flag::TAKE_BACK, Ability::TakeBack),
        (Flag::ABORT, Ability::Abort),
        (Flag::IMAGES, Ability::Images),
        (Flag::PERMISSION_QUESTIONS, Ability::PermissionQuestions),
        (Flag::QUESTIONS, Ability::Questions),
        (Flag::SURVIVES_DENIAL, Ability::SurvivesDenial),
        (Flag::LIST_MODELS, Ability::ListModels),
        (Flag::SET_MODEL, Ability::SetModel),
        (Flag::SET_THINKING, Ability::SetThinking),
        (Flag::STREAM_THINKING, Ability::StreamThinking),
        (Flag::STREAM_TOOL_OUTPUT, Ability::StreamToolOutput),
        (Flag::COMPACT, Ability::Compact),
        (Flag::NEW_SESSION, Ability::NewSession),
        (Flag::RESUME, Ability::Resume),
        (Flag::HISTORY, Ability::History),
        (Flag::RENAME, Ability::Rename),
        (Flag::MESH_TOOLS, Ability::MeshTools),
        (Flag::USAGE, Ability::Usage),
        (Flag::COST, Ability::Cost),
        (Flag::MODEL_ERRORS, Ability::ModelErrors),
    ]
    .into_iter()
    .filter(|(flag, _)| flags.contains(*flag))
    .map(|(_, ability)| ability)
    .collect()
}

// What a component is told.

impl From<&ours::Image> for theirs::Image {
    fn from(image: &ours::Image) -> Self {
        theirs::Image { mime: image.mime.clone(), data: image.data.clone() }
    }
}

impl From<&ours::Prompt> for theirs::Prompt {
    fn from(prompt: &ours::Prompt) -> Self {
        theirs::Prompt {
            text: prompt.text.clone(),
            images: prompt.images.iter().map(Into::into).collect(),
            urgency: prompt.urgency.into(),
        }
    }
}

impl From<&ours::Answer> for theirs::Answer {
    fn from(answer: &ours::Answer) -> Self {
        match answer {
            ours::Answer::Choice { choice } => theirs::Answer::Choice(choice.clone()),
            ours::Answer::Confirm { yes } => theirs::Answer::Confirm(*yes),
            ours::Answer::Text { text } => theirs::Answer::Text(text.clone()),
            ours::Answer::DenyWithGuidance { guidance } => {
                theirs::Answer::DenyWithGuidance(guidance.clone())
            }
            ours::Answer::Dismiss => theirs::Answer::Dismiss,
        }
    }
}

impl From<&ours::Command> for theirs::Command {
    fn from(command: &ours::Command) -> Self {
        use theirs::Command as Theirs;
        match command {
            ours::Command::Prompt(prompt) => Theirs::Prompt(prompt.into()),
            ours::Command::Abort => Theirs::Abort,
            ours::Command::NewSession => Theirs::NewSession,
            ours::Command::Resume { session } => Theirs::Resume(session.clone()),
            ours::Command::Compact { instructions } => Theirs::Compact(instructions.clone()),
            ours::Command::SetModel { model } => Theirs::SetModel(theirs::ModelRef {
                provider: model.provider.clone(),
                id: model.id.clone(),
            }),
            ours::Command::SetThinking { level } => Theirs::SetThinking((*level).into()),
            ours::Command::ListModels => Theirs::ListModels,
            ours::Command::History => Theirs::History,
            ours::Command::Answer { question, answer } => {
                Theirs::Answer((question.clone(), answer.into()))
            }
            ours::Command::Rename { title } => Theirs::Rename(title.clone()),
            ours::Command::Refresh => Theirs::Refresh,
            ours::Command::Other { name, arguments } => {
                Theirs::Other((name.clone(), arguments.to_string()))
            }
        }
    }
}

impl From<&ours::MeshAccess> for harness::MeshAccess {
    fn from(mesh: &ours::MeshAccess) -> Self {
        harness::MeshAccess {
            server: harness::McpServer {
                name: mesh.server.name.clone(),
                command: mesh.server.command.clone(),
                args: mesh.server.args.clone(),
                env: mesh.server.env.clone(),
            },
            socket: mesh.socket.clone(),
            agent_id: mesh.agent_id.clone(),
            skill: mesh.skill.clone(),
            token: mesh.token.clone(),
        }
    }
}

/// A launch request for one of the adapter's harnesses.
pub(crate) fn launch_request(
    harness: &str,
    request: &ours::LaunchRequest,
) -> harness::LaunchRequest {
    harness::LaunchRequest {
        launch: request.launch.clone(),
        harness: harness.to_owned(),
        cwd: request.cwd.clone(),
        agent: request.agent.clone(),
        model: request.model.clone(),
        resume: request.resume.clone(),
        mesh: request.mesh.as_ref().map(Into::into),
        settings: request.settings.clone(),
        version: request.version.clone(),
    }
}

impl From<&ours::Exit> for harness::Exit {
    fn from(exit: &ours::Exit) -> Self {
        match exit {
            ours::Exit::Code { code } => harness::Exit::Code(*code),
            ours::Exit::Signal { signal } => harness::Exit::Signal(*signal),
            ours::Exit::FailedToStart { reason } => harness::Exit::FailedToStart(reason.clone()),
        }
    }
}
