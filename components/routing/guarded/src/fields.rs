//! A table of settings that is emptied key by key: what is left in the end is unknown.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// Texts in one list.
const MAX_TEXTS: usize = 32;
/// Bytes of one text.
const MAX_TEXT_BYTES: usize = 256;

/// One table. Every error is a sentence for a person that names the key.
#[derive(Debug)]
pub(crate) struct Fields {
    table: Map<String, Value>,
    /// Before a key, to name it: nothing, or `rate.`.
    prefix: String,
    /// The keys that were asked for.
    known: Vec<&'static str>,
}

impl Fields {
    /// All settings.
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        let table = serde_json::from_str(json)
            .map_err(|error| format!("the settings are not a JSON object: {error}"))?;
        Ok(Fields { table, prefix: String::new(), known: Vec::new() })
    }

    pub(crate) fn wrong(&self, key: &str, wanted: &str) -> String {
        format!("`{}{key}` must be {wanted}", self.prefix)
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn inner(&self, key: &str, table: Map<String, Value>) -> Fields {
        Fields { table, prefix: format!("{}{key}.", self.prefix), known: Vec::new() }
    }

    /// A table; absent when it is not there.
    pub(crate) fn table(&mut self, key: &'static str) -> Result<Option<Fields>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(table)) => Ok(Some(self.inner(key, table))),
            Some(_) => Err(self.wrong(key, "a table")),
        }
    }

    /// The table of a rule that is in force without it; absent when `false` switches it off.
    pub(crate) fn table_or_off(&mut self, key: &'static str) -> Result<Option<Fields>, String> {
        match self.take(key) {
            None => Ok(Some(self.inner(key, Map::new()))),
            Some(Value::Object(table)) => Ok(Some(self.inner(key, table))),
            Some(Value::Bool(false)) => Ok(None),
            Some(_) => Err(self.wrong(key, "a table, or false")),
        }
    }

    /// A list of at most `most` tables; empty when it is not there.
    pub(crate) fn tables(&mut self, key: &'static str, most: usize) -> Result<Vec<Fields>, String> {
        let wrong = self.wrong(key, &format!("at most {most} tables"));
        let items = match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) if items.len() <= most => items,
            Some(_) => return Err(wrong),
        };
        let table = |(place, item)| match item {
            Value::Object(table) => Ok(self.inner(&format!("{key}.{place}"), table)),
            _ => Err(wrong.clone()),
        };
        (1..).zip(items).map(table).collect()
    }

    pub(crate) fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i32>,
    ) -> Result<Option<i32>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let wanted = format!("a number from {} to {}", range.start(), range.end());
                Err(self.wrong(key, &wanted))
            }
        }
    }

    /// A number that counts something, or the usual one.
    pub(crate) fn count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i32>,
        usual: u32,
    ) -> Result<u32, String> {
        let number = self.number(key, range)?;
        Ok(number.map_or(usual, i32::unsigned_abs))
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<String>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if is_short(&text) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, &format!("a text of 1 to {MAX_TEXT_BYTES} bytes"))),
        }
    }

    /// A text or a list of texts.
    pub(crate) fn texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let items = match value {
            Value::Array(items) => items,
            one => vec![one],
        };
        let is_bounded = (1..=MAX_TEXTS).contains(&items.len());
        let texts: Option<Vec<String>> = items
            .into_iter()
            .map(|item| match item {
                Value::String(text) if is_short(&text) => Some(text),
                _ => None,
            })
            .collect();
        texts.filter(|_| is_bounded).map(Some).ok_or_else(|| {
            let wanted =
                format!("a text of 1 to {MAX_TEXT_BYTES} bytes, or 1 to {MAX_TEXTS} of them");
            self.wrong(key, &wanted)
        })
    }

    /// Refuses what nobody asked for, with the closest name.
    pub(crate) fn nothing_else(self) -> Result<(), String> {
        let Some(key) = self.table.keys().next() else { return Ok(()) };
        let closest = self
            .known
            .iter()
            .map(|known| (distance(key, known), known))
            .filter(|(distance, known)| *distance <= known.len() / 2)
            .min_by_key(|(distance, _)| *distance);
        let hint = match closest {
            Some((_, known)) => format!("did you mean `{known}`?"),
            None => format!("the settings here are {}", self.known.join(", ")),
        };
        Err(format!("`{}{key}` is not a setting\nhint: {hint}", self.prefix))
    }
}

fn is_short(text: &str) -> bool {
    (1..=MAX_TEXT_BYTES).contains(&text.len())
}

/// How many letters must be added, removed or replaced to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    // The distances between what was read of `one` and every beginning of `other`.
    let mut row: Vec<usize> = (1..=other.chars().count()).collect();
    for (place, letter) in one.chars().enumerate() {
        let (mut diagonal, mut left) = (place, place + 1);
        for (cell, wanted) in row.iter_mut().zip(other.chars()) {
            let replaced = diagonal + usize::from(letter != wanted);
            diagonal = *cell;
            *cell = replaced.min(*cell + 1).min(left + 1);
            left = *cell;
        }
    }
    row.last().copied().unwrap_or(one.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_the_number_of_changed_letters() {
        let cases = [
            ("", "", 0),
            ("", "rate", 4),
            ("rate", "", 4),
            ("rate", "rate", 0),
            ("rat", "rate", 1),
        ];
        for (one, other, expected) in cases {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
        assert_eq!(distance("quite", "quiet"), 2);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
