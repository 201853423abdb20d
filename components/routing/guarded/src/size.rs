//! How long a message may be.

use rp_sdk::policy::Facts;

use crate::fields::Fields;
use crate::verdict::{Action, Objection, shown};

/// The longest body a setting can allow, in bytes.
const MAX_BYTES: i32 = 32 << 20;

/// The limit of bodies.
#[derive(Debug)]
pub(crate) struct Size {
    max_bytes: u32,
    action: Action,
}

impl Size {
    /// The table `size`; absent when it is not there.
    pub(crate) fn read(settings: &mut Fields) -> Result<Option<Self>, String> {
        let Some(mut fields) = settings.table("size")? else { return Ok(None) };
        let Some(max_bytes) = fields.number("max_bytes", 1..=MAX_BYTES)? else {
            return Err(fields.wrong("max_bytes", "set"));
        };
        let action = Action::read(&mut fields, Action::Deny)?;
        fields.nothing_else()?;
        Ok(Some(Size { max_bytes: max_bytes.unsigned_abs(), action }))
    }

    pub(crate) fn check(&self, facts: &Facts) -> Option<Objection> {
        if facts.body_bytes <= self.max_bytes {
            return None;
        }
        let (bytes, sender) = (facts.body_bytes, shown(&facts.sender));
        let what = format!("{bytes} bytes from {sender} (limit {})", self.max_bytes);
        Some(self.action.because("size", &what))
    }
}
