//! Guests written as WebAssembly text, and engines with folders of their own.
//!
//! Every function of a guest does nothing and returns a pointer to zeroes, which reads as
//! empty lists, empty strings, the first case of a variant, success. A test replaces the
//! body of the functions it is about. Only `describe` says something: that there is a harness
//! named `test`.

use std::path::{Path, PathBuf};

use rp_engine::{
    Adapter, AdapterSession, Engine, EngineConfig, Limits, LoadError, NoStore, Policy,
};
use rp_protocol::{
    routing::{Direction, Facts, Peer},
    session::LaunchRequest,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// An address with nothing but zeroes behind it, in every guest.
pub const ZEROES: &str = "(i32.const 1024)";

/// Name and signature of every function an adapter exports, parameters named `$0`, `$1`, ...
pub const ADAPTER: &[(&str, &str)] = &[
    ("describe", ""),
    ("launch", "i32"),
    ("[constructor]session", "i32"),
    ("[method]session.started", "i32"),
    ("[method]session.output", "i32 i32 i32"),
    ("[method]session.diagnostics", "i32 i32 i32"),
    ("[method]session.command", "i32 i64 i32 i32 i32 i32 i32 i32"),
    ("[method]session.wake", "i32"),
    ("[method]session.exited", "i32 i32 i32 i32"),
];

pub const POLICY: &[(&str, &str)] = &[("configure", "i32 i32"), ("decide", "i32")];

/// A list of one description at 2048, with a name at 2200.
const ONE_HARNESS: &str = r#"
    (data (i32.const 2048) "\08\08\00\00\01\00\00\00\98\08\00\00\04\00\00\00")
    (data (i32.const 2200) "test")"#;

pub const LOG: &str = r#"(import "rp:plugin/log@0.1.0" "write"
    (func $log (param i32 i32 i32 i32 i32)))"#;

pub struct Guest {
    interface: &'static str,
    functions: &'static [(&'static str, &'static str)],
    imports: String,
    items: String,
    bodies: Vec<(String, String)>,
    wit: String,
    world: &'static str,
}

impl Guest {
    pub fn adapter() -> Self {
        Guest {
            interface: "rp:harness/adapter@0.1.0",
            functions: ADAPTER,
            imports: r#"(import "[export]rp:harness/adapter@0.1.0" "[resource-new]session"
                (func $new (param i32) (result i32)))"#
                .into(),
            items: ONE_HARNESS.into(),
            bodies: vec![
                ("describe".into(), "(i32.const 2048)".into()),
                ("[constructor]session".into(), "(call $new (i32.const 1))".into()),
            ],
            wit: String::new(),
            world: "rp:harness/harness-adapter",
        }
    }

    pub fn policy() -> Self {
        Guest {
            interface: "rp:routing/policy@0.1.0",
            functions: POLICY,
            imports: String::new(),
            items: String::new(),
            bodies: Vec::new(),
            wit: String::new(),
            world: "rp:routing/routing-policy",
        }
    }

    /// Replaces the body of an exported function; it must leave one `i32`.
    pub fn body(mut self, function: &str, body: &str) -> Self {
        self.bodies.retain(|(name, _)| name != function);
        self.bodies.push((function.into(), body.into()));
        self
    }

    /// Adds an import.
    pub fn import(mut self, text: &str) -> Self {
        self.imports += text;
        self
    }

    /// Adds functions, globals, data or memories.
    pub fn item(mut self, text: &str) -> Self {
        self.items += text;
        self
    }

    /// Adds packages that `world` needs, and makes the guest one of that world.
    pub fn world(mut self, packages: &str, world: &'static str) -> Self {
        self.wit = packages.into();
        self.world = world;
        self
    }

    /// The core module, without interfaces.
    pub fn module(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap()
    }

    pub fn build(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        for package in ["plugin", "session", "harness", "routing"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit").join(package);
            resolve.push_dir(folder).unwrap();
        }
        let (packages, last) = split_packages(&self.wit);
        for package in packages.iter().chain(&last) {
            resolve.push_str("test.wit", package).unwrap();
        }
        encode(self.module(), &resolve, self.world)
    }

    fn text(&self) -> String {
        let mut functions = String::new();
        for (name, parameters) in self.functions {
            let parameters: String = parameters
                .split_whitespace()
                .enumerate()
                .map(|(index, kind)| format!("(param ${index} {kind})"))
                .collect();
            let own = self.bodies.iter().find(|(of, _)| of == name);
            let body = own.map_or(ZEROES, |(_, body)| body);
            functions += &format!(
                "(func (export \"{}#{name}\") {parameters} (result i32) {body})\n",
                self.interface
            );
        }
        format!(
            r#"(module
                {}
                (memory $memory (export "memory") 1)
                (global $free (mut i32) (i32.const 32768))
                (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                    (global.set $free (i32.add (local.get $at) (local.get $size)))
                    (block $enough (loop $more
                        (br_if $enough (i32.le_u (global.get $free)
                            (i32.mul (memory.size $memory) (i32.const 65536))))
                        (drop (memory.grow $memory (i32.const 1)))
                        (br $more)))
                    (local.get $at))
                {}
                {functions})"#,
            self.imports, self.items
        )
    }
}

