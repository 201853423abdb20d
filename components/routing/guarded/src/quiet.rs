//! When nobody is to be woken up.

use std::fmt;

use rp_sdk::policy::Facts;

use crate::fields::Fields;
use crate::verdict::{Action, Objection};

const DAY: i32 = 24 * 60;
/// The clocks of the world, from Baker Island to Kiritimati, in minutes.
const OFFSETS: std::ops::RangeInclusive<i32> = -12 * 60..=14 * 60;

/// Minutes since midnight, below [`DAY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TimeOfDay(i32);

/// Part of every day; it may go over midnight.
#[derive(Debug)]
pub(crate) struct Quiet {
    from: TimeOfDay,
    to: TimeOfDay,
    /// What local time is ahead of UTC, in minutes.
    offset: i32,
    action: Action,
}

impl Quiet {
    /// The table `quiet`; absent when it is not there.
    pub(crate) fn read(settings: &mut Fields) -> Result<Option<Self>, String> {
        let Some(mut fields) = settings.table("quiet")? else { return Ok(None) };
        let quiet = Quiet {
            from: TimeOfDay::read(&mut fields, "from")?,
            to: TimeOfDay::read(&mut fields, "to")?,
            offset: fields.number("utc_offset_minutes", OFFSETS)?.unwrap_or(0),
            action: Action::read(&mut fields, Action::Hold)?,
        };
        if quiet.from == quiet.to {
            return Err(fields.wrong("to", "another time than `from`"));
        }
        fields.nothing_else()?;
        Ok(Some(quiet))
    }

    pub(crate) fn check(&self, facts: &Facts) -> Option<Objection> {
        let now = TimeOfDay::at(facts.now_ms, self.offset);
        let is_the_persons = facts.sender.person || facts.recipients.iter().all(|peer| peer.person);
        if !self.has(now) || is_the_persons {
            return None;
        }
        let (from, to) = (self.from, self.to);
        let what = format!("it is {now}, and {from} to {to} is quiet ({})", zone(self.offset));
        Some(self.action.because("quiet", &what))
    }

    fn has(&self, time: TimeOfDay) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&time)
        } else {
            time >= self.from || time < self.to
        }
    }
}

impl TimeOfDay {
    fn read(fields: &mut Fields, key: &'static str) -> Result<Self, String> {
        let wanted = "a time of day such as \"22:30\"";
        let text = fields.text(key)?;
        text.as_deref().and_then(Self::parse).ok_or_else(|| fields.wrong(key, wanted))
    }

    fn parse(text: &str) -> Option<Self> {
        let (hours, minutes) = text.split_once(':')?;
        let number = |digits: &str, below: i32| -> Option<i32> {
            let is_plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|number| is_plain && *number < below)
        };
        Some(TimeOfDay(number(hours, 24)? * 60 + number(minutes, 60)?))
    }

    fn at(now_ms: u64, offset: i32) -> Self {
        // The remainder is below a day, so it fits.
        let utc = i32::try_from(now_ms / 60_000 % DAY.unsigned_abs() as u64).unwrap_or(0);
        TimeOfDay((utc + offset).rem_euclid(DAY))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// An offset as people write it: `UTC+02:00`.
fn zone(offset: i32) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    format!("UTC{sign}{}", TimeOfDay(offset.abs()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    fn time(text: &str) -> TimeOfDay {
        TimeOfDay::parse(text).unwrap()
    }

    #[test]
    fn a_time_of_day_has_two_digits_for_each_part() {
        assert_eq!(time("00:00"), TimeOfDay(0));
        assert_eq!(time("23:59"), TimeOfDay(DAY - 1));
        for text in ["", "7:00", "24:00", "12:60", "12", "12:0", "+1:00", "12:00:00", "1２:00"] {
            assert_eq!(TimeOfDay::parse(text), None, "{text}");
        }
    }

    #[test]
    fn quiet_hours_can_go_over_midnight() {
        let cases = [
            ("22:00", "07:00", "22:00", true),
            ("22:00", "07:00", "23:59", true),
            ("22:00", "07:00", "00:00", true),
            ("22:00", "07:00", "06:59", true),
            ("22:00", "07:00", "07:00", false),
            ("22:00", "07:00", "21:59", false),
            ("12:00", "13:00", "12:00", true),
            ("12:00", "13:00", "12:59", true),
            ("12:00", "13:00", "13:00", false),
            ("12:00", "13:00", "00:00", false),
        ];
        for (from, to, now, expected) in cases {
            let (from, to) = (time(from), time(to));
            let quiet = Quiet { from, to, offset: 0, action: Action::Hold };
            assert_eq!(quiet.has(time(now)), expected, "{from} {to} {now}");
        }
    }

    #[test]
    fn local_time_is_ahead_of_utc_or_behind() {
        const HOUR_MS: u64 = 3_600_000;
        let cases =
            [(0, "23:00", "UTC+00:00"), (120, "01:00", "UTC+02:00"), (-570, "13:30", "UTC-09:30")];
        for (offset, expected, named) in cases {
            assert_eq!(TimeOfDay::at(47 * HOUR_MS, offset), time(expected));
            assert_eq!(zone(offset), named);
        }
        assert_eq!(TimeOfDay::at(HOUR_MS, -120), time("23:00"), "the day before");
    }
}
