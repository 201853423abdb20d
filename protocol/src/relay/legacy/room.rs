//! Rooms and what is known about them.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::relay::MAX_DESCRIPTION_BYTES;

/// The room of a connection that names none.
pub const DEFAULT_ROOM: &str = "main";

/// What a machine says about one of its rooms. The relay understands none of it. What is read is at
/// most [`MAX_DESCRIPTION_BYTES`] of each text; the rest is cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomMeta {
    /// The name under which the agent is announced; fixed at login.
    pub name: Option<Box<str>>,
    /// The agent's folder; fixed at login.
    pub cwd: Option<Box<str>>,
    /// The model in use.
    pub model: Option<Box<str>>,
    /// The thinking level in use.
    pub thinking: Option<Box<str>>,
    /// Whether a turn is running.
    pub working: bool,
}

impl RoomMeta {
    /// Reads `room_meta` of a login. A member of another type counts as absent.
    pub(super) fn parse(raw: &RawValue) -> Self {
        let members: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let text = |name| members.get(name)?.as_str().map(within_bounds);
        Self {
            name: text("name"),
            cwd: text("cwd"),
            model: text("model"),
            thinking: text("thinking"),
            working: members.get("working").and_then(Value::as_bool).unwrap_or(false),
        }
    }

    /// Applies a change.
    pub fn apply(&mut self, patch: &MetaPatch) {
        patch.model.apply(&mut self.model);
        patch.thinking.apply(&mut self.thinking);
        self.working = patch.working.unwrap_or(self.working);
    }
}

/// A change to one text of [`RoomMeta`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Patch {
    /// The member is absent.
    #[default]
    Keep,
    /// The member is `null` or no string.
    Clear,
    /// The member is a string.
    Set(Box<str>),
}

impl Patch {
    fn parse(member: Option<&Value>) -> Self {
        match member {
            None => Self::Keep,
            Some(Value::String(text)) => Self::Set(within_bounds(text)),
            Some(_) => Self::Clear,
        }
    }

    fn apply(&self, text: &mut Option<Box<str>>) {
        match self {
            Self::Keep => {}
            Self::Clear => *text = None,
            Self::Set(new) => *text = Some(new.clone()),
        }
    }
}

/// As much of a text as is kept of it.
fn within_bounds(text: &str) -> Box<str> {
    let end = text.floor_char_boundary(MAX_DESCRIPTION_BYTES);
    text.get(..end).unwrap_or_default().into()
}

/// A change to the metadata of a room. Name and folder never change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetaPatch {
    /// What happens to the model.
    pub model: Patch,
    /// What happens to the thinking level.
    pub thinking: Patch,
    /// Whether a turn is running now; `None` leaves it as it was.
    pub working: Option<bool>,
}

impl MetaPatch {
    /// Reads `meta` of a `room_meta_update`; what is no object changes nothing.
    pub(super) fn parse(raw: &RawValue) -> Self {
        let members: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        Self {
            model: Patch::parse(members.get("model")),
            thinking: Patch::parse(members.get("thinking")),
            working: members.get("working").and_then(Value::as_bool),
        }
    }

    /// Whether it changes nothing at all. One that sets what is there already is not empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An open room as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomState {
    /// The room's id.
    pub room: Box<str>,
    /// What its machine says about it.
    pub meta: RoomMeta,
    /// When it was opened: milliseconds since 1970 by the relay's clock.
    pub started_at: u64,
}
