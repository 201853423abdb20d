//! The published schema of `component.toml` and the parser take and refuse the same manifests.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::{fs, path::Path};

use jsonschema::Validator;
use rp_protocol::{component::Manifest, session::Command};
use serde_json::{Value, json};

const GOOD: &str = "id = \"careful\"\nversion = \"1.0.0\"\nkind = \"policy\"\n\
                    world = \"rp:routing/routing-policy@0.1.0\"\nabout = \"Looks twice.\"\n";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn schema() -> Value {
    let text = fs::read_to_string(repository().join("docs/component.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn takes(schema: &Validator, manifest: &str) -> bool {
    let table: toml::Table = manifest.parse().unwrap();
    schema.is_valid(&serde_json::to_value(table).unwrap())
}

#[test]
fn every_manifest_that_ships_is_valid() {
    let schema = jsonschema::validator_for(&schema()).unwrap();
    let folders = ["adapters", "components/routing", "components/actions", "sdk/templates/common"];
    let mut seen = 0;
    for folder in folders {
        for entry in fs::read_dir(repository().join(folder)).unwrap() {
            let file = entry.unwrap().path().join("component.toml");
            let Ok(text) = fs::read_to_string(&file) else { continue };
            let text = text.replace("{{id}}", "example").replace("{{name}}", "Example");
            assert!(takes(&schema, &text), "{}", file.display());
            Manifest::parse(&text).unwrap();
            seen += 1;
        }
    }
    assert!(seen >= 12, "{seen}");
}

#[test]
fn what_the_parser_refuses_the_schema_refuses() {
    let schema = jsonschema::validator_for(&schema()).unwrap();
    assert!(takes(&schema, GOOD));
    let changed = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replace(from, to)
    };
    let bad = [
        changed("about = \"Looks twice.\"\n", ""),
        changed("careful", "Careful"),
        changed("careful", "1careful"),
        changed("careful", &"a".repeat(65)),
        changed("1.0.0", "1.0"),
        changed("1.0.0", "01.0.0"),
        changed("\"policy\"", "\"rule\""),
        changed("rp:routing/routing-policy@0.1.0", "rp:routing/routing-policy"),
        changed("rp:routing/routing-policy", "rp:harness/harness-adapter"),
        changed("Looks twice.", " "),
        changed("Looks twice.", "Looks\\ntwice."),
        changed("Looks twice.", &"a".repeat(501)),
        format!("{GOOD}colour = \"red\"\n"),
        format!("{GOOD}memory_mib = 0\n"),
        format!("{GOOD}memory_mib = 1025\n"),
        format!("{GOOD}memory_mib = \"64\"\n"),
        format!("{GOOD}permissions = \"all\"\n"),
        format!("{GOOD}[permissions.stor]\nreason = \"it counts\"\n"),
        format!("{GOOD}[permissions.store]\n"),
        format!("{GOOD}[permissions.store]\nreason = \"it counts\"\nbytes = 5\n"),
        format!("{GOOD}[permissions.run]\nreason = \"it starts\"\nprograms = [\"pi\"]\n"),
        changed(
            "policy\"\nworld = \"rp:routing/routing-policy",
            "actions\"\nworld = \"rp:actions/app-actions",
        ) + "[permissions.command]\nreason = \"it presses\"\ncommands = [\"compress\"]\n",
        changed(
            "policy\"\nworld = \"rp:routing/routing-policy",
            "actions\"\nworld = \"rp:actions/app-actions",
        ) + "[permissions.send]\nreason = \"it tells\"\nto = []\n",
    ];
    for manifest in bad {
        assert!(Manifest::parse(&manifest).is_err(), "the parser takes:\n{manifest}");
        assert!(!takes(&schema, &manifest), "the schema takes:\n{manifest}");
    }
}

#[test]
fn the_schema_knows_every_command() {
    let schema = schema();
    let known = schema
        .pointer("/properties/permissions/properties/command/properties/commands/items/enum")
        .unwrap();
    let mut commands = Command::NAMES.to_vec();
    commands.retain(|command| *command != "answer");
    commands.push("ask");
    assert_eq!(*known, json!(commands));
}
