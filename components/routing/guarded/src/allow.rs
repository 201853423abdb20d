//! Who may write at all, and who may be written to.

use rp_sdk::policy::{Facts, Peer};

use crate::fields::Fields;
use crate::verdict::{Action, Objection, shown};
use crate::who::Who;

/// The allow-lists; an empty one allows everybody. The person needs no entry.
#[derive(Debug)]
pub(crate) struct Allow {
    senders: Vec<Who>,
    recipients: Vec<Who>,
    action: Action,
}

impl Allow {
    /// The table `allow`; absent when it is not there.
    pub(crate) fn read(settings: &mut Fields) -> Result<Option<Self>, String> {
        let Some(mut fields) = settings.table("allow")? else { return Ok(None) };
        let allow = Allow {
            senders: Who::read_list(&mut fields, "sender")?,
            recipients: Who::read_list(&mut fields, "recipient")?,
            action: Action::read(&mut fields, Action::Deny)?,
        };
        let empty = fields.wrong("sender", "set, or `recipient`");
        fields.nothing_else()?;
        if allow.senders.is_empty() && allow.recipients.is_empty() {
            return Err(empty);
        }
        Ok(Some(allow))
    }

    pub(crate) fn check(&self, facts: &Facts) -> Option<Objection> {
        let is_missing = |list: &[Who], peer: &Peer| {
            !list.is_empty() && !peer.person && !list.iter().any(|who| who.has(peer))
        };
        let (stranger, list) = if is_missing(&self.senders, &facts.sender) {
            (&facts.sender, "senders")
        } else {
            let mut recipients = facts.recipients.iter();
            (recipients.find(|peer| is_missing(&self.recipients, peer))?, "recipients")
        };
        let what = format!("{} is not on the list of {list}", shown(stranger));
        Some(self.action.because("allow", &what))
    }
}
