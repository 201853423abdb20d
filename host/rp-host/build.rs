//! Builds the WebAssembly components and writes the table that embeds them.

use std::{
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={}", error.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|e| e.to_string())?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|e| e.to_string())?);
    let root = here.ancestors().nth(2).ok_or("the crate is not in its workspace")?;
    for input in rp_guests::inputs(root) {
        println!("cargo::rerun-if-changed={}", input.display());
    }
    // OUT_DIR is <target>/<profile>/build/<package>/out; the guests share one folder for all
    // profiles, because they are built the same way for each.
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is not inside a target folder")?;
    let guests = rp_guests::build(root, &target.join("guests"), &mut |_| {})
        .map_err(|error| format!("{error:#}"))?;
    let mut table = String::from("/// Every component that ships with the program.\n");
    table.push_str("pub const COMPONENTS: &[Embedded] = &[\n");
    for guest in &guests {
        let copy = out.join(format!("{}.wasm", guest.id));
        fs::copy(&guest.component, &copy).map_err(|e| e.to_string())?;
        row(&mut table, guest, &copy).map_err(|e| e.to_string())?;
    }
    table.push_str("];\n");
    fs::write(out.join("components.rs"), table).map_err(|e| e.to_string())?;
    let templates = templates(root).map_err(|e| e.to_string())?;
    fs::write(out.join("templates.rs"), templates).map_err(|e| e.to_string())
}

/// The table of what `component new` writes: the templates, and the interfaces.
fn templates(root: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let mut table = String::from(
        "/// Files of the templates, by their path there, and of the interfaces.\n\
         pub const TEMPLATES: &[(&str, &[u8])] = &[\n",
    );
    let sources = root.join("sdk/templates");
    let mut files = Vec::new();
    list(&sources, &mut files)?;
    let mut named: Vec<(String, PathBuf)> = Vec::new();
    for file in files {
        named.push((file.strip_prefix(&sources)?.display().to_string(), file));
    }
    for package in ["harness", "session", "routing", "actions", "plugin"] {
        let name = format!("wit/{package}/{package}.wit");
        named.push((name.clone(), root.join(name)));
    }
    named.sort();
    for (name, file) in named {
        writeln!(table, "    ({name:?}, include_bytes!({file:?})),")?;
    }
    table.push_str("];\n");
    println!("cargo::rerun-if-changed={}", sources.display());
    Ok(table)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn row(table: &mut String, guest: &rp_guests::Guest, copy: &Path) -> std::fmt::Result {
    let manifest = &guest.manifest;
    writeln!(
        table,
        "    Embedded {{ manifest: include_str!({manifest:?}), bytes: include_bytes!({copy:?}) }},"
    )
}
