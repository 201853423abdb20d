//! What an adapter and its harness can do, measured by what was seen of it.

use std::collections::{BTreeMap, BTreeSet};

use rp_protocol::session::{
    Ability, Answer, Command, Effect, Event, Failure, FailureKind, PermissionEffect, QuestionKind,
    Reply, Severity, TurnEnd, Urgency,
};
use serde::{Deserialize, Serialize};

use super::transcripts::{Told, Transcript};
use crate::render::count;

/// The tools with which a model reaches the mesh, whatever a harness puts before their names.
pub const MESH_TOOLS: [&str; 4] = ["list_peers", "agent_send", "agent_wait", "get_messages"];

/// What is known of one harness.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub harness: String,
    /// How many recordings of it there are.
    pub recordings: usize,
    /// Every ability, in the order of the interface.
    pub abilities: Vec<Shown>,
}

impl Measured {
    /// There was a recording or a live run.
    pub fn says_something(&self) -> bool {
        self.recordings > 0 || self.abilities.iter().any(|shown| shown.live.is_some())
    }
}

/// One ability of one harness.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shown {
    /// The ability.
    pub ability: Ability,
    /// The adapter says that it has it.
    pub declared: bool,
    /// The recordings that show it.
    pub shown_by: Vec<String>,
    /// What a live run said of it, if there was one and it could say something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
}

impl Shown {
    /// A recording or a live run shows it.
    pub fn is_seen(&self) -> bool {
        !self.shown_by.is_empty() || self.live.as_deref() == Some("yes")
    }

    /// For a table.
    pub fn in_words(&self, recordings: usize) -> String {
        if recordings == 0 {
            return self.live.as_ref().map_or("·".to_owned(), |live| format!("live: {live}"));
        }
        let recorded = match (self.shown_by.as_slice(), self.declared) {
            ([], true) if self.ability == Ability::MeshTools && self.live.is_none() => {
                "only a live run can show it".to_owned()
            }
            ([], true) => "not shown by any recording".to_owned(),
            ([], false) => "·".to_owned(),
            ([first, ..], declared) => {
                let all = self.shown_by.len();
                let also = if declared { "seen" } else { "not declared, and seen" };
                format!("{also} in {}: {first}{}", count(all, "recording"), more(all))
            }
        };
        match &self.live {
            Some(live) => format!("{recorded}; live: {live}"),
            None => recorded,
        }
    }
}

fn more(all: usize) -> &'static str {
    if all > 1 { ", …" } else { "" }
}

/// What one replay shows.
#[derive(Debug, Default)]
pub struct Seen {
    /// These.
    pub abilities: BTreeSet<Ability>,
    /// These were asked for, and the adapter answered that it cannot do them.
    pub denied: BTreeSet<Ability>,
}

/// Looks for abilities in what an adapter was told and did.
pub fn seen(transcript: &Transcript, calls: &[(Told, Vec<Effect>)]) -> Seen {
    let mut observer =
        Observer { resumes: transcript.request.resume.clone(), ..Observer::default() };
    for (told, effects) in calls {
        observer.told(told, effects);
        effects.iter().for_each(|effect| observer.effect(effect));
    }
    observer.seen
}

/// A command that was given.
struct Given {
    command: Command,
    /// The turn that ran then.
    turn: Option<u64>,
    /// The adapter passed it on at once.
    written: bool,
}

/// Looks on while an adapter is told things and says things.
#[derive(Default)]
pub struct Observer {
    seen: Seen,
    resumes: Option<String>,
    commands: BTreeMap<u64, Given>,
    turns: u64,
    turn: Option<u64>,
    /// Turns that a client aborted, and those that ended so.
    aborting: BTreeSet<u64>,
    aborted: BTreeSet<u64>,
    /// Answers to permission questions that mean no.
    refusals: BTreeMap<String, Vec<String>>,
    /// Something was denied in the running turn, and the model went on.
    denied: bool,
    went_on: bool,
    has_notice: bool,
    is_over: bool,
}

