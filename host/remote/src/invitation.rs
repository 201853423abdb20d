//! Joining by a code: the conversation of two machines through the relay, and what people see of
//! it. It goes over the old wire, the only one on which strangers reach each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rp_link::{Config as LinkConfig, Link, Message, State, Wires};
use rp_protocol::key::{PublicKey, SecretKey};
use rp_protocol::owner::{Code, Inviter, InviterEvent, Joiner, JoinerEvent};
use rp_protocol::relay::{MessageId, Verdict};
use tokio::sync::{mpsc, watch};

use crate::files::{milliseconds, wall_ms};
use crate::owner::OwnerError;
use crate::remote::{Remote, RemoteError};
use crate::task::Command;

/// After how long without an answer the joiner says again what it said.
const AGAIN: Duration = Duration::from_secs(2);
/// How long the inviter stays after it has said its last, for a joiner that did not hear it.
const LINGER: Duration = Duration::from_secs(20);
/// How long the joiner waits for the inviter's person.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// How long a relay may take to be reached.
const REACH: Duration = Duration::from_secs(30);
/// How long a joiner waits for the first word of whoever shows the code.
const NOBODY: Duration = Duration::from_secs(20);
const NO_RELAY: &str = "the relay cannot be reached";
/// The room of those who name none.
const ROOM: &str = "main";

/// Which side this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has the owner's key.
    Inviter,
    /// It wants to be an owner's machine.
    Joiner,
}

/// How far a conversation has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Nobody with the code is there yet.
    Waiting,
    /// People compare the words, and [`Remote::decide`] takes what the one here says.
    Compare {
        /// To be the same on both machines.
        words: String,
        /// What the joining machine would like to be called; empty at that machine itself.
        name: String,
        /// Of the other side: the machine's, or the owner's.
        fingerprint: String,
    },
    /// The person here has said yes; the other side is waited for.
    Agreed,
    /// The machine is the owner's.
    Joined {
        /// Fingerprint of the owner.
        owner: String,
    },
    /// It came to nothing.
    Failed {
        /// Why, for a person.
        reason: String,
    },
}

/// A conversation as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Which side this is.
    pub role: Role,
    /// The code; empty at the joiner, who knows it.
    pub code: String,
    /// How far it has come.
    pub stage: Stage,
}

/// The conversation that is open. It ends when this is dropped.
pub(crate) struct Held {
    conversation: watch::Receiver<Conversation>,
    decisions: mpsc::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Remote {
    /// Invites a machine, in place of an invitation that is open. The conversation has the code.
    ///
    /// # Errors
    /// [`OwnerError::NoKey`], and when there is no relay to meet on.
    pub async fn invite(&self) -> Result<watch::Receiver<Conversation>, OwnerError> {
        let owner = self.owner_key().await?;
        let code = Code::from_random(random()?);
        let inviter = Inviter::new(&code, random()?, 0);
        let meeting = Meeting::begin(self, code.rendezvous())?;
        let inviting = Inviting { remote: self.clone(), owner, inviter, began: Instant::now() };
        let text = code.to_string();
        Ok(self.hold(Role::Inviter, text, |tell, decisions| inviting.run(meeting, tell, decisions)))
    }

    /// Joins with a code, in place of an invitation that is open.
    ///
    /// # Errors
    /// When there is no machine key or no relay to meet on.
    pub async fn join(
        &self,
        code: &Code,
        name: &str,
    ) -> Result<watch::Receiver<Conversation>, OwnerError> {
        let own = self.shared.machine_key().await?;
        let joiner = Joiner::new(code, random()?, 0);
        let meeting = Meeting::begin(self, SecretKey::from_seed(&random()?))?;
        let joining = Joining {
            remote: self.clone(),
            machine: own.key,
            name: name.to_owned(),
            joiner,
            rendezvous: code.rendezvous().public(),
            began: Instant::now(),
        };
        let text = String::new();
        Ok(self.hold(Role::Joiner, text, |tell, decisions| joining.run(meeting, tell, decisions)))
    }

    /// The conversation that is open, and every change of it.
    #[must_use]
    pub fn conversation(&self) -> Option<watch::Receiver<Conversation>> {
        self.invitation().as_ref().map(|held| held.conversation.clone())
    }

    /// Takes what the person says about the words. Whether there was anything to decide.
    #[must_use]
    pub fn decide(&self, accept: bool) -> bool {
        self.invitation().as_ref().is_some_and(|held| {
            matches!(held.conversation.borrow().stage, Stage::Compare { .. })
                && held.decisions.try_send(accept).is_ok()
        })
    }

    /// Ends the conversation that is open.
    pub fn end_conversation(&self) {
        drop(self.invitation().take());
    }

    fn hold<F: Future<Output = ()> + Send + 'static>(
        &self,
        role: Role,
        code: String,
        run: impl FnOnce(Teller, mpsc::Receiver<bool>) -> F,
    ) -> watch::Receiver<Conversation> {
        let (tell, conversation) =
            watch::channel(Conversation { role, code, stage: Stage::Waiting });
        let (decisions, decided) = mpsc::channel(1);
        let task = tokio::spawn(run(Teller(Arc::new(tell)), decided));
        let held = Held { conversation: conversation.clone(), decisions, task };
        *self.invitation() = Some(held);
        conversation
    }
}

