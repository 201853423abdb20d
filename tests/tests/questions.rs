//! What agents ask a person: listed, answered once from anywhere, and never open when nobody waits.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use futures_util::future::join_all;
use rp_tests::{PATIENCE, host::Host};
use serde_json::{Value, json};

/// An agent and the number of the last event that was seen of it.
struct Agent {
    id: String,
    seen: u64,
}

impl Agent {
    async fn create(host: &Host, name: &str) -> Self {
        let agent = host.create(name).await.unwrap();
        Self { id: agent["id"].as_str().unwrap().to_owned(), seen: 0 }
    }

    async fn prompt(&self, host: &Host, script: &str) {
        let prompt = json!({ "type": "prompt", "text": script });
        host.post(&format!("/v1/agents/{}/commands", self.id), &prompt).await.unwrap();
    }

    /// The next event of this type.
    async fn next(&mut self, host: &Host, kind: &str) -> Value {
        let searching = async {
            loop {
                let after = format!("after={}", self.seen);
                let event = host.events(&self.id, &after, 1).await.unwrap().remove(0);
                self.seen = event["sequence"].as_u64().unwrap();
                if event["event"]["type"] == kind {
                    return event["event"].clone();
                }
            }
        };
        tokio::time::timeout(PATIENCE, searching).await.unwrap()
    }

    /// Has it ask, and gives the question's id.
    async fn ask(&mut self, host: &Host, script: &str) -> String {
        self.prompt(host, script).await;
        self.next(host, "question").await["id"].as_str().unwrap().to_owned()
    }

    /// What it says next.
    async fn says(&mut self, host: &Host) -> String {
        self.next(host, "message-ended").await["text"].as_str().unwrap().to_owned()
    }
}

/// What a command printed, with times left out.
async fn run(host: &Host, arguments: &[&str]) -> (String, String, i32) {
    let output = host.run(arguments).await.unwrap();
    let without_times = |text: &str| {
        let lines = text.lines().map(|line| match line.find(" at 20") {
            // A date and a time, down to the second.
            Some(at) => format!("{} at TIME{}", &line[..at], &line[at + 24..]),
            None => line.to_owned(),
        });
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    (without_times(&output.stdout), without_times(&output.stderr), output.code.unwrap())
}

fn failed(message: &str, hint: &str, code: i32) -> (String, String, i32) {
    let hint = if hint.is_empty() { String::new() } else { format!("hint: {hint}\n") };
    (String::new(), format!("error: {message}\n{hint}"), code)
}

fn said(text: &str) -> (String, String, i32) {
    (text.to_owned(), String::new(), 0)
}

#[tokio::test]
async fn a_question_is_listed_shown_and_answered_from_the_command_line() {
    let host = Host::start(Vec::new()).await.unwrap();
    let mut api = Agent::create(&host, "api").await;
    assert_eq!(run(&host, &["questions"]).await, said("no questions are open\n"));
    assert_eq!(api.ask(&host, "permit bash rm -r build").await, "q1");

    let listed = host.run(&["questions"]).await.unwrap().stdout;
    let line = listed.lines().nth(1).unwrap();
    assert!(line.starts_with("q1  api  "), "{listed}");
    let rest = "May I use bash? bash {\"text\":\"rm -r build\"}  allow, allow-always, deny";
    assert!(line.ends_with(rest), "{listed}");
    let shown = host.run(&["question", "q1"]).await.unwrap().stdout;
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[0].starts_with(&format!("q1 of api ({}), asked at ", api.id)), "{shown}");
    let expected = "  May I use bash?|tool bash|  {|    \"text\": \"rm -r build\"|  }|answers|  \
                    allow         Allow once|  allow-always  Always allow|  deny          Deny|open";
    assert_eq!(lines[1..].join("|"), expected);
    let status = host.run(&["status"]).await.unwrap().stdout;
    assert!(status.contains("\nquestions   1 open\n"), "{status}");

    let unfit = run(&host, &["answer", "q1", "maybe"]).await;
    let hint = "its answers are allow (Allow once), allow-always (Always allow), deny (Deny)";
    assert_eq!(unfit, failed("\"maybe\" does not answer question q1", hint, 2));
    assert_eq!(run(&host, &["answer", "q1", "allow"]).await, said("q1 of api: Allow once\n"));
    assert_eq!(api.says(&host).await, "once");

    let again = run(&host, &["answer", "q1", "deny"]).await;
    let first = "question q1 was already answered by the command line at TIME: Allow once";
    assert_eq!(again, failed(first, "", 1));
    let unknown = run(&host, &["answer", "q9", "allow"]).await;
    let hint = "`rp-host questions` lists those that wait";
    assert_eq!(unknown, failed("no question has the id q9", hint, 1));
    assert_eq!(run(&host, &["questions"]).await, said("no questions are open\n"));
    let all = host.run(&["questions", "--all"]).await.unwrap().stdout;
    assert!(all.contains("answered by the command line: Allow once"), "{all}");
}

