//! The WebAssembly toolchain and the components it makes.

use anyhow::Result;

use crate::run::{root, step, target};

/// Installs what is needed to compile WebAssembly, unless it is there.
pub fn toolchain() -> Result<()> {
    let toolchain = match rp_guests::find_toolchain(&root()) {
        Ok(found) => found,
        Err(_) => step("install a WebAssembly toolchain", || {
            rp_guests::install_toolchain(&root(), &mut |line| println!("    {line}"))
        })?,
    };
    println!("    WebAssembly is compiled with {}", toolchain.summary());
    Ok(())
}

/// Builds the components and lists them.
pub fn components() -> Result<()> {
    toolchain()?;
    let guests = step("build the components", || {
        rp_guests::build(&root(), &target().join("guests"), &mut |line| println!("    {line}"))
    })?;
    for guest in guests {
        println!("{}\t{}", guest.id, guest.component.display());
    }
    Ok(())
}
