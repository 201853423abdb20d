//! Keeps this host on the mesh: leads, follows, and starts over when either ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rp_watch::{DirectoryWatch, Notice};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::agent::AgentId;
use crate::broker::Broker;
use crate::election::{Elected, FileIdentity, elect};
use crate::follower::Follower;
use crate::member::Member;
use crate::mesh::{Core, Station};
use crate::serve::{Ended, serve};

/// How long to wait after a connection to the leader ended, and the longest pause between
/// attempts that fail.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long to wait when it had worked for longer than [`SETTLED`]. Other programs wait 100 ms and
/// then remove a socket at which nobody answers; who has bound it before is found alive.
const AFTER_LOSS: Duration = Duration::from_millis(5);
const SETTLED: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Runs until the program stops.
pub(crate) async fn supervise(core: Arc<Core>, first: Elected) {
    let mut stop = core.stop.subscribe();
    let mut next = Some(first);
    while let Some(elected) = next.take() {
        next = match elected {
            Elected::Leader(claim) => {
                let broker = Arc::new(Broker::new(Arc::clone(&core.around)));
                for member in core.members() {
                    if let Err(refusal) = core.admit(&broker, &member) {
                        tracing::warn!(%refusal, "an agent is not on the mesh");
                    }
                }
                core.publish(Station::Leading(Arc::clone(&broker)));
                // An agent that joined while this was going on.
                for member in core.members() {
                    let _ = core.admit(&broker, &member);
                }
                let ended = serve(&broker, claim, core.stop.subscribe()).await;
                match ended {
                    Ended::Stopped => None,
                    Ended::Displaced => {
                        tracing::warn!("another program took the mesh socket's path");
                        core.publish(Station::Searching);
                        until_stopped(&mut stop, search(&core)).await
                    }
                }
            }
            Elected::Follower(stream, seen) => {
                until_stopped(&mut stop, follow(&core, stream, seen)).await
            }
        };
        core.publish(Station::Searching);
        for member in core.members() {
            member.set_address(None);
        }
    }
}

async fn until_stopped(
    stop: &mut watch::Receiver<bool>,
    work: impl Future<Output = Elected>,
) -> Option<Elected> {
    tokio::select! {
        elected = work => Some(elected),
        _ = stop.wait_for(|stopped| *stopped) => None,
    }
}

/// Elects until there is an outcome.
async fn search(core: &Core) -> Elected {
    let mut pause = FIRST_PAUSE;
    loop {
        match elect(&core.around.config.socket).await {
            Ok(elected) => return elected,
            Err(error) => tracing::warn!(%error, "there is no mesh; the next attempt follows"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// When to try again for an agent without a connection.
struct Retry {
    at: Instant,
    pause: Duration,
}

/// A connection that is over.
struct EndedLink {
    agent: AgentId,
    /// When it was registered, if it was.
    lived: Option<Duration>,
}

/// The connections to the leader.
#[derive(Default)]
struct Links {
    tasks: JoinSet<EndedLink>,
    running: HashMap<AgentId, AbortHandle>,
    retries: HashMap<AgentId, Retry>,
}

impl Links {
    fn start(&mut self, follower: &Arc<Follower>, member: &Arc<Member>, stream: UnixStream) {
        let (follower, member) = (Arc::clone(follower), Arc::clone(member));
        let agent = member.agent.clone();
        let task = self.tasks.spawn(async move {
            let start = Instant::now();
            let registered = follower.run_link(&member, stream).await;
            let lived = registered.then(|| start.elapsed());
            EndedLink { agent: member.agent.clone(), lived }
        });
        self.running.insert(agent, task);
    }

    fn ended(&mut self, EndedLink { agent, lived }: EndedLink) {
        self.running.remove(&agent);
        match lived {
            Some(lived) if lived >= SETTLED => {
                let at = Instant::now() + AFTER_LOSS;
                self.retries.insert(agent, Retry { at, pause: FIRST_PAUSE });
            }
            Some(_) => {
                self.retries.remove(&agent);
                self.postpone(agent);
            }
            None => self.postpone(agent),
        }
    }

    fn postpone(&mut self, agent: AgentId) {
        let pause = match self.retries.get(&agent) {
            Some(retry) => (retry.pause * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        let at = Instant::now() + pause;
        self.retries.insert(agent, Retry { at, pause });
    }

    fn keep_only(&mut self, members: &[Arc<Member>]) {
        let is_member = |agent: &AgentId| members.iter().any(|member| member.agent == *agent);
        self.running.retain(|agent, task| {
            let keep = is_member(agent);
            if !keep {
                task.abort();
            }
            keep
        });
        self.retries.retain(|agent, _| is_member(agent));
    }

    fn is_due(&self, agent: &AgentId) -> bool {
        let waits = self.retries.get(agent).is_some_and(|retry| retry.at > Instant::now());
        !waits && !self.running.contains_key(agent)
    }

    fn next_retry(&self) -> Option<Instant> {
        self.retries
            .iter()
            .filter(|(agent, _)| !self.running.contains_key(*agent))
            .map(|(_, retry)| retry.at)
            .min()
    }
}

/// Follows the leader with every member until an election makes this program the leader,
/// or another program the leader in the place of this one: who stays with a leader that nobody
/// else finds is alone with it.
async fn follow(core: &Arc<Core>, stream: UnixStream, followed: FileIdentity) -> Elected {
    let path = &core.around.config.socket;
    let watch = DirectoryWatch::on(path.parent(), Notice::Names);
    let follower = Arc::new(Follower::new(Arc::clone(&core.around)));
    core.publish(Station::Following(Arc::clone(&follower)));
    let mut links = Links::default();
    let mut spare = Some(stream);
    loop {
        let members = core.members();
        links.keep_only(&members);
        for member in &members {
            if !links.is_due(&member.agent) {
                continue;
            }
            let stream = match spare.take() {
                Some(stream) => stream,
                None => match elect(&core.around.config.socket).await {
                    Ok(Elected::Follower(stream, seen)) if seen == followed => stream,
                    Ok(elected) => {
                        links.tasks.shutdown().await;
                        return elected;
                    }
                    Err(_) if links.running.is_empty() => {
                        core.publish(Station::Searching);
                        return search(core).await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "an agent has no connection to the mesh");
                        links.postpone(member.agent.clone());
                        continue;
                    }
                },
            };
            links.start(&follower, member, stream);
        }
        let retry = links.next_retry();
        tokio::select! {
            Some(ended) = links.tasks.join_next() => {
                // One that was aborted has left.
                if let Ok(ended) = ended {
                    links.ended(ended);
                }
            }
            () = core.members_changed.notified() => {}
            () = watch.changed() => {
                if followed.was_replaced(path) {
                    tracing::warn!("another program leads the mesh now");
                    links.tasks.shutdown().await;
                    core.publish(Station::Searching);
                    return search(core).await;
                }
            }
            () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
        }
    }
}
