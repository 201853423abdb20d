//! Leads, or follows, the mesh in a directory until it is interrupted: for measuring the broker
//! on its own.
//!
//! `cargo run -p rp-mesh --example broker -- DIRECTORY [MICROSECONDS]`; the second argument is how
//! long the routing policy takes for each decision.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rp_mesh::{MailboxLimits, Mailboxes, Mesh, MeshConfig, RoutingPolicy, Ruling};
use rp_protocol::routing::{Decision, Facts};
use rp_store::Database;

/// Delivers everything after thinking about it for a while.
struct Thoughtful(Duration);

impl RoutingPolicy for Thoughtful {
    fn decide(&self, _facts: &Facts<'_>) -> Ruling {
        let since = Instant::now();
        while since.elapsed() < self.0 {
            std::hint::spin_loop();
        }
        Ok(Decision::Deliver).into()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("which directory?")?);
    let thinking = arguments.next().map_or(Ok(0), |text| text.parse())?;
    std::fs::create_dir_all(&directory)?;
    let database = Database::open(&directory.join("host.redb"))?;
    let mailboxes = Mailboxes::open(database, MailboxLimits::default())?;
    let policy = Thoughtful(Duration::from_micros(thinking));
    let mesh =
        Mesh::start(MeshConfig::in_directory(directory), mailboxes, Arc::new(policy)).await?;
    tokio::signal::ctrl_c().await?;
    mesh.shutdown().await;
    Ok(())
}
