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
    fs::write(out.join("components.rs"), table).map_err(|e| e.to_string())
}

fn row(table: &mut String, guest: &rp_guests::Guest, copy: &Path) -> std::fmt::Result {
    let manifest = &guest.manifest;
    writeln!(
        table,
        "    Embedded {{ manifest: include_str!({manifest:?}), bytes: include_bytes!({copy:?}) }},"
    )
}