#[tokio::test]
async fn every_kind_of_question_takes_its_own_words() {
    let host = Host::start(Vec::new()).await.unwrap();
    let mut api = Agent::create(&host, "api").await;
    for (script, answer, printed, heard) in [
        ("permit bash ls", vec!["always allow"], "Always allow", "always"),
        ("permit bash ls", vec!["3"], "Deny", "no"),
        (
            "permit bash ls",
            vec!["--guidance", "use find"],
            "deny, with the guidance: use find",
            "denied: use find",
        ),
        ("choose Which? red, green", vec!["2"], "green", "green"),
        ("choose Which? red, green", vec!["RED"], "red", "red"),
        ("confirm Go on?", vec!["no"], "no", "no"),
        ("text Your name?", vec!["Ann", "Lee"], "Ann Lee", "Ann Lee"),
        ("text Your name?", vec!["--dismiss"], "dismissed", "dismissed"),
    ] {
        let id = api.ask(&host, script).await;
        let arguments = [vec!["answer", &id], answer].concat();
        assert_eq!(run(&host, &arguments).await, said(&format!("{id} of api: {printed}\n")));
        assert_eq!(api.says(&host).await, heard, "{script}");
    }
    let id = api.ask(&host, "confirm Go on?").await;
    for (answer, hint) in
        [("maybe", "its answers are yes, no"), ("allow", "its answers are yes, no")]
    {
        let message = format!("\"{answer}\" does not answer question {id}");
        assert_eq!(run(&host, &["answer", &id, answer]).await, failed(&message, hint, 2));
    }
}

#[tokio::test]
async fn of_many_clients_that_answer_at_once_one_wins_and_all_others_are_told_who() {
    let host = Host::start(Vec::new()).await.unwrap();
    let mut api = Agent::create(&host, "api").await;
    let id = api.ask(&host, "permit bash ls\nsay over").await;
    let host = &host;
    let path = &format!("/v1/questions/{id}/answer");
    let outcomes = join_all((0..8).map(|client| async move {
        let answer = if client % 2 == 0 { "allow" } else { "deny" };
        host.post(path, &json!({ "answer": answer, "by": format!("phone {client}") })).await
    }))
    .await;
    let winners: Vec<_> = outcomes.iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    let winner = winners[0]["settled"]["by"].as_str().unwrap();
    for lost in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        let expected = format!("question {id} was already answered by {winner} at ");
        assert!(lost.to_string().contains(&expected), "{lost:#}");
    }
    let settled = api.next(host, "question-settled").await;
    assert_eq!((&settled["question"], &settled["how"]["by"]), (&json!(id), &json!(winner)));
    api.says(host).await;
    assert_eq!(api.says(host).await, "over", "the agent heard one answer");
}

