//! The task that lives as long as the program, with or without a relay.

use std::sync::Arc;
use std::time::Duration;

use rp_mesh::{MeshEvent, Role};
use tokio::sync::{broadcast, mpsc, watch};

use crate::door::Outbound;
use crate::machine::{End, Machine};
use crate::remote::{Shared, Wanted};
use crate::status::{Connection, Status};

/// What is asked of the task.
#[derive(Debug)]
pub(crate) enum Command {
    /// Connect, or do not.
    Begin(Wanted),
    /// Another relay is set.
    RelayChanged,
    /// An owner came, went, or has published something.
    PairingsChanged,
    /// The program ends.
    End,
}

/// How soon what failed is tried again, and how long it takes at most: a person may be asked for the
/// keyring's password each time.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(5 * 60);

/// Why this machine is not one among others now.
enum Absence {
    /// It is not to be one until something changes.
    Settled(String),
    /// Something failed, which may not fail again.
    Failure(String),
}

pub(crate) struct Task {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wanted: Wanted,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) outbound: mpsc::Receiver<Outbound>,
    pub(crate) events: broadcast::Receiver<MeshEvent>,
    pub(crate) status: watch::Sender<Status>,
}

impl Task {
    pub(crate) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut retry = FIRST_RETRY;
        loop {
            let end = match self.begin(&shared).await {
                Ok(mut machine) => {
                    retry = FIRST_RETRY;
                    machine.run(&mut self).await
                }
                Err(Absence::Settled(reason)) => self.wait(reason).await,
                Err(Absence::Failure(reason)) => {
                    let end = self.wait_to_try_again(reason, retry).await;
                    retry = (2 * retry).min(LONGEST_RETRY);
                    end
                }
            };
            if matches!(end, End::Over) {
                return;
            }
        }
    }

    /// Brings up what there is to bring up, or says why there is nothing.
    async fn begin<'a>(&self, shared: &'a Shared) -> Result<Machine<'a>, Absence> {
        let pairings = shared.pairings.read().map_err(Absence::of)?;
        if pairings.is_empty() && self.wanted != Wanted::On {
            return Err(Absence::Settled("this machine has no owner".to_owned()));
        }
        if shared.config.mesh.role() != Role::Leader {
            return Err(Absence::Settled("another program leads the local mesh".to_owned()));
        }
        let own = shared.machine_key().await.map_err(Absence::of)?;
        let relays = shared.relays().map_err(Absence::of)?;
        Machine::new(shared, own, relays, self.wanted).map_err(Absence::of)
    }

    /// Waits until something has changed, or until it may be tried again.
    async fn wait_to_try_again(&mut self, reason: String, wait: Duration) -> End {
        tracing::warn!(reason, ?wait, "this machine is not on its relay; it will try again");
        // What is for the others waits for it, and is not for nobody.
        self.shared.door.show(self.shared.names_kept(), Vec::new());
        self.show_off(reason);
        let retry = tokio::time::sleep(wait);
        tokio::pin!(retry);
        loop {
            let end = tokio::select! {
                command = self.commands.recv() => self.on_command(command),
                event = self.events.recv() => on_event(event),
                () = &mut retry => Some(End::Again),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Waits until something has changed.
    async fn wait(&mut self, reason: String) -> End {
        self.shared.door.show(Default::default(), Vec::new());
        self.show_off(reason);
        loop {
            let end = tokio::select! {
                command = self.commands.recv() => self.on_command(command),
                event = self.events.recv() => on_event(event),
                // No alias is shown, so what comes now was on its way before.
                Some(outbound) = self.outbound.recv() => {
                    let (mesh, envelope) = (&self.shared.config.mesh, outbound.envelope);
                    let why = "that machine is not known any more";
                    if !mesh.is_refused(envelope.id, why) {
                        let to = envelope.to.to_text();
                        mesh.not_carried(&envelope.from, &to, envelope.id.as_str(), why);
                    }
                    None
                }
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn on_command(&mut self, command: Option<Command>) -> Option<End> {
        match command {
            None | Some(Command::End) => Some(End::Over),
            Some(Command::Begin(wanted)) => {
                self.wanted = wanted;
                Some(End::Again)
            }
            Some(Command::RelayChanged | Command::PairingsChanged) => Some(End::Again),
        }
    }

    fn show_off(&self, reason: String) {
        let (relay, source) = self.shared.relay_text();
        let before = self.status.borrow().clone();
        self.show(Status {
            relay,
            source,
            connection: Connection::Off { reason },
            owners: Vec::new(),
            machines: Vec::new(),
            ..before
        });
    }

    pub(crate) fn show(&self, status: Status) {
        self.status.send_if_modified(|shown| {
            let is_new = *shown != status;
            if is_new {
                *shown = status;
            }
            is_new
        });
    }
}

impl Absence {
    fn of(error: impl std::fmt::Display) -> Self {
        Absence::Failure(error.to_string())
    }
}

fn on_event(event: Result<MeshEvent, broadcast::error::RecvError>) -> Option<End> {
    match event {
        Ok(MeshEvent::RoleChanged(_)) | Err(broadcast::error::RecvError::Lagged(_)) => {
            Some(End::Again)
        }
        Err(broadcast::error::RecvError::Closed) => Some(End::Over),
        Ok(_) => None,
    }
}
