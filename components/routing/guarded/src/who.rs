//! Which peers a setting means.

use rp_sdk::policy::Peer;

use crate::fields::Fields;
use crate::glob::fits;

/// What this machine is called in settings.
const THIS_MACHINE: &str = "local";
/// Sets of peers in one list.
const MOST: usize = 32;

/// A set of peers: those that fit one pattern of each list that there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Who {
    names: Option<Vec<String>>,
    folders: Option<Vec<String>>,
    machines: Option<Vec<String>>,
}

impl Who {
    /// The table with this key; absent when it is not there.
    pub(crate) fn read(fields: &mut Fields, key: &'static str) -> Result<Option<Who>, String> {
        fields.table(key)?.map(Who::parse).transpose()
    }

    /// The list of tables with this key; empty when it is not there.
    pub(crate) fn read_list(fields: &mut Fields, key: &'static str) -> Result<Vec<Who>, String> {
        fields.tables(key, MOST)?.into_iter().map(Who::parse).collect()
    }

    fn parse(mut fields: Fields) -> Result<Who, String> {
        let who = Who {
            names: fields.texts("name")?,
            folders: fields.texts("cwd")?,
            machines: fields.texts("machine")?,
        };
        let empty = fields.wrong("name", "set, or `cwd`, or `machine`");
        fields.nothing_else()?;
        if who == Who::default() { Err(empty) } else { Ok(who) }
    }

    pub(crate) fn has(&self, peer: &Peer) -> bool {
        one_fits(&self.names, |pattern| fits(pattern, &peer.name))
            && one_fits(&self.folders, |pattern| fits(pattern, &peer.cwd))
            && one_fits(&self.machines, |pattern| is_on(pattern, peer.pc.as_deref()))
    }
}

fn one_fits(patterns: &Option<Vec<String>>, fits: impl Fn(&str) -> bool) -> bool {
    patterns.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| fits(pattern)))
}

/// Another machine may be called `local` here; the pattern does not mean that one.
fn is_on(pattern: &str, machine: Option<&str>) -> bool {
    match machine {
        None => pattern == THIS_MACHINE || pattern == "*",
        Some(machine) => pattern != THIS_MACHINE && fits(pattern, machine),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use rp_sdk::testing::policy::peer;

    fn who(json: &str) -> Result<Option<Who>, String> {
        Who::read(&mut Fields::parse(json)?, "sender")
    }

    fn on(machine: &str) -> Peer {
        Peer { pc: Some(machine.to_owned()), ..peer("web") }
    }

    #[test]
    fn every_list_must_have_a_pattern_that_fits() {
        let cases = [
            (r#"{"name":"web"}"#, peer("web"), true),
            (r#"{"name":["api","we?"]}"#, peer("web"), true),
            (r#"{"name":["api","we?"]}"#, peer("web-1"), false),
            (r#"{"cwd":"/home/ann/*"}"#, peer("web"), true),
            (r#"{"cwd":"/home/bob/*"}"#, peer("web"), false),
            (r#"{"name":"web","cwd":"/home/bob/*"}"#, peer("web"), false),
            (r#"{"machine":"local"}"#, peer("web"), true),
            (r#"{"machine":"local"}"#, on("desk"), false),
            (r#"{"machine":"local"}"#, on("local"), false),
            (r#"{"machine":"*"}"#, peer("web"), true),
            (r#"{"machine":"*"}"#, on("desk"), true),
            (r#"{"machine":"d*"}"#, on("desk"), true),
            (r#"{"machine":"d*"}"#, peer("web"), false),
            (r#"{"machine":"?ocal"}"#, peer("web"), false),
        ];
        for (json, peer, expected) in cases {
            let who = who(&format!(r#"{{"sender":{json}}}"#)).unwrap().unwrap();
            assert_eq!(who.has(&peer), expected, "{json} {peer:?}");
        }
    }

    #[test]
    fn a_table_that_says_nothing_is_refused() {
        assert_eq!(
            who(r#"{"sender":{}}"#).unwrap_err(),
            "`sender.name` must be set, or `cwd`, or `machine`"
        );
        assert_eq!(who("{}").unwrap(), None);
    }
}
