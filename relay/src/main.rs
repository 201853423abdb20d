//! The program.

use std::process::ExitCode;

use rp_relay::limits::Limits;
use rp_relay::server::{Relay, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().init();
    let settings = Settings {
        listen: ([127, 0, 0, 1], 3900).into(),
        database: "/tmp/rp-relay-bench/mesh.redb".into(),
        trusted_proxies: Vec::new(),
        limits: Limits::default(),
    };
    match Relay::start(settings).await {
        Ok(relay) => {
            let _ = tokio::signal::ctrl_c().await;
            relay.end().await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(%error, "not started");
            ExitCode::FAILURE
        }
    }
}
