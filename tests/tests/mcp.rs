//! The mesh tools over the Model Context Protocol, spoken to as a harness speaks.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails panics"
)]

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use rp_tests::host::Host;
use serde_json::{Value, json};

/// `rp-host mcp`, started as an agent's harness starts it.
struct Mcp {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    last: u64,
}

impl Mcp {
    /// With the environment of a running agent, as the kernel shows it.
    fn of_process(pid: u64) -> Self {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environment = String::from_utf8(environment).unwrap();
        let variables = environment.split('\0').filter_map(|entry| entry.split_once('='));
        let program = rp_tests::target::program("rp-host", "RP_HOST_BIN").unwrap();
        let mut child = Command::new(program)
            .arg("mcp")
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut mcp = Self { child, input, output, last: 0 };
        let client = json!({ "name": "test", "version": "1" });
        let hello = mcp.call(
            "initialize",
            &json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client }),
        );
        assert_eq!(hello["serverInfo"]["name"], "rp-host");
        mcp.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        mcp
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.input, "{message}").unwrap();
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters }));
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the server ended");
            let answer: Value = serde_json::from_str(&line).unwrap();
            if answer["id"] == id {
                return answer["result"].clone();
            }
        }
    }

    fn tool(&mut self, name: &str, arguments: &Value) -> Value {
        self.call("tools/call", &json!({ "name": name, "arguments": arguments }))
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_model_finds_asks_and_waits_for_another_agent() {
    let host = Host::start(Vec::new()).await.unwrap();
    let web = host.create("web").await.unwrap();
    let api = host.create("api").await.unwrap();
    let (pid, to) = (web["pid"].as_u64().unwrap(), api["address"].clone());
    tokio::task::spawn_blocking(move || {
        let mut mcp = Mcp::of_process(pid);
        let tools = mcp.call("tools/list", &json!({}));
        let names: Vec<_> =
            tools["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
        assert_eq!(names, ["agent_send", "agent_wait", "get_messages", "list_peers"]);

        let peers = mcp.tool("list_peers", &json!({}));
        let text = peers["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(to.as_str().unwrap()), "{text}");
        assert!(!text.contains("/web@web"), "the caller is not its own peer: {text}");

        let sent = mcp.tool("agent_send", &json!({ "to": to, "body": "what is 3*4?" }));
        let id = sent["structuredContent"]["id"].as_str().unwrap().to_owned();
        assert_eq!(sent["structuredContent"]["outcomes"][0]["status"], "received");

        let answer = mcp.tool("agent_wait", &json!({ "id": id, "seconds": 60 }));
        assert_eq!(answer["structuredContent"]["answer"]["body"], "12");
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_model_in_its_turn_can_look_at_its_mail_and_take_it_in_order() {
    let host = Host::start(Vec::new()).await.unwrap();
    let web = host.create("web").await.unwrap();
    let (id, pid) = (web["id"].as_str().unwrap().to_owned(), web["pid"].as_u64().unwrap());
    host.run_json(&["daemon", "send", &id, "sleep"]).await.unwrap();
    let until_working = async {
        while host.get(&format!("/v1/agents/{id}")).await.unwrap()["state"] != "working" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(rp_tests::PATIENCE, until_working).await.unwrap();
    for number in 0..30 {
        let message = json!({ "to": web["address"], "body": { "number": number } });
        host.post("/v1/messages", &message).await.unwrap();
    }
    tokio::task::spawn_blocking(move || {
        let mut mcp = Mcp::of_process(pid);
        let numbers = |result: &Value| -> Vec<i64> {
            let messages = result["structuredContent"]["messages"].as_array().unwrap();
            messages.iter().map(|message| message["body"]["number"].as_i64().unwrap()).collect()
        };
        let all: Vec<i64> = (0..30).collect();
        assert_eq!(numbers(&mcp.tool("get_messages", &json!({ "peek": true }))), all);
        assert_eq!(numbers(&mcp.tool("get_messages", &json!({}))), all);
        let nothing = mcp.tool("get_messages", &json!({}));
        assert_eq!(nothing["content"][0]["text"], "no messages");
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_list_and_a_broadcast_say_what_became_of_each_and_waiting_ends() {
    let host = Host::start(Vec::new()).await.unwrap();
    let web = host.create("web").await.unwrap();
    let api = host.create("api").await.unwrap();
    let (pid, to) = (web["pid"].as_u64().unwrap(), api["address"].clone());
    tokio::task::spawn_blocking(move || {
        let mut mcp = Mcp::of_process(pid);
        let list = json!({ "to": [to, "/nowhere@nobody"], "body": "hello" });
        let sent = mcp.tool("agent_send", &list);
        assert_ne!(sent["isError"], true, "one of them has it");
        let outcomes = sent["structuredContent"]["outcomes"].as_array().unwrap();
        let statuses: Vec<_> = outcomes.iter().map(|outcome| &outcome["status"]).collect();
        assert_eq!(statuses, ["received", "unknown"]);

        let note = mcp.tool("agent_send", &json!({ "to": "broadcast", "body": "hello" }));
        assert_eq!(note["structuredContent"]["outcomes"], json!([]), "nobody shares the folder");

        let never = "00000000-0000-4000-8000-000000000000";
        let waited = mcp.tool("agent_wait", &json!({ "id": never, "seconds": 0 }));
        assert_eq!(waited["content"][0]["text"], "no answer yet");
        let wrong = mcp.tool("agent_wait", &json!({ "id": "../../status" }));
        assert_eq!(wrong["isError"], true);
        let text = wrong["content"][0]["text"].as_str().unwrap();
        assert_eq!(
            text,
            "\"../../status\" is not the id of a message\nhint: give the id that agent_send returned, whole"
        );
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_wrong_call_is_explained_to_the_model() {
    let host = Host::start(Vec::new()).await.unwrap();
    let web = host.create("web").await.unwrap();
    let pid = web["pid"].as_u64().unwrap();
    tokio::task::spawn_blocking(move || {
        let mut mcp = Mcp::of_process(pid);
        let sent = mcp.tool("agent_send", &json!({ "to": "/nowhere@nobody", "body": "hi" }));
        assert_eq!(sent["structuredContent"]["outcomes"][0]["status"], "unknown");
        assert_eq!(sent["isError"], true, "it reached nobody");
        let sent = mcp.tool("agent_send", &json!({ "to": "x", "body": "hi", "re": "no id" }));
        assert_eq!(sent["isError"], true);
        let text = sent["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("\"no id\" is not the id of a message\nhint: ids look like"));
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_agents_token_reaches_its_own_tools_and_nothing_else() {
    let host = Host::start(Vec::new()).await.unwrap();
    let web = host.create("web").await.unwrap();
    let api = host.create("api").await.unwrap();
    let environment =
        std::fs::read(format!("/proc/{}/environ", web["pid"].as_u64().unwrap())).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    let token =
        environment.split('\0').find_map(|e| e.strip_prefix("RP_AGENT_TOKEN=")).unwrap().to_owned();
    let (web, api) = (web["id"].as_str().unwrap(), api["id"].as_str().unwrap());
    for (path, status) in [
        (format!("/v1/agents/{web}/peers"), 200),
        (format!("/v1/agents/{web}/inbox"), 200),
        (format!("/v1/agents/{api}/inbox"), 403),
        ("/v1/agents/person/inbox".to_owned(), 403),
        ("/v1/status".to_owned(), 403),
        (format!("/v1/agents/{web}"), 403),
        ("/v1/held".to_owned(), 403),
    ] {
        assert_eq!(host.status_of("GET", &path, &token).await.unwrap(), status, "{path}");
    }
    for path in [
        "/v1/messages".to_owned(),
        "/v1/stop".to_owned(),
        "/v1/agents".to_owned(),
        format!("/v1/agents/{api}/messages"),
        format!("/v1/agents/{web}/commands"),
        format!("/v1/agents/{web}/stop"),
        "/v1/held/x/allow".to_owned(),
    ] {
        assert_eq!(host.status_of("POST", &path, &token).await.unwrap(), 403, "{path}");
    }
    assert_eq!(host.status_of("GET", "/v1/status", "guessed").await.unwrap(), 401);
    let mode = std::fs::metadata(host.control()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the socket is the user's alone");
}
