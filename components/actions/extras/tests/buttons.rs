//! What pressing each button does, to its end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use rp_actions_extras::Extras;
use rp_sdk::Handler;
use rp_sdk::handler::{Context, Outcome, Peer, Progress, Step};
use rp_sdk::session::{Failure, FailureKind, Reply};
use rp_sdk::testing::actions::{context, peer, with_loose_schemas};
use serde_json::json;

fn with_peers(peers: Vec<Peer>, parameters: &str) -> Context {
    Context { peers, ..context(parameters) }
}

fn elsewhere(name: &str) -> Peer {
    Peer { address: format!("/srv@{name}"), cwd: "/srv".to_owned(), ..peer(name) }
}

fn said(text: &str) -> Outcome {
    Ok(Reply::Data(json!(text).to_string()))
}

fn failed(message: &str) -> Outcome {
    Err(Failure { kind: FailureKind::Refused, message: message.to_owned(), hint: None })
}

fn steps(progress: Progress) -> Vec<Step> {
    match progress {
        Progress::Steps(steps) => steps,
        Progress::Finished(text) => panic!("it is over: {text}"),
    }
}

fn finished(text: &str) -> Progress {
    Progress::Finished(text.to_owned())
}

/// The only message among the steps: its address and the text of its body.
fn sent(progress: Progress) -> (String, String) {
    match steps(progress).as_slice() {
        [Step::Send((to, body))] => (to.clone(), serde_json::from_str(body).unwrap()),
        other => panic!("{other:?}"),
    }
}

