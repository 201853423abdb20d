//! Aliases: what this machine calls the others, in front of the addresses its agents see.
//!
//! Every machine computes them for itself out of the nicknames that the owners gave. An alias is
//! never an identity and never a permission.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;

use crate::key::PublicKey;

/// Shortest piece of a key behind an alias that would not be unique, in characters.
const SHORTEST_SUFFIX: usize = 8;
/// The whole key in URL-safe base64, in characters.
const WHOLE_KEY: usize = 43;

/// A machine and the nickname it goes by, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who it is.
    pub key: PublicKey,
    /// As the owner wrote it; not empty.
    pub nickname: Option<String>,
}

/// A nickname as part of an address: every byte of its UTF-8 outside `A-Z a-z 0-9 . _ -` becomes
/// `%` and two upper-case hexadecimal digits. Never decoded again.
#[must_use]
pub fn encode_nickname(nickname: &str) -> String {
    let mut encoded = String::with_capacity(nickname.len());
    for byte in nickname.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Which of the nicknames that several owners gave one machine counts: the one that is smallest in
/// its encoded form, so that every machine chooses the same. Empty ones are none.
#[must_use]
pub fn choose_nickname<'a>(candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let named = candidates.into_iter().filter(|nickname| !nickname.is_empty());
    named.min_by_key(|nickname| (encode_nickname(nickname), *nickname))
}

/// Gives every machine an alias that no other has.
///
/// The alias is the encoded nickname, or `pc-` and the first 8 characters of the key in URL-safe
/// base64. Machines that would share one all get `~` and the beginning of their keys behind it,
/// 8 characters or as many more as it takes to tell all of them apart. Of a key that occurs twice
/// the last identity counts.
#[must_use]
pub fn assign_aliases(
    identities: impl IntoIterator<Item = Identity>,
) -> BTreeMap<PublicKey, String> {
    let nicknames: BTreeMap<_, _> =
        identities.into_iter().map(|identity| (identity.key, identity.nickname)).collect();
    let mut groups: BTreeMap<String, BTreeSet<PublicKey>> = BTreeMap::new();
    for (key, nickname) in nicknames {
        let base = nickname.map_or_else(
            || format!("pc-{}", prefix(&key.to_url_safe(), SHORTEST_SUFFIX)),
            |nickname| encode_nickname(&nickname),
        );
        groups.entry(base).or_default().insert(key);
    }
    let mut aliases = BTreeMap::new();
    for (base, keys) in groups {
        if keys.len() == 1 {
            aliases.extend(keys.into_iter().map(|key| (key, base.clone())));
            continue;
        }
        // No encoded nickname has a `~`, so these aliases can only be equal among each other.
        let length = telling_length(&keys);
        for key in keys {
            aliases.insert(key, format!("{base}~{}", prefix(&key.to_url_safe(), length)));
        }
    }
    aliases
}

/// How many characters tell all of these keys apart.
fn telling_length(keys: &BTreeSet<PublicKey>) -> usize {
    let texts: Vec<String> = keys.iter().map(PublicKey::to_url_safe).collect();
    let tells = |length: &usize| {
        let prefixes: HashSet<&str> = texts.iter().map(|text| prefix(text, *length)).collect();
        prefixes.len() == texts.len()
    };
    (SHORTEST_SUFFIX..WHOLE_KEY).find(tells).unwrap_or(WHOLE_KEY)
}

fn prefix(ascii: &str, length: usize) -> &str {
    ascii.get(..length).unwrap_or(ascii)
}
