//! Routing types of `rp-protocol` and of the routing world, into each other.

use rp_protocol::routing as ours;

use crate::bindings::routing::exports::rp::routing::policy as theirs;

impl<'a> From<ours::Peer<'a>> for theirs::Peer<'a> {
    fn from(peer: ours::Peer<'a>) -> Self {
        theirs::Peer {
            pc: peer.pc,
            cwd: peer.cwd,
            name: peer.name,
            address: peer.address,
            harness: peer.harness,
            person: peer.person,
        }
    }
}

/// The facts as the component gets them; `recipients` are those of the facts.
pub(crate) fn facts<'a>(
    facts: &ours::Facts<'a>,
    recipients: &'a [theirs::Peer<'a>],
) -> theirs::Facts<'a> {
    theirs::Facts {
        direction: match facts.direction {
            ours::Direction::Local => theirs::Direction::Local,
            ours::Direction::Outbound => theirs::Direction::Outbound,
            ours::Direction::Inbound => theirs::Direction::Inbound,
        },
        sender: facts.sender.into(),
        recipients,
        to: facts.to,
        id: facts.id,
        re: facts.re,
        body_bytes: facts.body_bytes,
        body_type: facts.body_type,
        body: facts.body,
        sent_last_minute: facts.sent_last_minute,
        now_ms: facts.now_ms,
    }
}

impl From<theirs::Decision> for ours::Decision {
    fn from(decision: theirs::Decision) -> Self {
        match decision {
            theirs::Decision::Deliver => ours::Decision::Deliver,
            theirs::Decision::Deny(reason) => ours::Decision::Deny(reason),
            theirs::Decision::Redirect(addresses) => ours::Decision::Redirect(addresses),
            theirs::Decision::Hold(reason) => ours::Decision::Hold(reason),
            theirs::Decision::Rewrite(body) => ours::Decision::Rewrite(body),
        }
    }
}
