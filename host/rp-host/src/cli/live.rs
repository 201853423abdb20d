//! Running a harness in the person's own terminal.

use std::ffi::OsString;

use clap::Args;

use crate::problem::Problem;

/// Where and with what a harness is run.
#[derive(Debug, Args)]
pub struct Live {
    /// The folder to work in [default: the current folder], then what is for the harness, untouched;
    /// without a folder that stands behind `--`
    #[arg(value_name = "FOLDER] [FLAGS", trailing_var_arg = true)]
    pub arguments: Vec<OsString>,
    /// Its name on the mesh [default: the folder's name]; one that is taken gets a number
    #[arg(long)]
    pub name: Option<String>,
}

impl Live {
    /// The folder and what is for the harness. Behind `--` there is no folder; the parser keeps no
    /// trace of that, so it is looked for in what the program was started with.
    pub fn split(
        self,
        started_with: impl Iterator<Item = OsString>,
    ) -> Result<(String, Vec<OsString>), Problem> {
        let words: Vec<OsString> = started_with.collect();
        let behind = words.iter().position(|word| word == "--").map(|at| words.len() - at - 1);
        let mut arguments = self.arguments.into_iter().peekable();
        if behind == Some(arguments.len()) {
            return Ok((".".to_owned(), arguments.collect()));
        }
        let folder = arguments.next().unwrap_or_else(|| ".".into());
        let folder = folder
            .into_string()
            .map_err(|_| Problem::usage("the folder's path is not valid UTF-8"))?;
        arguments.next_if(|word| word == "--");
        Ok((folder, arguments.collect()))
    }
}

/// Help about Claude Code.
pub const CLAUDE: &str = "\
For example:
  rp-host claude                           here
  rp-host claude ~/web --model opus        what stands behind the folder is for Claude
  rp-host claude -- --continue             without a folder, that stands behind --
  rp-host claude --name reviewer ~/web     under another name than the folder's

It is the Claude Code you know, with your settings. Besides, it has an address that other agents
and you write to, and its model has the tools to write to them. A message reaches it with your next
prompt, and while it works when its turn ends: then it goes on with the message. It leaves the mesh
when it ends; what waits for it stays for the next one of this name in this folder.";

/// Help about Codex.
pub const CODEX: &str = "\
For example:
  rp-host codex                            here
  rp-host codex ~/web --model gpt-5        what stands behind the folder is for Codex
  rp-host codex ~/web exec \"fix the test\" run it without its screen
  rp-host codex -- resume --last           without a folder, that stands behind --

Besides what Codex is, it has an address that other agents and you write to, and its model has the
tools to write to them. Messages reach it with your next prompt and when its turn ends, by hooks.
Codex asks you once whether to trust those (see /hooks there); without them its model is told to
fetch its messages with a tool. What waits for it when it ends stays for the next one of this name
in this folder.";

/// Help about Pi.
pub const PI: &str = "\
For example:
  rp-host pi                               here
  rp-host pi ~/web --model opus            what stands behind the folder is for Pi
  rp-host pi -- --continue                 without a folder, that stands behind --

Besides what Pi is, it has an address that other agents and you write to, and its model has the
tools to write to them. A message reaches it as soon as it is idle, as a prompt; a Pi that prints
one answer and ends (-p) gets none. In Pi:
  /remote-pi status                        who it is on the mesh
  /remote-pi peers                         who else is there
  /remote-pi stop                          leave the mesh; Pi goes on
What waits for it when it ends stays for the next one of this name in this folder.";

/// Help about OpenCode.
pub const OPENCODE: &str = "\
For example:
  rp-host opencode                         here
  rp-host opencode ~/web --continue        what stands behind the folder is for OpenCode

OpenCode gets the tools of the mesh and an address. It cannot be given messages from outside: its
model is told to fetch them with a tool when it begins a turn.";

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(words: &[&str]) -> (Option<String>, String, Vec<OsString>) {
        let Command::Claude(live) = Cli::try_parse_from(words).unwrap().command else {
            panic!("another command");
        };
        let name = live.name.clone();
        let (folder, flags) = live.split(words.iter().map(OsString::from)).unwrap();
        (name, folder, flags)
    }

    #[test]
    fn what_stands_behind_the_folder_is_for_the_harness() {
        let none: [&str; 0] = [];
        let cases: [(&[&str], &str, &[&str]); 9] = [
            (&[], ".", &none),
            (&["/web"], "/web", &none),
            (&["/web", "-p", "hello", "--json"], "/web", &["-p", "hello", "--json"]),
            (&["/web", "--json"], "/web", &["--json"]),
            (&["/web", "exec", "--help"], "/web", &["exec", "--help"]),
            (&["/web", "-p", "--", "x"], "/web", &["-p", "--", "x"]),
            (&["/web", "--", "-p", "x"], "/web", &["-p", "x"]),
            (&["--", "-p", "hello"], ".", &["-p", "hello"]),
            (&["--", "fix it", "--", "x"], ".", &["fix it", "--", "x"]),
        ];
        for (words, folder, flags) in cases {
            let words: Vec<_> = ["rp-host", "claude"].iter().chain(words).copied().collect();
            let flags: Vec<OsString> = flags.iter().map(OsString::from).collect();
            assert_eq!(parsed(&words), (None, folder.to_owned(), flags), "{words:?}");
        }
    }

    #[test]
    fn a_name_stands_before_the_folder() {
        let words = ["rp-host", "claude", "--name", "reviewer", "/web", "--name", "x"];
        let flags = vec![OsString::from("--name"), OsString::from("x")];
        assert_eq!(parsed(&words), (Some("reviewer".to_owned()), "/web".to_owned(), flags));
    }
}
