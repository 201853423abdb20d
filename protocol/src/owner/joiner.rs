//! The side of an invitation that wants to be an owner's machine.

use super::channel::{
    Channel, CheckWords, Failure, Half, Kind, MAX_MACHINE_NAME_BYTES, Step, read_ended, split,
};
use super::code::Code;
use super::consent::Consent;
use super::inviter::{
    Consenting, INVITATION_LIFETIME_MS, MACHINE_PROOF, OWNER_PROOF, Offer, Refusal, Request,
    Welcome,
};
use crate::key::{PublicKey, SecretKey, Signature};

/// What happened, as the joiner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinerEvent {
    /// The inviter is there. A person compares the words and then consents or refuses.
    Compare {
        /// Whose machine this would be; the inviter has proved that it holds the key.
        owner: PublicKey,
        /// To be the same there.
        words: CheckWords,
    },
    /// The owner's membership with this machine is published.
    Joined {
        /// Whose machine this is now.
        owner: PublicKey,
        /// The version of the membership.
        version: u64,
    },
    /// It came to nothing.
    Failed(Failure),
}

enum State {
    Greeted { half: Half },
    Requested { channel: Channel },
    Offered { channel: Channel, owner: PublicKey },
    Consented { channel: Channel, owner: PublicKey },
    Over,
}

/// Joins with one code, once.
pub struct Joiner {
    state: State,
    expires_ms: u64,
    /// What was said last, to be said again when nothing comes back.
    last: Vec<u8>,
}

impl Joiner {
    /// Begins; [`Joiner::last_message`] is to be sent to the rendezvous key. `random` must be new
    /// and never be used for anything else; times are those of a clock that only goes forward.
    #[must_use]
    pub fn new(code: &Code, random: [u8; 32], now_ms: u64) -> Self {
        let half = Half::joiner(code, random);
        let last = half.message.clone();
        let expires_ms = now_ms.saturating_add(INVITATION_LIFETIME_MS);
        Joiner { state: State::Greeted { half }, expires_ms, last }
    }

    /// What this side said last. The relay may lose it: until something comes back, it may be sent
    /// again as often as one likes, and does nothing more than once.
    #[must_use]
    pub fn last_message(&self) -> &[u8] {
        &self.last
    }

    /// Takes a message from the rendezvous key. `name` is what this machine would like to be
    /// called, cut to [`MAX_MACHINE_NAME_BYTES`].
    pub fn receive(
        &mut self,
        message: &[u8],
        machine: &SecretKey,
        name: &str,
        now_ms: u64,
    ) -> Step<JoinerEvent> {
        let Some((kind, rest)) = split(message) else {
            return Step::ignored();
        };
        let waits = matches!(self.state, State::Greeted { .. } | State::Requested { .. });
        if waits && now_ms >= self.expires_ms {
            return self.fail(Failure::Expired);
        }
        match (std::mem::replace(&mut self.state, State::Over), kind) {
            (State::Greeted { half }, Kind::Answer) => {
                self.request(half, message, rest, machine, name)
            }
            (State::Requested { channel }, Kind::Offer) => self.compare(channel, rest),
            (State::Consented { channel, owner }, Kind::Welcome) => {
                match channel.open::<Welcome>(kind, rest) {
                    Some(Welcome { version }) => {
                        let event = JoinerEvent::Joined { owner, version };
                        Step { send: None, event: Some(event) }
                    }
                    None => self.stay(State::Consented { channel, owner }),
                }
            }
            (
                State::Offered { channel, .. } | State::Consented { channel, .. },
                Kind::InviterRefuses,
            ) if channel.open::<Refusal>(kind, rest).is_some() => self.fail(Failure::Refused),
            // Not sealed, so it only counts while nothing can be.
            (state @ (State::Greeted { .. } | State::Requested { .. }), Kind::Ended) => {
                match read_ended(rest) {
                    Some(failure) => self.fail(failure),
                    None => self.stay(state),
                }
            }
            (state, _) => self.stay(state),
        }
    }

    /// Consents to be the owner's machine, at a time in Unix milliseconds: the consent to keep, and
    /// the message to send. `None` unless the words are being compared.
    pub fn consent(&mut self, machine: &SecretKey, given_at_ms: u64) -> Option<(Consent, Vec<u8>)> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Offered { channel, owner } => {
                let consent = Consent::give(machine, owner, given_at_ms);
                let sig = consent.signature().to_string();
                let consenting = Consenting { given_at: given_at_ms, sig };
                self.last = channel.seal(Kind::Consent, &consenting)?;
                self.state = State::Consented { channel, owner };
                Some((consent, self.last.clone()))
            }
            state => {
                self.state = state;
                None
            }
        }
    }

    /// Says no, and ends. `None` when there is nobody to say it to.
    pub fn refuse(&mut self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Offered { channel, .. } => channel.seal(Kind::JoinerRefuses, &Refusal {}),
            _ => None,
        }
    }

    fn stay(&mut self, state: State) -> Step<JoinerEvent> {
        self.state = state;
        Step::ignored()
    }

    fn fail(&mut self, failure: Failure) -> Step<JoinerEvent> {
        self.state = State::Over;
        Step { send: None, event: Some(JoinerEvent::Failed(failure)) }
    }

    fn request(
        &mut self,
        half: Half,
        answer: &[u8],
        rest: &[u8],
        machine: &SecretKey,
        name: &str,
    ) -> Step<JoinerEvent> {
        let hello = half.message.clone();
        let sealed = half.finish(rest, &hello, answer).and_then(|channel| {
            let proof = machine.sign(&channel.proof_of(MACHINE_PROOF)).to_string();
            let name = name.get(..name.floor_char_boundary(MAX_MACHINE_NAME_BYTES))?.to_owned();
            let request = Request { machine: machine.public(), name, proof };
            Some((channel.seal(Kind::Request, &request)?, channel))
        });
        match sealed {
            Some((request, channel)) => {
                self.state = State::Requested { channel };
                self.last.clone_from(&request);
                Step { send: Some(request), event: None }
            }
            None => self.fail(Failure::WrongCode),
        }
    }

    fn compare(&mut self, channel: Channel, rest: &[u8]) -> Step<JoinerEvent> {
        let Some(offer) = channel.open::<Offer>(Kind::Offer, rest) else {
            return self.fail(Failure::WrongCode);
        };
        let proof = channel.proof_of(OWNER_PROOF);
        let proved = Signature::parse(&offer.proof)
            .is_some_and(|signature| offer.owner.verify(&proof, &signature).is_ok());
        if !proved {
            return self.fail(Failure::Forged);
        }
        let (owner, words) = (offer.owner, channel.check_words());
        self.state = State::Offered { channel, owner };
        Step { send: None, event: Some(JoinerEvent::Compare { owner, words }) }
    }
}

/// Without anything secret.
impl std::fmt::Debug for Joiner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Greeted { .. } => "greeted",
            State::Requested { .. } => "requested",
            State::Offered { .. } => "offered",
            State::Consented { .. } => "consented",
            State::Over => "over",
        };
        write!(formatter, "Joiner({state})")
    }
}