/// Tells people how far it has come.
struct Teller(Arc<watch::Sender<Conversation>>);

impl Teller {
    fn tell(&self, stage: Stage) {
        self.0.send_modify(|conversation| conversation.stage = stage);
    }

    fn fail(&self, reason: impl std::fmt::Display) {
        self.tell(Stage::Failed { reason: reason.to_string() });
    }
}

/// A connection to the relay for this conversation alone.
struct Meeting {
    link: Link,
    deliveries: mpsc::Receiver<rp_link::Delivery>,
}

impl Meeting {
    fn begin(remote: &Remote, key: SecretKey) -> Result<Self, OwnerError> {
        let relay = remote.relay()?;
        let software = remote.shared.config.software.clone();
        let config = LinkConfig { relays: vec![relay], key, software, wires: Wires::Old };
        let (link, deliveries) = Link::start(config);
        Ok(Meeting { link, deliveries })
    }

    /// Waits until the relay is there. Whether it is.
    async fn connected(&self) -> bool {
        let mut state = self.link.state();
        let connected = state.wait_for(|state| matches!(state, State::Connected { .. }));
        matches!(tokio::time::timeout(REACH, connected).await, Ok(Ok(_)))
    }

    async fn say(&self, to: PublicKey, message: &[u8]) {
        let message = Message::App {
            from_room: ROOM.to_owned(),
            to_room: ROOM.to_owned(),
            text: STANDARD.encode(message),
        };
        let id = MessageId(*uuid::Uuid::new_v4().as_bytes());
        // Whether it arrived shows in what comes back.
        let _ = self.link.send(id, to, message).await;
    }

    /// The next message, with who said it.
    async fn heard(&mut self) -> Option<(PublicKey, Vec<u8>)> {
        loop {
            let delivery = self.deliveries.recv().await?;
            let _ = self.link.answer(delivery.id, delivery.from, Verdict::Received).await;
            if let Message::App { text, .. } = &delivery.message
                && let Ok(bytes) = STANDARD.decode(text)
            {
                return Some((delivery.from, bytes));
            }
        }
    }
}

struct Inviting {
    remote: Remote,
    owner: SecretKey,
    inviter: Inviter,
    began: Instant,
}

impl Inviting {
    async fn run(mut self, mut meeting: Meeting, tell: Teller, mut decided: mpsc::Receiver<bool>) {
        let expires = self.began + Duration::from_millis(self.inviter.expires_ms());
        let mut agreed = false;
        let mut consent = None;
        let mut joiner = None;
        let mut name = String::new();
        if !meeting.connected().await {
            return tell.fail(NO_RELAY);
        }
        loop {
            tokio::select! {
                heard = meeting.heard() => {
                    let Some((from, message)) = heard else { return tell.fail("the program is ending") };
                    let now_ms = milliseconds(self.began.elapsed());
                    let step = self.inviter.receive(&message, &self.owner, now_ms);
                    if let Some(answer) = &step.send {
                        meeting.say(from, answer).await;
                    }
                    match step.event {
                        None => {}
                        Some(InviterEvent::Compare { machine, name: wanted, words }) => {
                            joiner = Some(from);
                            name.clone_from(&wanted);
                            let (words, fingerprint) = (words.to_string(), machine.fingerprint());
                            tell.tell(Stage::Compare { words, name: wanted, fingerprint });
                        }
                        Some(InviterEvent::Consented(given)) => consent = Some(given),
                        Some(InviterEvent::Failed(failure)) => return tell.fail(failure),
                    }
                }
                Some(accepted) = decided.recv() => {
                    if !accepted {
                        if let (Some(refusal), Some(to)) = (self.inviter.refuse(), joiner) {
                            meeting.say(to, &refusal).await;
                        }
                        return tell.fail("it was refused here");
                    }
                    agreed = true;
                    tell.tell(Stage::Agreed);
                }
                () = tokio::time::sleep_until(expires.into()), if joiner.is_none() => {
                    return tell.fail("the code has expired");
                }
                () = tokio::time::sleep_until((self.began + LONGEST).into()) => {
                    return tell.fail("the other machine has gone");
                }
            }
            if let (true, Some(given), Some(to)) = (agreed, &consent, joiner) {
                let machine = *given.machine();
                match self.remote.add_member(&self.owner, machine, &name).await {
                    Ok(version) => {
                        if let Some(welcome) = self.inviter.welcome(version) {
                            meeting.say(to, &welcome).await;
                        }
                        tell.tell(Stage::Joined { owner: self.owner.public().fingerprint() });
                        return self.linger(meeting).await;
                    }
                    Err(error) => {
                        if let Some(refusal) = self.inviter.refuse() {
                            meeting.say(to, &refusal).await;
                        }
                        return tell.fail(error);
                    }
                }
            }
        }
    }

