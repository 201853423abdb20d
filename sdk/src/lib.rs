//! What the author of a component depends on.
//!
//! A component is one of three things, and each is a trait on plain Rust types with a macro that
//! turns the crate into a WebAssembly component; nothing else in it needs to know about that:
//!
//! | it is | it implements | it ends with |
//! |---|---|---|
//! | an adapter, which translates a harness | [`Adapter`] | [`export_adapter!`] |
//! | a policy, which decides about messages | [`Policy`] | [`export_policy!`] |
//! | actions: buttons and what they do | [`Handler`] | [`export_actions!`] |
//!
//! What the interfaces mean is said in the packages of the folder `wit`, which the types here are
//! generated from. A crate has `crate-type = ["cdylib", "rlib"]`, is built for
//! `wasm32-unknown-unknown`, and has a `component.toml` beside its `Cargo.toml` that says what it is
//! and what it asks for. Its tests run on any machine and need no WebAssembly.
//!
//! # An adapter
//!
//! An adapter is a state machine. The host calls it when something happens, and it leaves what it
//! wants done in its [`Effects`]; it has no process, file, clock or randomness of its own, so the same
//! calls always give the same effects. This one drives a program that repeats what it is told: it
//! reads `{"prompt":"…"}`, and writes `{"say":"…"}` and then `{"done":true}`.
//!
//! ```
//! use rp_sdk::interface::{
//!     Abilities, Command, Description, Event, Exit, Failure, Framing, LaunchRequest, LaunchSpec,
//! };
//! use rp_sdk::json::{Text, read};
//! use rp_sdk::process::{Ending, LastWords};
//! use rp_sdk::session::{FailureKind, Message, Role, State, TurnEnd};
//! use rp_sdk::settings::Settings;
//! use rp_sdk::{Adapter, Effects};
//!
//! /// A line of the program.
//! #[derive(serde::Deserialize)]
//! struct Line<'a> {
//!     #[serde(borrow)]
//!     say: Option<Text<'a>>,
//!     #[serde(default)]
//!     done: bool,
//! }
//!
//! #[derive(Default)]
//! pub struct Parrot {
//!     effects: Effects,
//!     /// The command whose prompt is being answered.
//!     turn: Option<u64>,
//!     words: LastWords,
//! }
//!
//! impl Adapter for Parrot {
//!     fn describe() -> Vec<Description> {
//!         vec![Description {
//!             name: "parrot".to_owned(),
//!             title: "Parrot".to_owned(),
//!             program: "parrot".to_owned(),
//!             version_args: vec!["--version".to_owned()],
//!             tested: vec!["1.0.0".to_owned()],
//!             install: "cargo install parrot".to_owned(),
//!             abilities: Abilities::empty(),
//!         }]
//!     }
//!
//!     fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
//!         let settings = Settings::parse(&request.settings, &[], r#"{"args":["--loud"]}"#)?;
//!         Ok(LaunchSpec {
//!             program: "parrot".to_owned(),
//!             args: settings.args,
//!             env: settings.env.into_iter().collect(),
//!             files: Vec::new(),
//!             framing: Framing::Lines,
//!         })
//!     }
//!
//!     fn new(_: LaunchRequest) -> Self {
//!         Self::default()
//!     }
//!
//!     fn effects(&mut self) -> &mut Effects {
//!         &mut self.effects
//!     }
//!
//!     fn started(&mut self) {
//!         self.effects.event(Event::State(State::default()));
//!     }
//!
//!     fn output(&mut self, data: &[u8]) {
//!         let line = String::from_utf8_lossy(data);
//!         let (Some(line), Some(number)) = (read::<Line>(&line), self.turn) else {
//!             return; // No line of ours, or nobody asked.
//!         };
//!         if let Some(text) = line.say {
//!             let message = Message::new(format!("m{number}"), Role::Assistant, &*text);
//!             self.effects.event(Event::MessageEnded(message));
//!         }
//!         if line.done {
//!             self.turn = None;
//!             self.effects.event(Event::TurnEnded(TurnEnd::Completed));
//!         }
//!     }
//!
//!     fn diagnostics(&mut self, line: &str) {
//!         self.words.hear(line);
//!     }
//!
//!     fn command(&mut self, number: u64, command: Command) {
//!         match command {
//!             Command::Prompt(prompt) if self.turn.is_none() && prompt.images.is_empty() => {
//!                 self.turn = Some(number);
//!                 self.effects.write_line(&serde_json::json!({"prompt": prompt.text}));
//!                 self.effects.event(Event::TurnStarted);
//!                 self.effects.event(Event::PromptSeen(number));
//!                 self.effects.done(number);
//!             }
//!             Command::Prompt(_) => {
//!                 let message = "a parrot repeats one text at a time";
//!                 self.effects.refuse(number, FailureKind::Busy, message);
//!             }
//!             _ => {
//!                 let message = "a parrot cannot do that";
//!                 self.effects.refuse(number, FailureKind::Unsupported, message);
//!             }
//!         }
//!     }
//!
//!     fn exited(&mut self, how: &Exit) {
//!         let ending = Ending {
//!             title: "Parrot",
//!             how,
//!             words: &self.words.text(),
//!             started: true,
//!             working: self.turn.is_some(),
//!             install: "cargo install parrot",
//!             hints: &[],
//!         };
//!         ending.explain(&mut self.effects);
//!         if self.turn.take().is_some() {
//!             self.effects.event(Event::TurnEnded(TurnEnd::Failed));
//!         }
//!     }
//! }
//!
//! rp_sdk::export_adapter!(Parrot);
//!
//! // Its tests put it on a bench, which watches the promises that every adapter keeps.
//! use rp_sdk::session::Urgency;
//! use rp_sdk::testing::{Bench, launch_request};
//!
//! let mut bench = Bench::<Parrot>::start(launch_request("parrot"));
//! bench.prompt(1, "hello", Urgency::WhenIdle);
//! assert_eq!(bench.lines(), [serde_json::json!({"prompt": "hello"})]);
//! assert_eq!(bench.seen(), [1]);
//! bench.line(r#"{"say":"hello"}"#);
//! bench.line(r#"{"done":true}"#);
//! assert_eq!(bench.turn_ends(), [TurnEnd::Completed]);
//! bench.exited(&Exit::Code(0));
//! bench.finish();
//! ```
//!
//! What larger adapters need besides is here too:
//!
//! - [`effects`]: what is wanted of the host, in its order
//! - [`held`]: prompts that wait in the adapter, which an abort can give back
//! - [`json`]: lines of a harness, read in place, however long or odd they are
//! - [`requests`]: what was asked of the harness and is not answered yet
//! - [`told`]: the state, told to clients only when it is new
//! - [`timers`]: several waits on the one alarm clock that the host has
//! - [`settings`] and [`launch`]: what a person can set, and what goes on a command line
//! - [`process`]: what standard error said, and why a process is gone
//!
//! `replay` feeds the recorded transcript of a harness to an adapter and writes down what it does, to be
//! read and kept; `testing` has the bench. Neither is there in a component.
//!
//! # A policy
//!
//! ```
//! use rp_sdk::Policy;
//! use rp_sdk::policy::{Decision, Facts, Wants};
//! use rp_sdk::settings::expect_none;
//! use rp_sdk::testing::policy::facts;
//!
//! /// Nobody writes to `prod` but the person.
//! struct Careful;
//!
//! impl Policy for Careful {
//!     fn configure(settings: &str) -> Result<(Self, Wants), String> {
//!         expect_none(settings)?;
//!         Ok((Careful, Wants { bodies: false }))
//!     }
//!
//!     fn decide(&mut self, facts: &Facts) -> Decision {
//!         let to_prod = facts.recipients.iter().any(|peer| peer.name == "prod");
//!         if to_prod && !facts.sender.person {
//!             return Decision::Hold("a person decides what prod is told".to_owned());
//!         }
//!         Decision::Deliver
//!     }
//! }
//!
//! rp_sdk::export_policy!(Careful);
//!
//! assert_eq!(Careful.decide(&facts("web", "api")), Decision::Deliver);
//! assert!(matches!(Careful.decide(&facts("web", "prod")), Decision::Hold(_)));
//! ```
//!
//! # Actions
//!
//! ```
//! use rp_sdk::Handler;
//! use rp_sdk::handler::{Action, Context, Outcome, Progress, Step, no_such_action};
//! use rp_sdk::session::{Command, Failure};
//! use rp_sdk::testing::actions::context;
//!
//! struct Rest;
//!
//! impl Handler for Rest {
//!     fn actions() -> Vec<Action> {
//!         vec![Action::new("rest", "Rest", "Ends what the agent does.")]
//!     }
//!
//!     fn run(name: &str, context: &Context, replies: &[Outcome]) -> Result<Progress, Failure> {
//!         match (name, replies) {
//!             ("rest", []) => Ok(Progress::Steps(vec![Step::Command(Command::Abort)])),
//!             ("rest", [reply, ..]) => {
//!                 reply.as_ref().map_err(Clone::clone)?;
//!                 Ok(Progress::Finished(format!("{} rests", context.agent.name)))
//!             }
//!             _ => Err(no_such_action::<Rest>(name)),
//!         }
//!     }
//! }
//!
//! rp_sdk::export_actions!(Rest);
//!
//! let steps = Progress::Steps(vec![Step::Command(Command::Abort)]);
//! assert_eq!(Rest::run("rest", &context("{}"), &[]).unwrap(), steps);
//! ```

pub mod adapter;
pub mod bindings;
pub mod effects;
pub mod handler;
pub mod held;
pub mod json;
pub mod launch;
pub mod policy;
pub mod process;
#[cfg(not(target_arch = "wasm32"))]
pub mod replay;
pub mod requests;
pub mod settings;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod timers;
pub mod told;
mod types;

pub use adapter::Adapter;
pub use bindings::harness::exports::rp::harness::adapter as interface;
pub use bindings::harness::rp::session::types as session;
pub use bindings::{actions, harness, routing};
pub use effects::Effects;
pub use handler::Handler;
pub use policy::Policy;
pub use wit_bindgen;
