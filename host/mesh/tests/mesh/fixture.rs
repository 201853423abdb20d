//! A mesh of its own for each test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rp_mesh::{
    Agent, AgentId, DeliverEverything, Incoming, MailboxLimits, Mailboxes, Mesh, MeshConfig,
    MeshEvent, RoutingPolicy,
};
use rp_store::Database;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::client::{Client, PATIENCE};

pub struct Fixture {
    pub mesh: Mesh,
    pub mailboxes: Mailboxes,
    pub socket: PathBuf,
    pub audit: PathBuf,
    _directory: TempDir,
}

pub fn mailboxes(directory: &Path) -> Mailboxes {
    std::fs::create_dir_all(directory).unwrap();
    let database = Database::open(&directory.join("host.redb")).unwrap();
    Mailboxes::open(database, MailboxLimits::default()).unwrap()
}

pub fn agent(id: &str, cwd: &str, name: &str) -> Agent {
    Agent {
        id: id.parse().unwrap(),
        cwd: cwd.to_owned(),
        name: name.to_owned(),
        harness: Some("demo".to_owned()),
    }
}

pub async fn start() -> Fixture {
    start_with(DeliverEverything, |_| {}).await
}

pub async fn start_with(
    policy: impl RoutingPolicy + 'static,
    change: impl FnOnce(&mut MeshConfig),
) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let mut config = MeshConfig::in_directory(directory.path().join("sessions/local"));
    change(&mut config);
    let mailboxes = mailboxes(directory.path());
    let (socket, audit) = (config.socket.clone(), config.audit.clone());
    let mesh = Mesh::start(config, mailboxes.clone(), Arc::new(policy)).await.unwrap();
    Fixture { mesh, mailboxes, socket, audit, _directory: directory }
}

impl Fixture {
    pub async fn peer(&self, name: &str, cwd: &str) -> Client {
        Client::register(&self.socket, name, cwd).await
    }

    /// The audit log, once the broker is gone and all of it is written.
    pub async fn audit_after_shutdown(&self) -> Vec<serde_json::Value> {
        self.mesh.shutdown().await;
        let text = std::fs::read_to_string(&self.audit).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until as many messages are in a mailbox and returns them.
    pub async fn inbox(&self, agent: &AgentId, count: usize) -> Vec<Incoming> {
        let arrivals = self.mailboxes.arrivals(agent);
        let arrived = async {
            while self.mailboxes.waiting(agent) < count {
                arrivals.notified().await;
            }
        };
        timeout(PATIENCE, arrived).await.expect("the messages in time");
        let pending = self.mailboxes.pending(agent, usize::MAX).unwrap();
        pending.into_iter().map(|pending| pending.message).collect()
    }
}

/// Waits for an event.
pub async fn event(
    events: &mut broadcast::Receiver<MeshEvent>,
    wanted: impl Fn(&MeshEvent) -> bool,
) -> MeshEvent {
    let wait = async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("the event in time")
}
