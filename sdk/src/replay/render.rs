//! Commands and effects as readable lines.

use serde_json::Value;

use crate::interface::{Command, Effect, Event, Exit, Failure, LaunchSpec, Reply};
use crate::session::{Answer, Message, Question, QuestionKind, State, ToolCall, Usage};

/// How many characters of a text are shown.
const SHOWN: usize = 160;

/// A text on one line, cut in the middle of nothing.
pub(super) fn short(text: &str) -> String {
    let escaped: String = text.chars().take(SHOWN).flat_map(|c| c.escape_debug()).collect();
    let length = text.chars().count();
    let escaped = escaped.replace("\\\"", "\"").replace("\\'", "'");
    if length > SHOWN { format!("{escaped}… ({length} characters)") } else { escaped }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", short(text))
}

/// What kind of line the harness wrote.
pub(super) fn output(line: &str) -> String {
    let json: Value = serde_json::from_str(line).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(Value::as_str);
    match (text("type"), text("command").or_else(|| text("method"))) {
        (Some(kind), Some(what)) => format!("out {kind} {what}"),
        (Some(kind), None) => format!("out {kind}"),
        _ => format!("out {}", short(line)),
    }
}

pub(super) fn exit(how: &Exit) -> String {
    match how {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal(signal) => format!("exited by signal {signal}"),
        Exit::FailedToStart(reason) => format!("failed to start: {}", short(reason)),
    }
}

pub(super) fn command(number: u64, command: &Command) -> String {
    let what = match command {
        Command::Prompt(prompt) => {
            let images = match prompt.images.len() {
                0 => String::new(),
                images => format!(" with {images} image(s)"),
            };
            format!("prompt {} {}{images}", urgency(prompt.urgency), quoted(&prompt.text))
        }
        Command::Abort => "abort".to_owned(),
        Command::NewSession => "new-session".to_owned(),
        Command::Resume(session) => format!("resume {}", quoted(session)),
        Command::Compact(instructions) => format!("compact {}", optional(instructions.as_deref())),
        Command::SetModel(model) => format!("set-model {}/{}", model.provider, model.id),
        Command::SetThinking(level) => format!("set-thinking {level:?}"),
        Command::ListModels => "list-models".to_owned(),
        Command::History => "history".to_owned(),
        Command::Answer((question, answer)) => format!("answer {question} {}", answer_text(answer)),
        Command::Rename(title) => format!("rename {}", quoted(title)),
        Command::Refresh => "refresh".to_owned(),
        Command::Other((name, json)) => format!("other {name} {}", short(json)),
    };
    format!("command {number}: {what}")
}

fn urgency(urgency: crate::session::Urgency) -> &'static str {
    match urgency {
        crate::session::Urgency::WhenIdle => "when-idle",
        crate::session::Urgency::AfterTools => "after-tools",
        crate::session::Urgency::Interrupt => "interrupt",
    }
}

fn answer_text(answer: &Answer) -> String {
    match answer {
        Answer::Choice(choice) => format!("choice {}", quoted(choice)),
        Answer::Confirm(yes) => format!("confirm {yes}"),
        Answer::Text(text) => format!("text {}", quoted(text)),
        Answer::DenyWithGuidance(text) => format!("deny-with-guidance {}", quoted(text)),
        Answer::Dismiss => "dismiss".to_owned(),
    }
}

fn optional(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), quoted)
}

pub(super) fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Write(bytes) => {
            format!("write {}", short(String::from_utf8_lossy(bytes).trim_end_matches('\n')))
        }
        Effect::Event(happened) => event(happened),
        Effect::Settle((number, outcome)) => format!("settle {number}: {}", settled(outcome)),
        Effect::WakeAfter(ms) => format!("wake-after {ms}"),
        Effect::Relaunch(spec) => format!("relaunch {}", launch(spec)),
        Effect::Stop => "stop".to_owned(),
    }
}

fn launch(spec: &LaunchSpec) -> String {
    format!("{} {}", spec.program, spec.args.join(" "))
}

fn settled(outcome: &Result<Reply, Failure>) -> String {
    match outcome {
        Ok(Reply::Done) => "done".to_owned(),
        Ok(Reply::Data(json)) => format!("data {}", short(json)),
        Ok(Reply::Models(models)) => {
            let models: Vec<String> = models
                .iter()
                .map(|model| {
                    let window = model
                        .context_window
                        .map_or_else(|| "?".to_owned(), |tokens| tokens.to_string());
                    let reasoning = if model.reasoning { " reasoning" } else { "" };
                    let vision = if model.vision { " vision" } else { "" };
                    format!(
                        "\n        {}/{} {} {window}{reasoning}{vision}",
                        model.ref_.provider,
                        model.ref_.id,
                        quoted(&model.name)
                    )
                })
                .collect();
            format!("models{}", models.concat())
        }
        Ok(Reply::History(messages)) => {
            let messages: Vec<String> = messages
                .iter()
                .map(|message| format!("\n        {}", message_text(message)))
                .collect();
            format!("history{}", messages.concat())
        }
        Err(failure) => {
            let hint = failure
                .hint
                .as_deref()
                .map(|hint| format!(" (hint: {})", short(hint)))
                .unwrap_or_default();
            format!("failed, {:?}: {}{hint}", failure.kind, short(&failure.message)).replacen(
                "FailureKind::",
                "",
                1,
            )
        }
    }
}

