//! Installs the real Pi, starts a scripted model for it, prints the environment in which `pi`
//! finds both as one line of JSON, and stays until its standard input ends.

use std::{collections::BTreeMap, io::Write};

use anyhow::Result;
use rp_tests::{
    home::Home,
    install::{self, PiVersion},
    model::Model,
};
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> Result<()> {
    let pi = install::pi(PiVersion::V0_87_1)?;
    let model = Model::start().await?;
    let home = Home::new(&model.url(), &[pi])?;
    let environment: BTreeMap<_, _> = home.environment().into_iter().collect();
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&environment)?)?;
    // Whoever started this holds the other end.
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}
