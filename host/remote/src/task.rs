//! The task that lives as long as the program, with or without a relay.

use std::sync::Arc;

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
        loop {
            let end = match self.begin(&shared).await {
                Ok(mut machine) => machine.run(&mut self).await,
                Err(reason) => self.wait(reason).await,
            };
            if matches!(end, End::Over) {
                return;
            }
        }
    }

    /// Brings up what there is to bring up, or says why there is nothing.
    async fn begin<'a>(&self, shared: &'a Shared) -> Result<Machine<'a>, String> {
        let pairings = shared.pairings.read().map_err(|error| error.to_string())?;
        if pairings.is_empty() && self.wanted != Wanted::On {
            return Err("this machine has no owner".to_owned());
        }
        if shared.config.mesh.role() != Role::Leader {
            return Err("another program leads the local mesh".to_owned());
        }
        let own = shared.machine_key().await.map_err(|error| error.to_string())?;
        let relays = shared.relays().map_err(|error| error.to_string())?;
        Machine::new(shared, own, relays, self.wanted).map_err(|error| error.to_string())
    }

    /// Waits until something has changed.
    async fn wait(&mut self, reason: String) -> End {
        let (relay, source) = self.shared.relay_text();
        self.shared.door.show(Default::default(), Vec::new());
        let before = self.status.borrow().clone();
        self.show(Status {
            relay,
            source,
            connection: Connection::Off { reason },
            owners: Vec::new(),
            machines: Vec::new(),
            ..before
        });
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    None | Some(Command::End) => return End::Over,
                    Some(Command::Begin(wanted)) => {
                        self.wanted = wanted;
                        return End::Again;
                    }
                    Some(Command::RelayChanged | Command::PairingsChanged) => return End::Again,
                },
                event = self.events.recv() => match event {
                    Ok(MeshEvent::RoleChanged(_)) | Err(broadcast::error::RecvError::Lagged(_)) => {
                        return End::Again;
                    }
                    Err(broadcast::error::RecvError::Closed) => return End::Over,
                    Ok(_) => {}
                },
                // No alias is shown, so what comes now was on its way before.
                Some(outbound) = self.outbound.recv() => {
                    let (mesh, envelope) = (&self.shared.config.mesh, outbound.envelope);
                    let why = "that machine is not known any more";
                    if !mesh.is_refused(envelope.id, why) {
                        let to = envelope.to.to_text();
                        mesh.not_carried(&envelope.from, &to, envelope.id.as_str(), why);
                    }
                }
            }
        }
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
