//! Routing policies: one warm instance that decides about every envelope.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use rp_protocol::routing::{Decision, Facts};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, UpdateDeadline};

use crate::{
    Budget, CallError, KeyValue, LoadError,
    bindings::routing::{RoutingPolicy, RoutingPolicyPre, exports::rp::routing::policy as wit},
    convert_routing as convert,
    engine::Shared,
    error::Bounds,
    host::Host,
    limits::{LimitReached, Limits, MostMemory},
    log::ComponentLog,
    store::Overlay,
};

/// A loaded routing policy. Calls are answered one after the other, each within a bounded
/// time, by an instance that is kept warm and replaced after many calls or one error.
pub struct Policy {
    maker: Maker,
    imports: Vec<String>,
    wants_bodies: bool,
    state: Mutex<State>,
}

struct State {
    warm: Option<Warm>,
    budget: Budget,
    last_error: String,
}

impl Policy {
    /// Makes the first instance. May block for the time of a call.
    pub(crate) fn start(
        shared: Arc<Shared>,
        pre: RoutingPolicyPre<Host>,
        imports: Vec<String>,
        log: Arc<ComponentLog>,
        storage: Arc<dyn KeyValue>,
        settings: String,
        memory: usize,
    ) -> Result<Self, LoadError> {
        let may_wait = imports.iter().any(|name| name.starts_with("wasi:"));
        let most = MostMemory::default();
        let maker = Maker { shared, pre, may_wait, log, storage, settings, memory, most };
        let (warm, wants) = maker.make(Arc::clone(&maker.storage))?;
        let wants = wants.map_err(LoadError::Settings)?;
        let state = State { warm: Some(warm), budget: Budget::new(), last_error: String::new() };
        Ok(Policy { maker, imports, wants_bodies: wants.bodies, state: Mutex::new(state) })
    }

    /// The id it was loaded with.
    pub fn id(&self) -> &str {
        self.maker.log.component()
    }

    /// The interfaces it imports, with their versions.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The most memory that any of its instances has had, in bytes.
    pub fn most_memory(&self) -> usize {
        self.maker.most.bytes()
    }

    /// The policy asked to see bodies.
    pub fn wants_bodies(&self) -> bool {
        self.wants_bodies
    }

    /// What happens to the envelope. An error means that there is no decision: hold the
    /// envelope. After three errors within a minute every call gives
    /// [`CallError::Failed`], until [`Policy::restart`].
    pub fn decide(&self, facts: &Facts<'_>) -> Result<Decision, CallError> {
        let recipients: Vec<wit::Peer<'_>> =
            facts.recipients.iter().map(|&peer| peer.into()).collect();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.budget.is_failed() {
            return Err(CallError::Failed { last: state.last_error.clone() });
        }
        let facts = self.shown(facts);
        let outcome = self.decide_warm(&mut state.warm, convert::facts(&facts, &recipients));
        if let Err(error) = &outcome {
            self.maker.log.ended("", error);
            state.last_error = error.to_string();
            state.budget.crashed(Instant::now());
        }
        outcome
    }

    /// What a fresh instance would decide, which has seen no envelope yet. What it decides counts
    /// for nothing: neither does the policy in force learn of it, nor is a failure held against it.
    pub fn try_out(&self) -> Result<Trial<'_>, CallError> {
        let storage = Arc::new(Overlay::over(Arc::clone(&self.maker.storage)));
        let warm = Some(self.maker.remake(storage.clone())?);
        Ok(Trial { policy: self, storage, warm })
    }

    /// What it sees of an envelope: the body only if it asked for bodies, whoever else did.
    fn shown<'f>(&self, facts: &Facts<'f>) -> Facts<'f> {
        Facts { body: facts.body.filter(|_| self.wants_bodies), ..*facts }
    }

    /// The policy's last error, when it failed too often and stays off.
    pub fn failed(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.budget.is_failed().then(|| state.last_error.clone())
    }

    /// Forgets earlier errors: the next call is tried with a fresh instance.
    pub fn restart(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.warm = None;
        state.budget.restart();
    }

    /// Decides with the instance in `slot`, making one if there is none. The instance stays
    /// in the slot only when all went well and it has not served its time.
    fn decide_warm(
        &self,
        slot: &mut Option<Warm>,
        facts: wit::Facts<'_>,
    ) -> Result<Decision, CallError> {
        let mut warm = match slot.take() {
            Some(warm) => warm,
            None => self.maker.remake(Arc::clone(&self.maker.storage))?,
        };
        let decision = self.maker.decide(&mut warm, facts)?.into();
        let limits = &self.maker.shared.limits;
        check_size(&decision, limits)?;
        warm.calls += 1;
        if warm.calls < limits.policy_calls {
            *slot = Some(warm);
        }
        Ok(decision)
    }
}

/// An instance of its own, to ask it what would be.
pub struct Trial<'a> {
    policy: &'a Policy,
    /// What it stores is gone with it.
    storage: Arc<Overlay>,
    /// Missing after an error.
    warm: Option<Warm>,
}

