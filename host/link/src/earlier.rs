//! Going back to an earlier relay of the list. Machines with one list meet only when they come back
//! to the same relay, also when one of them was away for a moment and only some have noticed.

use std::time::Duration;

use tokio::sync::mpsc::WeakSender;
use tokio::task::JoinHandle;

use crate::connect::{Winners, connect};
use crate::link::{Relay, Wires};
use crate::message::Command;

/// How soon an earlier relay is looked for at first: most are only started again.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest time between two looks.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Looks for the relays that come before the one that a link is connected to, until it is dropped.
pub(crate) struct Lookout(JoinHandle<()>);

impl Lookout {
    /// Says [`Command::GoBack`] once one of these relays can be reached. After each time that going
    /// back was in vain the first look comes later.
    pub(crate) fn start(
        earlier: Vec<Relay>,
        wires: Wires,
        in_vain: u32,
        link: WeakSender<Command>,
    ) -> Self {
        Lookout(tokio::spawn(async move {
            let mut wait = FIRST_WAIT.saturating_mul(1 << in_vain.min(8)).min(LONGEST_WAIT);
            loop {
                tokio::time::sleep(wait).await;
                wait = (2 * wait).min(LONGEST_WAIT);
                for relay in &earlier {
                    let reached =
                        connect(&relay.url, relay.trust, wires, &mut Winners::default()).await;
                    if reached.is_err() {
                        continue;
                    }
                    let Some(link) = link.upgrade() else { return };
                    // A link that is too busy is asked again.
                    if link.try_send(Command::GoBack).is_ok() {
                        return;
                    }
                }
            }
        }))
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.abort();
    }
}