impl Observer {
    /// So far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// What it is told, and what it does at once.
    pub fn told(&mut self, told: &Told, effects: &[Effect]) {
        match told {
            Told::Command(command) => {
                if matches!(command, Command::Abort) {
                    self.aborting.extend(self.turn);
                }
                if let Command::Answer { question, answer } = command
                    && let Some(options) = self.refusals.get(question)
                {
                    self.denied |= match answer {
                        Answer::Choice { choice } => options.contains(choice),
                        Answer::DenyWithGuidance { .. } => true,
                        _ => false,
                    };
                }
                let written = effects.iter().any(|effect| matches!(effect, Effect::Write(_)));
                let number = self.commands.len() as u64 + 1;
                let given = Given { command: command.clone(), turn: self.turn, written };
                self.commands.insert(number, given);
            }
            Told::Exited(_) => self.is_over = true,
            _ => {}
        }
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Settle(number, outcome) => self.settled(*number, outcome),
            Effect::Event(event) => self.event(event),
            _ => {}
        }
    }

    /// This ability was seen, by whatever means.
    pub fn saw(&mut self, ability: Ability) {
        self.seen.abilities.insert(ability);
    }

    fn settled(&mut self, number: u64, outcome: &Result<Reply, Failure>) {
        let Some(given) = self.commands.get(&number) else { return };
        let ability = match &given.command {
            Command::ListModels => Ability::ListModels,
            Command::SetModel { .. } => Ability::SetModel,
            Command::SetThinking { .. } => Ability::SetThinking,
            Command::Compact { .. } => Ability::Compact,
            Command::NewSession => Ability::NewSession,
            Command::Resume { .. } => Ability::Resume,
            Command::History => Ability::History,
            Command::Rename { .. } => Ability::Rename,
            Command::Abort => Ability::Abort,
            _ => return,
        };
        match outcome {
            // That it ended the turn is seen there.
            Ok(_) if ability == Ability::Abort => {}
            Ok(Reply::Models { models }) if models.is_empty() => {}
            Ok(_) => self.saw(ability),
            Err(failure) if failure.kind == FailureKind::Unsupported => {
                self.seen.denied.insert(ability);
            }
            Err(_) => {}
        }
    }

    /// What it says.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::State(state) => {
                let same = self.resumes.is_some() && state.native_session == self.resumes;
                self.seen.abilities.extend(same.then_some(Ability::Resume));
            }
            Event::TurnStarted => {
                self.turns += 1;
                self.turn = Some(self.turns);
                (self.denied, self.went_on, self.has_notice) = (false, false, false);
            }
            Event::TurnEnded { how } => self.turn_ended(*how),
            Event::PromptSeen { number } => self.prompt_seen(*number),
            Event::PromptsDropped { numbers } if !numbers.is_empty() => {
                self.saw(Ability::TakeBack);
            }
            Event::Text { .. } => self.went_on |= self.denied,
            Event::Thinking { .. } => self.saw(Ability::StreamThinking),
            Event::ToolStarted(_) => self.went_on |= self.denied,
            Event::ToolProgress { .. } => self.saw(Ability::StreamToolOutput),
            Event::ToolEnded(call) => {
                let meshed = !call.failed && is_mesh_tool(&call.name);
                self.seen.abilities.extend(meshed.then_some(Ability::MeshTools));
            }
            Event::Question(question) => match &question.kind {
                QuestionKind::Permission { options, .. } => {
                    let no = options.iter().filter(|option| denies(option.effect));
                    let no = no.map(|option| option.id.clone()).collect();
                    self.refusals.insert(question.id.clone(), no);
                    self.saw(Ability::PermissionQuestions);
                }
                _ => self.saw(Ability::Questions),
            },
            Event::Usage(usage) => {
                self.saw(Ability::Usage);
                if usage.cost_usd.is_some() {
                    self.saw(Ability::Cost);
                }
            }
            Event::Notice { severity, .. } => {
                self.has_notice |= matches!(severity, Severity::Warning | Severity::Error);
            }
            _ => {}
        }
    }

    fn turn_ended(&mut self, how: TurnEnd) {
        let Some(turn) = self.turn.take() else { return };
        match how {
            TurnEnd::Aborted => {
                self.aborted.insert(turn);
                if self.aborting.contains(&turn) {
                    self.saw(Ability::Abort);
                }
            }
            TurnEnd::Completed if self.went_on => self.saw(Ability::SurvivesDenial),
            TurnEnd::Failed if self.has_notice && !self.is_over => self.saw(Ability::ModelErrors),
            _ => {}
        }
    }

    fn prompt_seen(&mut self, number: u64) {
        let Some(Given { command: Command::Prompt(prompt), turn, written }) =
            self.commands.get(&number)
        else {
            return;
        };
        let has_images = !prompt.images.is_empty();
        let during = match (prompt.urgency, *turn) {
            (Urgency::AfterTools, Some(given)) if self.turn == Some(given) => Some(Ability::Steer),
            (Urgency::WhenIdle, Some(given)) if self.turn != Some(given) && *written => {
                Some(Ability::Queue)
            }
            (Urgency::Interrupt, Some(given)) if self.aborted.contains(&given) => {
                Some(Ability::Interrupt)
            }
            _ => None,
        };
        self.seen.abilities.extend(during);
        if has_images {
            self.saw(Ability::Images);
        }
    }
}

/// Whether a tool is one of the mesh, whatever its harness puts before the name.
pub fn is_mesh_tool(name: &str) -> bool {
    MESH_TOOLS.iter().any(|tool| name.ends_with(tool))
}

/// Whether a permission option means no.
pub fn denies(effect: PermissionEffect) -> bool {
    matches!(effect, PermissionEffect::DenyOnce | PermissionEffect::DenyAlways)
}