fn event(event: &Event) -> String {
    match event {
        Event::State(state) => state_text(state),
        Event::TurnStarted => "turn-started".to_owned(),
        Event::PromptSeen(number) => format!("prompt-seen {number}"),
        Event::PromptsDropped(numbers) => format!("prompts-dropped {numbers:?}"),
        Event::Text((message, piece)) => format!("text {message} {}", quoted(piece)),
        Event::Thinking((message, piece)) => format!("thinking {message} {}", quoted(piece)),
        Event::ToolStarted(call) => format!("tool-started {}", tool(call)),
        Event::ToolProgress((call, piece)) => format!("tool-progress {call} {}", quoted(piece)),
        Event::ToolEnded(call) => format!("tool-ended {}", tool(call)),
        Event::MessageEnded(message) => format!("message-ended {}", message_text(message)),
        Event::Question(question) => question_text(question),
        Event::QuestionSettled(question) => format!("question-settled {question}"),
        Event::Usage(usage) => usage_text(usage),
        Event::TurnEnded(how) => format!("turn-ended {how:?}").replacen("TurnEnd::", "", 1),
        Event::Notice((severity, text)) => {
            format!("notice {severity:?} {}", quoted(text)).replacen("Severity::", "", 1)
        }
        Event::Other((name, json)) => format!("other {name} {}", short(json)),
    }
}

fn state_text(state: &State) -> String {
    let model =
        state.model.as_ref().map(|model| format!("{}/{}", model.ref_.provider, model.ref_.id));
    format!(
        "state working={} model={} thinking={} title={} native-session={}",
        state.working,
        model.as_deref().unwrap_or("-"),
        state.thinking.map_or_else(
            || "-".to_owned(),
            |level| format!("{level:?}").replacen("Thinking::", "", 1)
        ),
        optional(state.title.as_deref()),
        optional(state.native_session.as_deref()),
    )
}

fn tool(call: &ToolCall) -> String {
    let failed = if call.failed { " failed" } else { "" };
    let output =
        call.output.as_deref().map(|output| format!(" -> {}", quoted(output))).unwrap_or_default();
    format!("{} {} {}{failed}{output}", call.id, call.name, short(&call.input))
}

fn message_text(message: &Message) -> String {
    let thinking = message
        .thinking
        .as_deref()
        .map(|text| format!(" thinking {}", quoted(text)))
        .unwrap_or_default();
    let call =
        message.tool.as_ref().map(|call| format!(" tool {}", tool(call))).unwrap_or_default();
    let images: Vec<String> = message
        .images
        .iter()
        .map(|image| format!(" image {} {} bytes", image.mime, image.data.len()))
        .collect();
    let role = format!("{:?}", message.role).replacen("Role::", "", 1);
    format!("{} {role} {}{thinking}{call}{}", message.id, quoted(&message.text), images.concat())
}

fn question_text(question: &Question) -> String {
    let kind = match &question.kind {
        QuestionKind::Permission(request) => {
            let options: Vec<String> = request
                .options
                .iter()
                .map(|option| format!("{}={} ({:?})", option.id, option.label, option.effect))
                .collect();
            format!(
                "permission {} {} [{}]",
                request.tool,
                short(&request.input),
                options.join(", ")
            )
        }
        QuestionKind::Choose(options) => format!("choose [{}]", options.join(", ")),
        QuestionKind::Confirm => "confirm".to_owned(),
        QuestionKind::Text(prefill) => format!("text {}", optional(prefill.as_deref())),
    };
    let expires = question.expires_ms.map(|ms| format!(" expires in {ms} ms")).unwrap_or_default();
    format!(
        "question {} {} {} {kind}{expires}",
        question.id,
        quoted(&question.title),
        quoted(&question.detail)
    )
}

fn usage_text(usage: &Usage) -> String {
    format!(
        "usage input={} output={} cache-read={} cache-write={} cost={} context={}",
        usage.input,
        usage.output,
        usage.cache_read,
        usage.cache_write,
        usage.cost_usd.map_or_else(|| "-".to_owned(), |cost| format!("{cost:.6}")),
        usage.context_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.2}%")),
    )
}
