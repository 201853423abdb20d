//! Commands about app actions: which an agent has, and running one.

use std::io::IsTerminal;

use rp_protocol::actions::Action;
use serde_json::{Map, Value};

use super::{Asking, url_part};
use crate::{
    api,
    cli::{Action as Command, RunAction},
    output,
    problem::{Problem, While},
    render::{safe, table},
};

/// Values of a parameter that a listing shows.
const VALUES: usize = 8;

impl Asking<'_> {
    pub(super) async fn action(&self, command: Command) -> Result<(), Problem> {
        match command {
            Command::List { agent } => self.list_actions(&agent).await,
            Command::Run(run) => self.run_action(run).await,
        }
    }

    async fn list_actions(&self, wanted: &str) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let agent = self.find(&client, wanted).await?;
        let listing: api::Actions = client.get(&format!("/v1/agents/{}/actions", agent.id)).await?;
        self.show(&listing, |listing| {
            if listing.actions.is_empty() {
                return format!("no component has an action for {}", safe(&agent.name));
            }
            let row = |one: &api::Action| {
                let title = safe(&one.action.title);
                let asks = if one.action.destructive { " (asks first)" } else { "" };
                vec![
                    one.action.name.clone(),
                    format!("{title}{asks}"),
                    safe(&in_short(&one.action.parameters)),
                    one.component.clone(),
                ]
            };
            let rows: Vec<_> = listing.actions.iter().map(row).collect();
            table(&["action", "title", "parameters", "from"], &rows)
        })
    }

    async fn run_action(&self, run: RunAction) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let agent = self.find(&client, &run.agent).await?;
        let parts: Result<Vec<_>, _> = run.action.split('/').map(url_part).collect();
        let path = format!("/v1/agents/{}/actions", agent.id);
        let listing: api::Actions = client.get(&path).await?;
        // One that is not among them is sent all the same: the daemon says what is wrong.
        let called = |one: &&api::Action| {
            one.action.name == run.action
                || format!("{}/{}", one.component, one.action.name) == run.action
        };
        let action = listing.actions.iter().find(called).map(|one| &one.action);
        let schema = action.map_or(&Value::Null, |action| &action.parameters);
        let request = api::RunAction {
            parameters: parameters(schema, &run.parameters)?,
            confirmed: run.yes || action.is_some_and(|action| agreed(action, &agent.name)),
        };
        let (path, name) = (format!("{path}/{}", parts?.join("/")), safe(&run.action));
        let doing = format!("running {name} for {}", safe(&agent.name));
        let done = tokio::select! {
            done = self.patiently(&doing, client.post(&path, &request)) => done?,
            _ = tokio::signal::ctrl_c() => {
                return Err(Problem::failed(format!("stopped waiting for {name}")).hint(format!(
                    "what the agent was told goes on: see `rp-host attach {}`", agent.id
                )));
            }
        };
        self.show_done(&done)
    }

    fn show_done(&self, done: &api::ActionDone) -> Result<(), Problem> {
        if !self.json {
            done.notes.iter().for_each(|note| output::note(&safe(note)));
        }
        self.show(done, |done| safe(&done.text))
    }
}

/// Whether the person wants it. Who is not at a terminal says so with `--yes`.
fn agreed(action: &Action, agent: &str) -> bool {
    if !action.destructive || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    let (title, summary) = (safe(&action.title), safe(&action.summary));
    output::note(&format!("{title}: {summary}\ndo that to {}? type yes, or no", safe(agent)));
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer).doing("read the answer");
    read.is_ok() && matches!(answer.trim(), "y" | "yes")
}

/// The parameters as the action's schema wants them: text stays text, everything else is JSON.
fn parameters(schema: &Value, given: &[(String, String)]) -> Result<Map<String, Value>, Problem> {
    let mut parameters = Map::new();
    for (name, text) in given {
        let property = schema.get("properties").and_then(|all| all.get(name));
        let value = value(property.unwrap_or(&Value::Null), text);
        if parameters.insert(name.clone(), value).is_some() {
            return Err(Problem::usage(format!("the parameter {name} is given twice")));
        }
    }
    Ok(parameters)
}

/// What is no JSON is sent as text: the daemon says what is wanted instead.
fn value(property: &Value, text: &str) -> Value {
    let as_text = Value::from(text);
    let has = |key: &str, wanted: &Value| match property.get(key) {
        Some(Value::Array(items)) => items.contains(wanted),
        one => one == Some(wanted),
    };
    if has("type", &Value::from("string")) || has("enum", &as_text) {
        return as_text;
    }
    serde_json::from_str(text).unwrap_or(as_text)
}

/// The parameters of a schema in a few words: `to [note]`, `level=low|high`.
fn in_short(schema: &Value) -> String {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return String::new();
    };
    let required = schema.get("required").and_then(Value::as_array);
    let is_required =
        |name: &str| required.is_some_and(|names| names.iter().any(|required| required == name));
    let (first, then): (Vec<_>, Vec<_>) =
        properties.iter().partition(|(name, _)| is_required(name));
    let first = first.into_iter().map(|(name, property)| with_values(name, property));
    let then =
        then.into_iter().map(|(name, property)| format!("[{}]", with_values(name, property)));
    first.chain(then).collect::<Vec<_>>().join(" ")
}

fn with_values(name: &str, property: &Value) -> String {
    let values: Vec<String> = match property.get("enum").and_then(Value::as_array) {
        Some(values) => values
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect(),
        None if property.get("type").is_some_and(|kind| kind == "boolean") => {
            vec!["true".to_owned(), "false".to_owned()]
        }
        None => return name.to_owned(),
    };
    let mut shown: Vec<&str> = values.iter().take(VALUES).map(String::as_str).collect();
    if values.len() > VALUES {
        shown.push("…");
    }
    format!("{name}={}", shown.join("|"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_the_schema_wants_them() {
        let cases = [
            (json!({ "type": "string" }), "5", json!("5")),
            (json!({ "type": ["string", "null"] }), "true", json!("true")),
            (json!({ "enum": ["5", "x"] }), "5", json!("5")),
            (json!({ "enum": [5] }), "5", json!(5)),
            (json!({ "type": "integer" }), "5", json!(5)),
            (json!({ "type": "integer" }), "five", json!("five")),
            (json!({ "type": "boolean" }), "true", json!(true)),
            (json!({ "type": "array" }), "[1, \"a\"]", json!([1, "a"])),
            (json!(null), "text", json!("text")),
            (json!(null), "{}", json!({})),
        ];
        for (property, text, expected) in cases {
            assert_eq!(value(&property, text), expected, "{property} {text}");
        }
        let given = |name: &str| (name.to_owned(), "1".to_owned());
        let twice = parameters(&json!({}), &[given("a"), given("b"), given("a")]).unwrap_err();
        assert_eq!(twice.to_string(), "the parameter a is given twice");
    }

    #[test]
    fn parameters_are_listed_in_a_few_words() {
        let schema = json!({
            "properties": {
                "all": { "type": "boolean" },
                "level": { "enum": ["low", "high", 3] },
                "note": { "type": "string" },
                "to": { "type": "string" },
            },
            "required": ["to", "level"],
        });
        assert_eq!(in_short(&schema), "level=low|high|3 to [all=true|false] [note]");
        assert_eq!(in_short(&json!({})), "");
        let many = json!({ "properties": { "n": { "enum": [1, 2, 3, 4, 5, 6, 7, 8, 9] } } });
        assert_eq!(in_short(&many), "[n=1|2|3|4|5|6|7|8|…]");
    }
}
