//! The control API: HTTP on a Unix socket that only this user can open.
//!
//! It translates requests into calls of [`Host`] and decides nothing, except who asks: a
//! request with an agent's token speaks as that agent and reaches only what its tools need;
//! one without speaks as the person at this machine, unless a process sends it that an agent
//! started.

mod components;

use std::{convert::Infallible, path::Path, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{
        ConnectInfo, DefaultBodyLimit, FromRequestParts, Path as UrlPath, Query, Request, State,
        connect_info::Connected, rejection::JsonRejection,
    },
    http::{StatusCode, header, request::Parts},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, Sse},
    },
    routing::{get, post},
    serve::IncomingStream,
};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::net::{UnixListener, UnixStream};

use crate::{
    ancestry::descends_from,
    api,
    host::{Caller, EventsFrom, Host},
    problem::{Problem, While},
};

mod live;
mod questions;
mod remote;

/// A request larger than this is refused.
const LARGEST_REQUEST: usize = 32 * 1024 * 1024;

type Shared = State<Arc<Host>>;
type Answer<T> = Result<Json<T>, Refusal>;

/// Every route of version 1.
pub fn router(host: Arc<Host>) -> Router {
    let agents = Router::new()
        .route("/", post(create))
        .route("/{id}", get(agent).delete(remove))
        .route("/{id}/start", post(start))
        .route("/{id}/stop", post(stop))
        .route("/{id}/restart", post(restart))
        .route("/{id}/commands", post(command))
        .route("/{id}/actions", get(actions))
        // The name may have the component's id before it, and a slash between them.
        .route("/{id}/actions/{*name}", post(run_action))
        .route("/{id}/events", get(events))
        .route("/{id}/peers", get(peers_of))
        .route("/{id}/messages", post(send_as))
        .route("/{id}/inbox", get(inbox))
        .route("/{id}/mail", get(live::mail_status).post(live::take_mail).delete(live::leave))
        .route("/{id}/mail/{number}", post(live::mail_taken))
        .route("/{id}/answers/{message}", get(answer_to));
    let version_1 = Router::new()
        .route("/status", get(status))
        .route("/peers", get(peers))
        .route("/messages", post(send))
        .route("/messages/{id}/trace", get(trace))
        .route("/held", get(held))
        .route("/held/{id}/allow", post(allow_held))
        .route("/held/{id}/deny", post(deny_held))
        .route("/live", post(live::go_live))
        .route("/harnesses", get(harnesses))
        .route("/policies", get(components::policies))
        .route("/policies/explain", post(components::explain))
        .route("/policies/replay", post(components::replay))
        .nest("/components", components::routes())
        .route("/stop", post(shut_down))
        .nest("/questions", questions::routes())
        .nest("/relay", remote::relay_routes())
        .nest("/mesh", remote::mesh_routes())
        .nest("/agents", agents);
    Router::new()
        .nest("/v1", version_1)
        .fallback(unknown_route)
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .with_state(host)
}

/// Opens the socket; a file left behind by a daemon that crashed is replaced.
pub fn listen(path: &Path) -> Result<UserListener, Problem> {
    use std::os::unix::fs::PermissionsExt;

    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Problem::failed(format!("could not replace {}: {error}", path.display())));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).doing(format!("listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .doing(format!("protect {}", path.display()))?;
    Ok(UserListener { listener, user: rustix::process::getuid().as_raw() })
}

/// Accepts connections of one user only, whatever the permissions of the socket.
pub struct UserListener {
    listener: UnixListener,
    user: u32,
}

/// The process that opened a connection, where the system tells.
#[derive(Debug, Clone, Copy)]
pub struct Process(Option<i32>);

impl Connected<IncomingStream<'_, UserListener>> for Process {
    fn connect_info(stream: IncomingStream<'_, UserListener>) -> Self {
        *stream.remote_addr()
    }
}

impl Process {
    /// Whatever an agent runs descends from its harness, and that from this process or from the
    /// one that holds it on the mesh in a person's terminal.
    fn was_started_by_an_agent(self, host: &Host) -> bool {
        let mut holders = host.live_processes();
        holders.push(std::process::id());
        let holders: Vec<_> = holders.into_iter().filter_map(|pid| pid.try_into().ok()).collect();
        self.0.is_some_and(|process| descends_from(process, &holders))
    }
}

impl axum::serve::Listener for UserListener {
    type Io = UnixStream;
    type Addr = Process;

    async fn accept(&mut self) -> (UnixStream, Process) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if peer.uid() == self.user => return (stream, Process(peer.pid())),
                    _ => tracing::warn!("refused a connection of another user"),
                },
                Err(error) => {
                    // Out of descriptors, most likely: trying again at once would spin.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Process> {
        Ok(Process(None))
    }
}

