//! Action handlers: what their actions are, and a fresh instance for every call.

use std::{collections::BTreeSet, sync::Arc};

use jsonschema::PatternOptions;
use rp_protocol::{
    actions::{Action, Context, MAX_ACTIONS, MAX_STEPS, Progress, is_action_name},
    session::{Failure, Reply},
};
use wasmtime::Store;

use crate::{
    CallError, LoadError,
    bindings::actions::{
        AppActions, AppActionsPre,
        exports::rp::actions::handler::{self as wit, Guest},
    },
    call::{Limited, Loaded},
    convert_actions as convert,
    error::Bounds,
    host::Host,
};

/// A loaded action handler. Clones share it.
#[derive(Clone)]
pub struct Actions {
    loaded: Arc<Loaded<AppActionsPre<Host>>>,
    list: Arc<[Action]>,
}

impl Actions {
    /// Asks a throw-away instance which actions there are.
    pub(crate) async fn list_themselves(
        loaded: Loaded<AppActionsPre<Host>>,
    ) -> Result<Self, LoadError> {
        let told = Call::new(&loaded, "").await?;
        let list = told.make(async |handler, store| handler.call_actions(store).await).await?;
        let list: Vec<Action> = list.into_iter().map(Into::into).collect();
        check_list(&list).map_err(LoadError::Actions)?;
        Ok(Actions { loaded: Arc::new(loaded), list: list.into() })
    }

    /// The id it was loaded with.
    pub fn id(&self) -> &str {
        self.loaded.log.component()
    }

    /// The interfaces it imports, with their versions.
    pub fn imports(&self) -> &[String] {
        &self.loaded.imports
    }

    /// The most memory that any of its instances has had, in bytes.
    pub fn most_memory(&self) -> usize {
        self.loaded.most.bytes()
    }

    /// The actions it has; asked once, when it was loaded.
    pub fn list(&self) -> &[Action] {
        &self.list
    }

    /// What an action does now, given the replies to all its steps so far. The inner error is
    /// the action's own refusal.
    pub async fn run(
        &self,
        name: &str,
        context: &Context,
        replies: &[Result<Reply, Failure>],
    ) -> Result<Result<Progress, Failure>, CallError> {
        let agent = &context.agent.name;
        let call = Call::new(&self.loaded, agent).await?;
        let (context, replies) = (context.into(), convert::replies(replies));
        let run = async |handler: &Guest, store: &mut Store<Host>| {
            handler.call_run(store, name, &context, &replies).await
        };
        match call.make(run).await? {
            Ok(wit::Progress::Steps(steps)) if steps.len() > MAX_STEPS => {
                let error = format!(
                    "{} steps in one call, and an action may have {MAX_STEPS}",
                    steps.len()
                );
                Err(limited(&self.loaded, agent).failed(CallError::TooMuchOutput(error)))
            }
            Ok(progress) => Ok(Ok(progress.into())),
            Err(failure) => Ok(Err(failure.into())),
        }
    }
}

/// One instance for one call.
struct Call<'a> {
    store: Store<Host>,
    world: AppActions,
    limited: Limited<'a>,
}

impl<'a> Call<'a> {
    async fn new(
        loaded: &'a Loaded<AppActionsPre<Host>>,
        session: &'a str,
    ) -> Result<Self, CallError> {
        // What the lists take themselves does not count as output.
        let lists = MAX_ACTIONS * size_of::<wit::Action>() + MAX_STEPS * size_of::<wit::Step>();
        let mut store = loaded.store(session, loaded.shared.limits.actions_output + lists);
        let limited = limited(loaded, session);
        limited.start(&mut store);
        let world = limited.run(loaded.pre.instantiate_async(&mut store)).await?;
        Ok(Call { store, world, limited })
    }

    async fn make<T>(
        mut self,
        call: impl AsyncFnOnce(&Guest, &mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        self.limited.start(&mut self.store);
        self.limited.run(call(self.world.rp_actions_handler(), &mut self.store)).await
    }
}

fn limited<'a>(loaded: &'a Loaded<AppActionsPre<Host>>, session: &'a str) -> Limited<'a> {
    let limits = &loaded.shared.limits;
    loaded.limited(session, Bounds::actions(limits), limits.actions_wait)
}

/// Holds the actions to what the host can show, look up and check.
fn check_list(list: &[Action]) -> Result<(), String> {
    if list.len() > MAX_ACTIONS {
        return Err(format!("it has {} of them, and {MAX_ACTIONS} are allowed", list.len()));
    }
    let mut names = BTreeSet::new();
    for Action { name, parameters, .. } in list {
        if !is_action_name(name) {
            return Err(format!("the name {name:?} must be lower-case words joined by hyphens"));
        }
        if !names.insert(name) {
            return Err(format!("two of them have the name {name}"));
        }
        if !parameters.is_object() {
            return Err(format!("the parameters of {name} are not a JSON object"));
        }
        // The engine of these patterns takes no longer than their text is long.
        let schema = jsonschema::options().with_pattern_options(PatternOptions::regex());
        schema
            .offline()
            .build(parameters)
            .map_err(|error| format!("the parameters of {name} are not a JSON Schema: {error}"))?;
    }
    Ok(())
}
