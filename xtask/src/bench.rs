//! Measures the release build; the figures themselves are taken by `rp-bench` of the tests.

use anyhow::Result;

use crate::{
    run::{cargo, run, step, target},
    setup,
};

/// Builds what is measured, measures, prints the table and writes `target/bench.json`. With a
/// text only the groups whose name contains it.
pub fn bench(only: Option<&str>) -> Result<()> {
    setup::toolchain()?;
    step("build in release mode", || {
        run(&mut cargo(&[
            "build",
            "--release",
            "--locked",
            "--package",
            "rp-host",
            "--package",
            "rp-relay",
            "--package",
            "rp-tests",
            "--package",
            "rp-engine",
            "--examples",
            "--bins",
        ]))
    })?;
    let release = target().join("release");
    run(std::process::Command::new(release.join("rp-bench"))
        .env("RP_HOST_BIN", release.join("rp-host"))
        .env("RP_RELAY_BIN", release.join("rp-relay"))
        .arg(target().join("bench.json"))
        .args(only))
}
