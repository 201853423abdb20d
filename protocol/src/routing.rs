//! What a routing policy is told about an envelope and what it can decide: the types of
//! `wit/routing`. They borrow, because a policy stands in the path of every envelope.

/// One end of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer<'a> {
    /// The machine, as this one names it; `None` for peers of this machine.
    pub pc: Option<&'a str>,
    /// Empty for a peer that registered without a folder.
    pub cwd: &'a str,
    /// The leaf name.
    pub name: &'a str,
    /// The routing key.
    pub address: &'a str,
    /// The harness, when this host runs the peer.
    pub harness: Option<&'a str>,
    /// It is the person at this host.
    pub person: bool,
}

/// Where an envelope comes from and goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ends are on this machine.
    Local,
    /// To another machine.
    Outbound,
    /// From another machine.
    Inbound,
}

/// What a policy is told about an envelope.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Where it comes from and goes to.
    pub direction: Direction,
    /// Who sent it.
    pub sender: Peer<'a>,
    /// The peers `to` resolves to right now.
    pub recipients: &'a [Peer<'a>],
    /// As the sender wrote it; the addresses of a list are joined with a line feed.
    pub to: &'a str,
    /// The envelope's id.
    pub id: &'a str,
    /// The id it answers.
    pub re: Option<&'a str>,
    /// Length of the body as JSON text.
    pub body_bytes: u32,
    /// The body's `type`, when it has one.
    pub body_type: Option<&'a str>,
    /// The body, only when the policy asked for bodies and it is not too large for that.
    pub body: Option<&'a str>,
    /// Envelopes from this sender in the last 60 seconds, this one not counted.
    pub sent_last_minute: u32,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What happens to an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It goes where it was sent.
    Deliver,
    /// It goes nowhere; the text tells the sender why.
    Deny(String),
    /// It goes to these addresses instead.
    Redirect(Vec<String>),
    /// It is kept until a person allows it; the text says why.
    Hold(String),
    /// It goes where it was sent, with this JSON text as its body.
    Rewrite(String),
}