/// One text may hold several packages, each begun by its `package` line.
fn split_packages(text: &str) -> (Vec<String>, Option<String>) {
    let mut packages: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("package ") {
            packages.push(String::new());
        }
        if let Some(package) = packages.last_mut() {
            package.push_str(line);
            package.push('\n');
        }
    }
    let last = packages.pop();
    (packages, last)
}

/// Makes a component of the module, which fits the world by its names.
pub fn encode(mut module: Vec<u8>, resolve: &Resolve, world: &str) -> Vec<u8> {
    let packages: Vec<_> = resolve.packages.iter().map(|(id, _)| id).collect();
    let (package, world) = world.split_once('/').unwrap();
    let package = packages
        .into_iter()
        .find(|&id| {
            let name = &resolve.packages[id].name;
            format!("{}:{}", name.namespace, name.name) == package
        })
        .unwrap();
    let world = resolve.packages[package].worlds[world];
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// An engine whose files are in a temporary folder.
pub struct Place {
    pub engine: Engine,
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Place::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path(), [7; 32], limits);
        Place { engine, folder }
    }

    pub async fn adapter(&self, guest: &Guest) -> Result<Adapter, LoadError> {
        let adapters = self.engine.load_adapter("test", guest.build()).await?;
        Ok(adapters.into_iter().next().unwrap())
    }

    pub async fn session(&self, guest: &Guest) -> AdapterSession {
        self.adapter(guest).await.unwrap().session(&request()).await.unwrap()
    }

    pub async fn policy(&self, guest: &Guest) -> Result<Policy, LoadError> {
        self.engine.load_policy("test", guest.build(), "{}", std::sync::Arc::new(NoStore)).await
    }

    /// The component's log without the time that begins each line.
    pub fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("logs/test.log"));
        text.unwrap_or_default()
            .lines()
            .map(|line| line.split_once("Z ").unwrap().1.to_owned())
            .collect()
    }

    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }
}

pub fn engine(folder: &Path, cache_key: [u8; 32], limits: Limits) -> Engine {
    Engine::new(EngineConfig {
        cache_dir: folder.join("cache"),
        cache_key,
        log_dir: folder.join("logs"),
        limits,
    })
    .unwrap()
}

pub fn request() -> LaunchRequest {
    LaunchRequest {
        cwd: "/home/ann/project".into(),
        agent: "scout".into(),
        model: None,
        resume: None,
        mesh: None,
        settings: "{}".into(),
        version: None,
    }
}

pub const PEER: Peer<'static> = Peer {
    pc: None,
    cwd: "/home/ann/project",
    name: "scout",
    address: "/home/ann/project#scout",
    harness: Some("demo"),
};

pub const FACTS: Facts<'static> = Facts {
    direction: Direction::Local,
    sender: PEER,
    recipients: &[PEER],
    to: "reviewer",
    id: "0199a2b4-0000-7000-8000-000000000000",
    re: None,
    body_bytes: 2,
    body_type: None,
    body: None,
    sent_last_minute: 0,
    now_ms: 1_763_700_000_000,
};
