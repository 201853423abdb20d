//! Asking the routing policy, and making its answer safe to obey.

use std::borrow::Cow;

use rp_protocol::mesh::{Body, Destination, Envelope};
use rp_protocol::routing::{Decision, Direction, Facts, Peer};

use crate::policy::{RoutingPolicy, Ruling};

/// The longest body a policy is shown, in bytes. It reads it in its own memory, which is small.
const SHOWN_BODY: usize = 1 << 20;

/// What happens to an envelope.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Deliver,
    Rewrite(Body<'static>),
    Redirect(Vec<String>),
    Deny(String),
    Hold(Held),
}

/// Why an envelope is held, and what is held of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) reason: String,
    /// What is delivered if a person allows it, unless that is what the sender wrote.
    pub(crate) body: Option<Body<'static>>,
    /// Who gets it then, unless those the sender named do.
    pub(crate) recipients: Option<Vec<String>>,
}

impl Held {
    /// Makes an envelope what it is if a person allows it, and tells the reason.
    pub(crate) fn put_into(self, envelope: &mut Envelope<'_>) -> String {
        if let Some(body) = self.body {
            envelope.body = body;
        }
        if let Some(addresses) = self.recipients {
            envelope.to = Destination::Many(addresses.into_iter().map(Cow::Owned).collect());
        }
        self.reason
    }
}

impl From<String> for Held {
    fn from(reason: String) -> Self {
        Held { reason, ..Held::default() }
    }
}

/// One question to the policy.
pub(crate) struct Question<'a> {
    pub(crate) direction: Direction,
    pub(crate) sender: Peer<'a>,
    pub(crate) recipients: &'a [Peer<'a>],
    pub(crate) envelope: &'a Envelope<'a>,
    pub(crate) sent_last_minute: u32,
    pub(crate) now_ms: u64,
}

/// Asks the policy. Whatever keeps it from a usable answer holds the envelope.
pub(crate) fn judge(
    policy: &dyn RoutingPolicy,
    longest: usize,
    question: &Question<'_>,
) -> Verdict {
    let envelope = question.envelope;
    let body = envelope.body.as_str();
    let body_type = envelope.body.type_name();
    let Ruling { decision, body: written, recipients } = policy.decide(&Facts {
        direction: question.direction,
        sender: question.sender,
        recipients: question.recipients,
        to: &envelope.to.to_text(),
        id: envelope.id.as_str(),
        re: envelope.re.as_ref().map(|re| re.as_str()),
        body_bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
        body_type: body_type.as_deref(),
        body: Some(body).filter(|body| body.len() <= SHOWN_BODY && policy.wants_bodies()),
        sent_last_minute: question.sent_last_minute,
        now_ms: question.now_ms,
    });
    let read = |json: &str| match Body::parse(json) {
        Ok(body) if body.as_str().len() <= longest => Ok(body.into_owned()),
        Ok(_) => Err("the routing policy wrote a body that is too long".to_owned()),
        Err(error) => Err(format!("the routing policy wrote a bad body: {error}")),
    };
    let hold = |reason: String| match written.as_deref().map(read).transpose() {
        Ok(body) => Verdict::Hold(Held { reason, body, recipients }),
        Err(bad) => Verdict::Deny(bad),
    };
    match decision {
        Ok(Decision::Deliver) => Verdict::Deliver,
        Ok(Decision::Deny(reason)) => Verdict::Deny(reason),
        Ok(Decision::Redirect(addresses)) => Verdict::Redirect(addresses),
        Ok(Decision::Hold(reason)) => hold(reason),
        Ok(Decision::Rewrite(json)) => match read(&json) {
            Ok(body) => Verdict::Rewrite(body),
            Err(bad) => Verdict::Hold(bad.into()),
        },
        // Without a recipient there is nothing to keep back.
        Err(_) if question.recipients.is_empty() => Verdict::Deliver,
        Err(reason) => hold(format!("the routing policy does not answer: {reason}")),
    }
}