/// A refusal as the API says it: a status, a sentence and a hint.
struct Refusal(StatusCode, Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let status = match problem.exit_code() {
            2 => StatusCode::BAD_REQUEST,
            _ => StatusCode::CONFLICT,
        };
        Self(status, problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, problem) = self;
        let hint = problem.hint_text().map(str::to_owned);
        let error = api::ErrorText { message: problem.message().to_owned(), hint };
        (status, Json(api::ErrorBody { error })).into_response()
    }
}

async fn unknown_route(request: Request) -> Refusal {
    let problem =
        Problem::usage(format!("there is no {} {}", request.method(), request.uri().path()));
    Refusal(StatusCode::NOT_FOUND, problem)
}

/// Who asks, from the `authorization` header.
struct Asker(Caller);

impl FromRequestParts<Arc<Host>> for Asker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, host: &Arc<Host>) -> Result<Self, Refusal> {
        let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
            let process = parts.extensions.get::<ConnectInfo<Process>>();
            return match process.is_some_and(|process| process.0.was_started_by_an_agent(host)) {
                false => Ok(Self(Caller::Person)),
                true => Err(Refusal(
                    StatusCode::FORBIDDEN,
                    Problem::failed("what an agent runs cannot do this: it is for the person")
                        .hint("run it in a terminal of your own"),
                )),
            };
        };
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        token.and_then(|token| host.agent_with_token(token)).map(Self).ok_or_else(|| {
            Refusal(StatusCode::UNAUTHORIZED, Problem::failed("the token belongs to no agent"))
        })
    }
}

/// The person at this machine; agents are turned away.
struct Person;

impl FromRequestParts<Arc<Host>> for Person {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, host: &Arc<Host>) -> Result<Self, Refusal> {
        match Asker::from_request_parts(parts, host).await? {
            Asker(Caller::Person) => Ok(Self),
            Asker(Caller::Agent(_)) => Err(Refusal(
                StatusCode::FORBIDDEN,
                Problem::failed("an agent's token does not allow this"),
            )),
        }
    }
}

/// An agent that the asker may speak for: its own, or any when a person asks.
struct Own(String);

impl FromRequestParts<Arc<Host>> for Own {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, host: &Arc<Host>) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Names {
            id: String,
        }
        let Asker(asker) = Asker::from_request_parts(parts, host).await?;
        let UrlPath(Names { id }) = UrlPath::from_request_parts(parts, host)
            .await
            .map_err(|error| Problem::usage(error.body_text()))?;
        match asker {
            Caller::Agent(own) if own != id => Err(Refusal(
                StatusCode::FORBIDDEN,
                Problem::failed("an agent's token does not allow this for another agent"),
            )),
            _ => Ok(Self(id)),
        }
    }
}

fn read<T: DeserializeOwned>(body: Result<Json<T>, JsonRejection>) -> Result<T, Refusal> {
    body.map(|Json(value)| value)
        .map_err(|error| Refusal(error.status(), Problem::usage(error.body_text())))
}

/// Does what changes something to its end, also when whoever asked for it is gone by then.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Answer<T> {
    let done = tokio::spawn(work).await;
    Ok(Json(done.unwrap_or_else(|error| Err(Problem::failed(format!("it broke: {error}"))))?))
}

async fn status(_: Person, State(host): Shared) -> Json<api::Status> {
    Json(host.status().await)
}

async fn peers(_: Person, State(host): Shared) -> Answer<api::Peers> {
    Ok(Json(host.peers(None).await?))
}

async fn peers_of(Own(id): Own, State(host): Shared) -> Answer<api::Peers> {
    Ok(Json(host.peers(Some(&id)).await?))
}

async fn create(
    _: Person,
    State(host): Shared,
    body: Result<Json<api::Create>, JsonRejection>,
) -> Answer<api::Agent> {
    let create = read(body)?;
    whole(async move { host.create(create).await }).await
}

async fn agent(_: Person, State(host): Shared, UrlPath(id): UrlPath<String>) -> Answer<api::Agent> {
    Ok(Json(host.agent(&id).await?))
}

async fn remove(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
) -> Answer<api::Agent> {
    whole(async move { host.remove(&id).await }).await
}

async fn start(_: Person, State(host): Shared, UrlPath(id): UrlPath<String>) -> Answer<api::Agent> {
    whole(async move { host.start(&id).await }).await
}

async fn stop(_: Person, State(host): Shared, UrlPath(id): UrlPath<String>) -> Answer<api::Agent> {
    whole(async move { host.stop(&id).await }).await
}