    /// Answers a joiner that has not heard the last word.
    async fn linger(mut self, mut meeting: Meeting) {
        let end = tokio::time::Instant::now() + LINGER;
        while let Ok(Some((from, message))) = tokio::time::timeout_at(end, meeting.heard()).await {
            let now_ms = milliseconds(self.began.elapsed());
            if let Some(answer) = self.inviter.receive(&message, &self.owner, now_ms).send {
                meeting.say(from, &answer).await;
            }
        }
    }
}

struct Joining {
    remote: Remote,
    machine: SecretKey,
    name: String,
    joiner: Joiner,
    rendezvous: PublicKey,
    began: Instant,
}

impl Joining {
    async fn run(mut self, mut meeting: Meeting, tell: Teller, mut decided: mpsc::Receiver<bool>) {
        if !meeting.connected().await {
            return tell.fail(NO_RELAY);
        }
        let mut again = tokio::time::interval(AGAIN);
        let nobody = tokio::time::Instant::now() + NOBODY;
        let mut is_answered = false;
        loop {
            tokio::select! {
                heard = meeting.heard() => {
                    let Some((from, message)) = heard else { return tell.fail("the program is ending") };
                    if from != self.rendezvous {
                        continue;
                    }
                    is_answered = true;
                    let now_ms = milliseconds(self.began.elapsed());
                    let step = self.joiner.receive(&message, &self.machine, &self.name, now_ms);
                    if let Some(answer) = &step.send {
                        meeting.say(self.rendezvous, answer).await;
                    }
                    match step.event {
                        None => {}
                        Some(JoinerEvent::Compare { owner, words }) => {
                            let (words, fingerprint) = (words.to_string(), owner.fingerprint());
                            tell.tell(Stage::Compare { words, name: String::new(), fingerprint });
                        }
                        Some(JoinerEvent::Joined { owner, .. }) => {
                            return match self.pair(owner).await {
                                Ok(()) => tell.tell(Stage::Joined { owner: owner.fingerprint() }),
                                Err(error) => tell.fail(error),
                            };
                        }
                        Some(JoinerEvent::Failed(failure)) => return tell.fail(failure),
                    }
                }
                Some(accepted) = decided.recv() => {
                    let said = match accepted {
                        true => self.joiner.consent(&self.machine, wall_ms()).map(|(_, said)| said),
                        false => self.joiner.refuse(),
                    };
                    if let Some(said) = said {
                        meeting.say(self.rendezvous, &said).await;
                    }
                    if !accepted {
                        return tell.fail("it was refused here");
                    }
                    tell.tell(Stage::Agreed);
                }
                () = tokio::time::sleep_until(nobody), if !is_answered => {
                    return tell.fail(
                        "nobody waits with that code: it may be mistyped, used up or expired, or \
                         the other machine uses another relay",
                    );
                }
                _ = again.tick() => {
                    let last = self.joiner.last_message().to_vec();
                    meeting.say(self.rendezvous, &last).await;
                }
                () = tokio::time::sleep_until((self.began + LONGEST).into()) => {
                    return tell.fail("the other machine has gone");
                }
            }
        }
    }

    /// The consent in deed: this machine follows that owner from now on.
    async fn pair(&self, owner: PublicKey) -> Result<(), RemoteError> {
        self.remote.shared.pairings.add(owner, "owner")?;
        self.remote.command(Command::PairingsChanged).await
    }
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], OwnerError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| rp_vault::VaultError::Random(error.to_string()))?;
    Ok(bytes)
}