/// What the person sees, and what the agent is asked.
fn asked(progress: Progress) -> (String, String) {
    match steps(progress).as_slice() {
        [Step::Notify(notice), Step::Ask(question)] => (notice.clone(), question.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn work_is_summed_up_then_sent_then_reported() {
    let context = with_peers(vec![peer("api"), elsewhere("db")], r#"{"to":"db"}"#);
    let run = |replies: &[Outcome]| Extras::run("hand-over", &context, replies).unwrap();
    let (notice, question) = asked(run(&[]));
    assert_eq!(notice, "web sums its work up for db");
    assert!(question.starts_with("Your work is handed over to another agent now."));

    let summary = said("  The parser is done.\n");
    let (to, text) = sent(run(&[Ok(Reply::Done), summary.clone()]));
    assert_eq!(to, "/srv@db");
    assert_eq!(
        text,
        "I hand my work in /home/ann/project over to you: go on with it from here. Write to me only \
         when something that you need is missing.\n\nWhere it stands:\nThe parser is done."
    );

    assert_eq!(
        run(&[Ok(Reply::Done), summary, Ok(Reply::Done)]),
        finished("web handed its work over to /srv@db:\n\nThe parser is done.")
    );
}

#[test]
fn a_note_is_told_to_both_agents() {
    let parameters = r#"{"to":"/home/ann/project@api","note":" Hurry. "}"#;
    let context = with_peers(vec![peer("api")], parameters);
    let (_, question) = asked(Extras::run("hand-over", &context, &[]).unwrap());
    assert!(question.ends_with("The other agent is told this too:\nHurry."));
    let replies = [Ok(Reply::Done), said("Done.")];
    let (_, text) = sent(Extras::run("hand-over", &context, &replies).unwrap());
    assert!(text.ends_with("\n\nNote to you:\nHurry.\n\nWhere it stands:\nDone."), "{text}");
}

#[test]
fn an_address_comes_before_a_name() {
    let namesake = Peer { name: "/srv@db".to_owned(), ..peer("odd") };
    let context = with_peers(vec![namesake, elsewhere("db")], r#"{"to":"/srv@db"}"#);
    let replies = [Ok(Reply::Done), said("Done.")];
    let (to, _) = sent(Extras::run("hand-over", &context, &replies).unwrap());
    assert_eq!(to, "/srv@db");
}

#[test]
fn work_cannot_be_handed_over_to_nobody_or_to_several() {
    let crowd: Vec<Peer> = (0..22).map(|number| peer(&format!("api-{number}"))).collect();
    let cases = [
        (
            vec![peer("api"), elsewhere("db")],
            "apo",
            FailureKind::NotFound,
            "no agent has the name or address apo",
            "there is /home/ann/project@api, /srv@db",
        ),
        (
            vec![],
            "api",
            FailureKind::NotFound,
            "no agent has the name or address api",
            "no other agent can be reached now",
        ),
        (
            vec![peer("api"), elsewhere("api")],
            "api",
            FailureKind::Invalid,
            "2 agents have the name api",
            "give one of the addresses /home/ann/project@api, /srv@api",
        ),
    ];
    for (peers, to, kind, message, hint) in cases {
        let context = with_peers(peers, &json!({"to": to}).to_string());
        let failure = Extras::run("hand-over", &context, &[]).unwrap_err();
        assert_eq!((failure.kind, failure.message.as_str()), (kind, message));
        assert_eq!(failure.hint.as_deref(), Some(hint));
    }
    let context = with_peers(crowd, r#"{"to":"apo"}"#);
    let hint = Extras::run("hand-over", &context, &[]).unwrap_err().hint.unwrap();
    assert!(hint.ends_with("/home/ann/project@api-19, 2 more"), "{hint}");
}

#[test]
fn a_hand_over_that_goes_wrong_says_what_went_wrong() {
    let context = with_peers(vec![peer("api")], r#"{"to":"api"}"#);
    let silence = "web ended its turn without an answer";
    let cases = [
        (vec![Ok(Reply::Done), failed("it is not granted `ask`")], "it is not granted `ask`"),
        (vec![Ok(Reply::Done), said(" \n")], silence),
        (vec![Ok(Reply::Done), Ok(Reply::Done)], silence),
        (vec![Ok(Reply::Done), Ok(Reply::Data("{}".to_owned()))], silence),
        (
            vec![Ok(Reply::Done), said("Done."), failed("the mailbox is full")],
            "the mailbox is full",
        ),
    ];
    for (replies, message) in cases {
        let failure = Extras::run("hand-over", &context, &replies).unwrap_err();
        assert_eq!(failure.message, message);
    }
}

#[test]
fn tests_are_run_by_the_agent_and_reported() {
    let run = |replies: &[Outcome]| Extras::run("run-tests", &context("{}"), replies);
    let (notice, question) = asked(run(&[]).unwrap());
    assert_eq!(notice, "web runs the tests, which can take a while");
    assert!(question.contains("Change nothing"));
    let cases = [
        ("I ran 12.\ntests: passed", "web says that the tests passed\n\nI ran 12."),
        ("failing: a\ntests: failed", "web says that this test failed:\n- a"),
        ("failing: a\nfailing: b\ntests: failed", "web says that these 2 tests failed:\n- a\n- b"),
        ("tests: failed", "web says that tests failed, but not which"),
        (
            "There is no npm.\ntests: not run",
            "web says that the tests were not run\n\nThere is no npm.",
        ),
    ];
    for (answer, text) in cases {
        assert_eq!(run(&[Ok(Reply::Done), said(answer)]).unwrap(), finished(text));
    }
}

#[test]
fn an_agent_that_does_not_say_how_the_tests_went_has_failed() {
    let cases = [
        (said("They look good."), "web did not say whether the tests passed"),
        (said(""), "web ended its turn without an answer"),
        (failed("the turn was aborted"), "the turn was aborted"),
    ];
    for (answer, message) in cases {
        let replies = [Ok(Reply::Done), answer];
        let failure = Extras::run("run-tests", &context("{}"), &replies).unwrap_err();
        assert_eq!(failure.message, message);
    }
}

#[test]
fn a_note_goes_to_everybody_else_in_the_folder() {
    // The same folder of another machine is another folder.
    let namesake = Peer { pc: Some("desk".to_owned()), ..peer("mail") };
    let peers = vec![peer("api"), elsewhere("db"), namesake, peer("docs")];
    let context = with_peers(peers, r#"{"note":" The port is 8080. "}"#);
    let text = "A note for everybody who works in /home/ann/project; it needs no answer:\n\n\
                The port is 8080.";
    let send = |name: &str| Step::Send((peer(name).address, json!(text).to_string()));
    let run = |replies: &[Outcome]| Extras::run("broadcast-note", &context, replies);
    assert_eq!(steps(run(&[]).unwrap()), [send("api"), send("docs")]);
    assert_eq!(
        run(&[Ok(Reply::Done), Ok(Reply::Done)]).unwrap(),
        finished("the note went to 2 agents in /home/ann/project")
    );
    assert_eq!(
        run(&[Ok(Reply::Done), failed("its mailbox is full")]).unwrap(),
        finished(
            "the note went to 1 agent in /home/ann/project\n\
             not to /home/ann/project@docs: its mailbox is full"
        )
    );
    let failure = run(&[failed("no"), failed("never")]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    assert_eq!(
        failure.message,
        "the note went to nobody in /home/ann/project\n\
         not to /home/ann/project@api: no\n\
         not to /home/ann/project@docs: never"
    );
}

#[test]
fn a_note_that_cannot_go_anywhere_is_refused() {
    let note = r#"{"note":"hello"}"#;
    let nowhere = Peer { cwd: String::new(), ..peer("web") };
    let crowd = (0..65).map(|number| peer(&format!("api-{number}"))).collect();
    let cases = [
        (with_peers(vec![peer("api")], r#"{"note":" "}"#), "the note is empty"),
        (with_peers(vec![elsewhere("db")], note), "no other agent is in /home/ann/project"),
        (
            Context { agent: nowhere, ..with_peers(vec![peer("api")], note) },
            "web has no folder that others could be in",
        ),
        (
            with_peers(crowd, note),
            "65 agents are in /home/ann/project, and a note can go to 64 at most",
        ),
    ];
    for (context, message) in cases {
        assert_eq!(Extras::run("broadcast-note", &context, &[]).unwrap_err().message, message);
    }
}

#[test]
fn parameters_that_make_no_sense_are_refused() {
    let cases = [
        ("hand-over", "{}", "`to`"),
        ("hand-over", r#"{"to":"api","why":"x"}"#, "`why`"),
        ("run-tests", r#"{"all":true}"#, "`all`"),
        ("broadcast-note", "{}", "`note`"),
        ("broadcast-note", r#"{"note":1}"#, "expected a string"),
    ];
    for (name, parameters, part) in cases {
        let failure = Extras::run(name, &context(parameters), &[]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid);
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    let failure = Extras::run("handover", &context("{}"), &[]).unwrap_err();
    assert_eq!(failure.hint.as_deref(), Some("there is hand-over, run-tests, broadcast-note"));
}

#[test]
fn every_parameter_is_described_and_no_other_is_allowed() {
    assert_eq!(with_loose_schemas::<Extras>(), [""; 0]);
}