#[tokio::test]
async fn several_are_answered_at_once_by_id_by_agent_or_by_tool() {
    let host = Host::start(Vec::new()).await.unwrap();
    let mut agents = Vec::new();
    for name in ["api", "web", "doc"] {
        agents.push(Agent::create(&host, name).await);
    }
    let mut ask = async |scripts: [&str; 3]| {
        let mut ids = Vec::new();
        for (agent, script) in agents.iter_mut().zip(scripts) {
            ids.push(agent.ask(&host, script).await);
        }
        ids
    };
    let ids = ask(["permit bash ls", "permit read a.txt", "confirm Go on?"]).await;
    assert_eq!(ids, ["q1", "q2", "q3"]);
    let hint = "other questions are answered one by one: `rp-host questions` lists them";
    let message = "`all` takes allow, allow-always, deny, deny-always, not \"yes\"";
    assert_eq!(run(&host, &["answer", "all", "yes"]).await, failed(message, hint, 2));
    let hint = "`rp-host questions` lists those that wait";
    let none = run(&host, &["answer", "all", "allow", "--tool", "write"]).await;
    assert_eq!(none, failed("no open question asks for permission to use write", hint, 1));

    let by_tool = run(&host, &["answer", "all", "allow", "--tool", "read"]).await;
    assert_eq!(by_tool, said("q2 of web: Allow once\n1 question answered\n"));
    let guided =
        run(&host, &["answer", "all", "deny", "--agent", "api", "--guidance", "ask me first"])
            .await;
    let expected = "q1 of api: deny, with the guidance: ask me first\n1 question answered\n";
    assert_eq!(guided, said(expected));
    let by_id = run(&host, &["answer", "q1,q3", "yes"]).await;
    let first = "question q1 was already answered by the command line at TIME: deny, with the \
                 guidance: ask me first";
    assert_eq!(by_id.0, "q3 of doc: yes\n1 question answered\n");
    assert_eq!((by_id.1, by_id.2), (format!("error: {first}\n"), 1));

    ask(["permit bash ls", "permit bash pwd", "permit bash id"]).await;
    let all = run(&host, &["answer", "all", "deny"]).await;
    let expected = "q4 of api: Deny\nq5 of web: Deny\nq6 of doc: Deny\n3 questions answered\n";
    assert_eq!(all, said(expected));
    let answered = host.run_json(&["questions", "--all"]).await.unwrap();
    assert_eq!(answered["questions"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_open_and_says_why() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    let mut api = Agent::create(&host, "api").await;
    let expired = api.ask(&host, "within 0 confirm Quick?").await;
    let settled = api.next(&host, "question-settled").await;
    assert_eq!(settled["how"], json!({ "type": "expired" }));
    let late = run(&host, &["answer", &expired, "yes"]).await;
    assert_eq!(late, failed(&format!("question {expired} expired at TIME"), "", 1));

    let withdrawn = api.ask(&host, "confirm Go on?").await;
    let abort = json!({ "type": "abort" });
    host.post(&format!("/v1/agents/{}/commands", api.id), &abort).await.unwrap();
    let late = run(&host, &["answer", &withdrawn, "yes"]).await;
    let message = format!("question {withdrawn} was withdrawn by its harness at TIME");
    assert_eq!(late, failed(&message, "", 1));

    let stopped = api.ask(&host, "confirm Go on?").await;
    host.run_json(&["daemon", "restart", "api"]).await.unwrap();
    let lost = |id: &str| format!("question {id} was lost at TIME: what asked it ended");
    let late = run(&host, &["answer", &stopped, "yes"]).await;
    assert_eq!(late, failed(&lost(&stopped), "", 1));

    let killed = api.ask(&host, "permit bash ls").await;
    host.kill().unwrap();
    host.start_again().await.unwrap();
    assert_eq!(run(&host, &["questions"]).await, said("no questions are open\n"));
    let late = run(&host, &["answer", &killed, "allow"]).await;
    assert_eq!(late, failed(&lost(&killed), "", 1));
    let all = host.run_json(&["questions", "--all"]).await.unwrap();
    let ends: Vec<_> = all["questions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|question| question["settled"]["type"].as_str().unwrap())
        .collect();
    assert_eq!(ends, ["expired", "withdrawn", "lost", "lost"]);
    let settled =
        async { while api.next(&host, "question-settled").await["question"] != json!(killed) {} };
    tokio::time::timeout(PATIENCE, settled).await.unwrap();
    let next = api.ask(&host, "confirm New?").await;
    assert_eq!(next, "q5", "no id is given twice");
}

#[tokio::test]
async fn an_agent_does_not_answer_itself() {
    let host = Host::start(Vec::new()).await.unwrap();
    let mut api = Agent::create(&host, "api").await;
    let id = api.ask(&host, "permit bash ls").await;
    let pid = host.get(&format!("/v1/agents/{}", api.id)).await.unwrap()["pid"].clone();
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let token = environment.split('\0').find_map(|line| line.strip_prefix("RP_AGENT_TOKEN="));
    for path in ["/v1/questions".to_owned(), format!("/v1/questions/{id}")] {
        assert_eq!(host.status_of("GET", &path, token.unwrap()).await.unwrap(), 403);
    }
    let path = format!("/v1/questions/{id}/answer");
    assert_eq!(host.status_of("POST", &path, token.unwrap()).await.unwrap(), 403);
    let bad = host.post(&path, &json!({ "answer": "allow", "by": "\u{1b}[2J" })).await;
    assert!(bad.unwrap_err().to_string().contains("`by` must have 1 to 64 characters"));
    assert_eq!(run(&host, &["answer", &id, "deny"]).await, said(&format!("{id} of api: Deny\n")));
}
