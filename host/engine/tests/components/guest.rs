//! Guests written as WebAssembly text.
//!
//! Every function of a guest does nothing and returns a pointer to zeroes, which reads as
//! empty lists, empty strings, the first case of a variant, success. A test replaces the
//! body of the functions it is about. Only `describe` and `actions` say something: that there is a
//! harness named `test`, or an action named `press`.
#![allow(dead_code, reason = "no test uses all of it")]

use std::path::{Path, PathBuf};

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

pub const ACTIONS: &[(&str, &str)] = &[("actions", ""), ("run", "i32")];

/// A list of one action at 2048, with a name at 2200 and a schema at 2300.
const ONE_ACTION: &str = r#"
    (data (i32.const 2048) "\08\08\00\00\01\00\00\00\98\08\00\00\05\00\00\00")
    (data (i32.const 2092) "\fc\08\00\00\02\00\00\00")
    (data (i32.const 2200) "press")
    (data (i32.const 2300) "{}")"#;

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

    /// A guest with one action, `press`.
    pub fn actions() -> Self {
        Guest {
            interface: "rp:actions/handler@0.1.0",
            functions: ACTIONS,
            imports: String::new(),
            items: ONE_ACTION.into(),
            bodies: vec![("actions".into(), "(i32.const 2048)".into())],
            wit: String::new(),
            world: "rp:actions/app-actions",
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
        for package in ["plugin", "session", "harness", "routing", "actions"] {
            resolve.push_dir(wit().join(package)).unwrap();
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

/// The repository's interfaces.
fn wit() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().map(|folder| folder.join("wit")).find(|wit| wit.is_dir()).unwrap()
}
