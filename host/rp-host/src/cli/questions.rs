//! How questions are listed and answered on the command line.

use clap::{ArgGroup, Args};

#[derive(Debug, Args)]
#[command(after_help = "\
A question is answered once: whoever answers second is told who was first. Settled ones are kept
until a thousand newer ones are there.")]
pub struct Questions {
    /// Only those of this agent: its id, name or folder
    pub agent: Option<String>,
    /// Also those that are settled, and how
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("given").required(true).multiple(true),
    override_usage = "\
rp-host answer <QUESTION> <ANSWER>...
       rp-host answer <QUESTION> --guidance <TEXT>
       rp-host answer <QUESTION> --dismiss
       rp-host answer all <ANSWER> [--agent <AGENT>] [--tool <TOOL>]",
    after_help = "\
The answer is one of those that `rp-host questions` lists: allow, allow-always, deny or
deny-always for permission, yes or no, the number, id or text of an option, or any text where a
text is wanted.

  rp-host answer q7 allow                      one question
  rp-host answer q7,q9 deny                    two
  rp-host answer q7 --guidance \"use git mv\"    deny, and say what to do instead
  rp-host answer all allow --tool bash         every open question for permission to use bash")]
pub struct AnswerQuestions {
    /// Id of the question, several with commas between them, or `all`
    #[arg(value_name = "QUESTION")]
    pub questions: String,
    /// The answer
    #[arg(group = "given", num_args = 1..)]
    pub answer: Vec<String>,
    /// Deny, and tell the agent what to do instead
    #[arg(long, group = "given", value_name = "TEXT")]
    pub guidance: Option<String>,
    /// Give no answer: the agent goes on as if nobody could be asked
    #[arg(long, group = "given", conflicts_with_all = ["guidance", "answer"])]
    pub dismiss: bool,
    /// With `all`: only the questions of this agent
    #[arg(long)]
    pub agent: Option<String>,
    /// With `all`: only the questions about this tool
    #[arg(long)]
    pub tool: Option<String>,
}