impl Trial<'_> {
    /// What happens to the envelope, given those this instance was asked about before.
    pub fn decide(&mut self, facts: &Facts<'_>) -> Result<Decision, CallError> {
        let recipients: Vec<wit::Peer<'_>> =
            facts.recipients.iter().map(|&peer| peer.into()).collect();
        let maker = &self.policy.maker;
        let mut warm = match self.warm.take() {
            Some(warm) => warm,
            None => maker.remake(self.storage.clone())?,
        };
        let facts = self.policy.shown(facts);
        let decision = maker.decide(&mut warm, convert::facts(&facts, &recipients))?.into();
        check_size(&decision, &maker.shared.limits)?;
        self.warm = Some(warm);
        Ok(decision)
    }
}

/// Bounds what a decision makes the host keep and send.
fn check_size(decision: &Decision, limits: &Limits) -> Result<(), CallError> {
    let (what, bytes, allowed) = match decision {
        Decision::Deliver => return Ok(()),
        Decision::Deny(reason) | Decision::Hold(reason) => {
            ("a reason", reason.len(), limits.policy_text)
        }
        Decision::Redirect(addresses) => {
            ("addresses", addresses.iter().map(String::len).sum(), limits.policy_text)
        }
        Decision::Rewrite(body) => ("a body", body.len(), limits.policy_body),
    };
    if bytes <= allowed {
        return Ok(());
    }
    Err(CallError::TooMuchOutput(format!("{what} of {bytes} bytes, and {allowed} are allowed")))
}

/// An instance that is configured and ready.
struct Warm {
    store: Store<Host>,
    world: RoutingPolicy,
    calls: u32,
}

/// Makes instances and calls them.
struct Maker {
    shared: Arc<Shared>,
    pre: RoutingPolicyPre<Host>,
    /// The component imports WASI, where a call can wait. Other components are called
    /// directly, which is faster.
    may_wait: bool,
    log: Arc<ComponentLog>,
    storage: Arc<dyn KeyValue>,
    settings: String,
    memory: usize,
    most: MostMemory,
}

impl Maker {
    /// A configured instance, and what it wants or why it refused its settings.
    fn make(
        &self,
        storage: Arc<dyn KeyValue>,
    ) -> Result<(Warm, Result<wit::Wants, String>), CallError> {
        let limits = &self.shared.limits;
        let host = Host::new(Arc::clone(&self.log), "", storage, self.memory, self.most.clone());
        let output = limits.policy_body.saturating_add(limits.policy_text);
        let mut store = host.into_store(&self.shared.wasmtime, output);
        let limit = limits.policy_call;
        store.epoch_deadline_callback(move |mut store| {
            // Ticks pass while the machine is busy elsewhere; only what this thread computed
            // counts. A call that is over before its first tick never gets here.
            let now = time_computed();
            let first = *store.data_mut().first_tick.get_or_insert(now);
            if now.saturating_sub(first) >= limit {
                return Err(LimitReached::Time.into());
            }
            Ok(UpdateDeadline::Continue(1))
        });
        let world = self.limited(&mut store, async |store| {
            if self.may_wait {
                self.pre.instantiate_async(store).await
            } else {
                self.pre.instantiate(store)
            }
        })?;
        let policy = world.rp_routing_policy();
        let wants = self.limited(&mut store, async |store| {
            if self.may_wait {
                let outcome = policy.func_configure().call_async(store, (&self.settings,)).await;
                outcome.map(|(wants,)| wants)
            } else {
                policy.call_configure(store, &self.settings)
            }
        })?;
        Ok((Warm { store, world, calls: 0 }, wants))
    }

    /// A configured instance in place of one that is gone.
    fn remake(&self, storage: Arc<dyn KeyValue>) -> Result<Warm, CallError> {
        let (warm, wants) = self.make(storage)?;
        match wants {
            Ok(_) => Ok(warm),
            Err(reason) => Err(CallError::Trap {
                text: format!("it refused the settings it had accepted before: {reason}"),
                backtrace: String::new(),
            }),
        }
    }

    fn decide(&self, warm: &mut Warm, facts: wit::Facts<'_>) -> Result<wit::Decision, CallError> {
        let policy = warm.world.rp_routing_policy();
        self.limited(&mut warm.store, async |store| {
            if self.may_wait {
                let outcome = policy.func_decide().call_async(store, (facts,)).await;
                outcome.map(|(decision,)| decision)
            } else {
                policy.call_decide(store, facts)
            }
        })
    }

    /// Runs one call to its end or to the end of its time.
    fn limited<T>(
        &self,
        store: &mut Store<Host>,
        call: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        let limits = &self.shared.limits;
        store.data_mut().first_tick = None;
        store.set_epoch_deadline(1);
        let _running = self.shared.ticker.running();
        let outcome = if self.may_wait {
            let _context = self.shared.runtime.enter();
            drive(call(store), limits.policy_wait)
        } else {
            // Without WASI there is nothing to wait for.
            drive(call(store), Duration::ZERO)
        };
        match outcome {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(Bounds::policy(limits).explain(&error)),
            None => Err(CallError::Timeout { limit: limits.policy_wait }),
        }
    }
}

/// Time this thread has computed, waiting and other programs not counted.
fn time_computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Polls a future on this thread until it is ready or has been waiting for `limit`.
fn drive<T>(future: impl Future<Output = T>, limit: Duration) -> Option<T> {
    let mut future = pin!(future);
    if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return Some(value);
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let end = Instant::now() + limit;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