async fn restart(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
) -> Answer<api::Agent> {
    whole(async move { host.restart(&id).await }).await
}

async fn command(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
    body: Result<Json<api::RunCommand>, JsonRejection>,
) -> Answer<rp_protocol::session::Reply> {
    Ok(Json(host.command(&id, read(body)?).await?))
}

async fn actions(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
) -> Answer<api::Actions> {
    Ok(Json(host.actions(&id).await?))
}

/// Hyper drops this when whoever asked is gone, and that ends the action.
async fn run_action(
    _: Person,
    State(host): Shared,
    UrlPath((id, name)): UrlPath<(String, String)>,
    body: Result<Json<api::RunAction>, JsonRejection>,
) -> Answer<api::ActionDone> {
    Ok(Json(host.run_action(&id, &name, read(body)?).await?))
}

#[derive(Deserialize)]
struct Begin {
    /// The number behind which to begin.
    after: Option<u64>,
    /// How many events to begin with.
    last: Option<usize>,
}

async fn events(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
    Query(Begin { after, last }): Query<Begin>,
) -> Result<impl IntoResponse, Refusal> {
    let from = match (after, last) {
        (_, Some(count)) => EventsFrom::Last(count),
        (after, None) => EventsFrom::After(after.unwrap_or_default()),
    };
    let events = host.events(&id, from).await?;
    Ok(Sse::new(events.map(|event| Ok::<_, Infallible>(sse(&event)))))
}

fn sse(event: &impl Serialize) -> SseEvent {
    SseEvent::default()
        .json_data(event)
        .unwrap_or_else(|error| SseEvent::default().comment(error.to_string()))
}

async fn send(
    _: Person,
    State(host): Shared,
    body: Result<Json<api::Send>, JsonRejection>,
) -> Answer<api::Sent> {
    let send = read(body)?;
    whole(async move { host.send(None, send).await }).await
}

async fn send_as(
    Own(id): Own,
    State(host): Shared,
    body: Result<Json<api::Send>, JsonRejection>,
) -> Answer<api::Sent> {
    let send = read(body)?;
    whole(async move { host.send(Some(&id), send).await }).await
}

#[derive(Deserialize)]
struct Which {
    /// Only the messages that wait.
    #[serde(default)]
    waiting: bool,
    /// These, and they are given to whoever asks.
    #[serde(default)]
    take: bool,
}

async fn inbox(
    Own(id): Own,
    State(host): Shared,
    Query(Which { waiting, take }): Query<Which>,
) -> Answer<api::Inbox> {
    let messages = match (waiting, take) {
        (_, true) => host.waiting_messages(&id, true)?,
        (true, false) => host.waiting_messages(&id, false)?,
        (false, false) => host.inbox(&id)?,
    };
    Ok(Json(messages))
}

#[derive(Deserialize)]
struct AnswerPath {
    message: String,
}

#[derive(Deserialize)]
struct Patience {
    #[serde(default)]
    wait_ms: u64,
    until: Option<String>,
}

impl Patience {
    /// Ten minutes at most: a request that waits holds a connection.
    fn limit(&self) -> Duration {
        Duration::from_millis(self.wait_ms.min(600_000))
    }
}

async fn answer_to(
    Own(id): Own,
    State(host): Shared,
    UrlPath(AnswerPath { message }): UrlPath<AnswerPath>,
    Query(patience): Query<Patience>,
) -> Answer<api::Answer> {
    Ok(Json(host.answer_to(&id, &message, patience.limit()).await?))
}

async fn trace(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
    Query(patience): Query<Patience>,
) -> Answer<api::Trace> {
    Ok(Json(host.trace(&id, patience.until.as_deref(), patience.limit()).await?))
}

async fn harnesses(_: Person, State(host): Shared) -> Json<api::Harnesses> {
    Json(host.harnesses().await)
}

async fn held(_: Person, State(host): Shared) -> Answer<api::Held> {
    Ok(Json(host.held()?))
}

async fn allow_held(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
) -> Answer<api::Sent> {
    whole(async move { host.allow_held(&id).await }).await
}

async fn deny_held(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
    body: Result<Json<api::Deny>, JsonRejection>,
) -> Answer<serde_json::Value> {
    let reason = read(body)?.reason;
    whole(async move {
        host.deny_held(&id, reason.as_deref()).await?;
        Ok(serde_json::json!({ "id": id, "denied": true }))
    })
    .await
}

async fn shut_down(_: Person, State(host): Shared) -> Json<serde_json::Value> {
    host.ask_to_stop();
    Json(serde_json::json!({ "stopping": true }))
}
