//! The side of an invitation that has the owner's key.

use serde::{Deserialize, Serialize};

use super::channel::{
    Channel, CheckWords, Failure, Half, Kind, MAX_MACHINE_NAME_BYTES, Step, ended, split,
};
use super::code::Code;
use super::consent::Consent;
use crate::key::{PublicKey, SecretKey, Signature};

/// How long a code can be used, in milliseconds.
pub const INVITATION_LIFETIME_MS: u64 = 10 * 60 * 1000;

pub(super) const MACHINE_PROOF: &[u8] = b"rp-host invitation, machine 1\n";
pub(super) const OWNER_PROOF: &[u8] = b"rp-host invitation, owner 1\n";

/// What the joiner says of itself.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) machine: PublicKey,
    pub(super) name: String,
    pub(super) proof: String,
}

/// Whose machines they would be.
#[derive(Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) owner: PublicKey,
    pub(super) proof: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Consenting {
    pub(super) given_at: u64,
    pub(super) sig: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Welcome {
    pub(super) version: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Refusal {}

/// What happened, as the inviter sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InviterEvent {
    /// A machine with the right code is there. A person compares the words; meanwhile the other
    /// side may consent.
    Compare {
        /// Who it is; it has proved it.
        machine: PublicKey,
        /// What it would like to be called.
        name: String,
        /// To be the same there.
        words: CheckWords,
    },
    /// The machine consents. Once the person here has agreed as well, the caller publishes the
    /// membership with the machine in it and then says [`Inviter::welcome`].
    Consented(Consent),
    /// It came to nothing.
    Failed(Failure),
}

enum State {
    Waiting(Half),
    Answered(Channel),
    Offered { channel: Channel, machine: PublicKey },
    Consented(Channel),
    Over,
}

/// Waits for one machine with one code.
pub struct Inviter {
    state: State,
    expires_ms: u64,
    /// What was received, with what was answered: a message that comes again gets the same answer
    /// and changes nothing. At most three.
    taken: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Inviter {
    /// Begins to wait. `random` must be new and never be used for anything else; times are those
    /// of a clock that only goes forward.
    #[must_use]
    pub fn new(code: &Code, random: [u8; 32], now_ms: u64) -> Self {
        Inviter {
            state: State::Waiting(Half::inviter(code, random)),
            expires_ms: now_ms.saturating_add(INVITATION_LIFETIME_MS),
            taken: Vec::new(),
        }
    }

    /// When nobody can begin with the code any more, and the inviter may leave.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// Takes a message that came to the rendezvous key.
    pub fn receive(
        &mut self,
        message: &[u8],
        owner: &SecretKey,
        now_ms: u64,
    ) -> Step<InviterEvent> {
        let Some((kind, rest)) = split(message) else {
            return Step::ignored();
        };
        if let Some((_, answer)) = self.taken.iter().find(|(taken, _)| taken == message) {
            return Step { send: answer.clone(), event: None };
        }
        // A second machine does not disturb the first.
        if kind == Kind::Hello && !matches!(self.state, State::Waiting(_)) {
            return Step { send: Some(ended(Failure::Used)), event: None };
        }
        if now_ms >= self.expires_ms && matches!(self.state, State::Waiting(_) | State::Answered(_))
        {
            return self.fail(Failure::Expired);
        }
        let step = match (std::mem::replace(&mut self.state, State::Over), kind) {
            (State::Waiting(half), Kind::Hello) => self.answer(half, message, rest),
            (State::Answered(channel), Kind::Request) => self.offer(channel, rest, owner),
            (State::Offered { channel, machine }, Kind::Consent) => {
                self.consent(channel, machine, rest, owner.public())
            }
            (State::Offered { channel, .. }, Kind::JoinerRefuses)
                if channel.open::<Refusal>(kind, rest).is_some() =>
            {
                self.fail(Failure::Refused)
            }
            (state, _) => {
                self.state = state;
                return Step::ignored();
            }
        };
        if step.send.is_some() || step.event.is_some() {
            self.taken.push((message.to_vec(), step.send.clone()));
        }
        step
    }

    /// Says that the membership with the machine is published. `None` unless it has consented.
    pub fn welcome(&mut self, version: u64) -> Option<Vec<u8>> {
        let State::Consented(channel) = &self.state else {
            return None;
        };
        let welcome = channel.seal(Kind::Welcome, &Welcome { version })?;
        self.state = State::Over;
        // Whoever did not get it says its consent again.
        if let Some((_, answer)) = self.taken.last_mut() {
            *answer = Some(welcome.clone());
        }
        Some(welcome)
    }

    /// Says no, and ends. `None` when there is nobody to say it to.
    pub fn refuse(&mut self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Offered { channel, .. } | State::Consented(channel) => {
                channel.seal(Kind::InviterRefuses, &Refusal {})
            }
            _ => None,
        }
    }

    fn fail(&mut self, failure: Failure) -> Step<InviterEvent> {
        self.state = State::Over;
        Step { send: Some(ended(failure)), event: Some(InviterEvent::Failed(failure)) }
    }

    fn answer(&mut self, half: Half, hello: &[u8], rest: &[u8]) -> Step<InviterEvent> {
        let answer = half.message.clone();
        match half.finish(rest, hello, &answer) {
            Some(channel) => {
                self.state = State::Answered(channel);
                Step { send: Some(answer), event: None }
            }
            None => self.fail(Failure::WrongCode),
        }
    }

    fn offer(&mut self, channel: Channel, rest: &[u8], owner: &SecretKey) -> Step<InviterEvent> {
        let Some(request) = channel.open::<Request>(Kind::Request, rest) else {
            return self.fail(Failure::WrongCode);
        };
        let proof = channel.proof_of(MACHINE_PROOF);
        let proved = Signature::parse(&request.proof)
            .is_some_and(|signature| request.machine.verify(&proof, &signature).is_ok());
        if !proved || request.name.len() > MAX_MACHINE_NAME_BYTES {
            return self.fail(Failure::Forged);
        }
        let proof = owner.sign(&channel.proof_of(OWNER_PROOF)).to_string();
        let offer = channel.seal(Kind::Offer, &Offer { owner: owner.public(), proof });
        let words = channel.check_words();
        let Request { machine, name, .. } = request;
        self.state = State::Offered { channel, machine };
        Step { send: offer, event: Some(InviterEvent::Compare { machine, name, words }) }
    }

    fn consent(
        &mut self,
        channel: Channel,
        machine: PublicKey,
        rest: &[u8],
        owner: PublicKey,
    ) -> Step<InviterEvent> {
        let Some(consenting) = channel.open::<Consenting>(Kind::Consent, rest) else {
            self.state = State::Offered { channel, machine };
            return Step::ignored();
        };
        let consent = Signature::parse(&consenting.sig).and_then(|signature| {
            Consent::verify(owner, machine, consenting.given_at, signature).ok()
        });
        match consent {
            Some(consent) => {
                self.state = State::Consented(channel);
                Step { send: None, event: Some(InviterEvent::Consented(consent)) }
            }
            None => self.fail(Failure::Forged),
        }
    }
}

/// Without anything secret.
impl std::fmt::Debug for Inviter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Waiting(_) => "waiting",
            State::Answered(_) => "answered",
            State::Offered { .. } => "offered",
            State::Consented(_) => "consented",
            State::Over => "over",
        };
        write!(formatter, "Inviter({state})")
    }
}
