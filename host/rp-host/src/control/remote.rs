//! Other machines. All of it is for the person: an agent's token does not reach it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State, rejection::JsonRejection},
    response::{IntoResponse, sse::Sse},
    routing::{get, post},
};
use futures_util::StreamExt;
use rp_remote::Change;
use serde::Deserialize;

use super::{Answer, Person, Shared, read, sse, whole};
use crate::{api, host::Host};

type Body<T> = Result<Json<T>, JsonRejection>;

/// The routes below `/v1/relay`.
pub fn relay_routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/", get(relay).post(switch_relay))
        .route("/events", get(relay_events))
        .route("/url", post(set_relay))
}

/// The routes below `/v1/mesh`.
pub fn mesh_routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/", get(own_mesh).post(create_mesh))
        .route("/recover", post(recover_mesh))
        .route("/rename", post(rename_machine))
        .route("/remove", post(remove_machine))
        .route("/invite", post(invite))
        .route("/join", post(join))
        .route("/conversation", get(conversation).post(decide).delete(end))
}

async fn relay(_: Person, State(host): Shared) -> Json<api::Relay> {
    Json(host.relay())
}

async fn relay_events(_: Person, State(host): Shared) -> impl IntoResponse {
    Sse::new(host.relay_events().map(|event| Ok::<_, Infallible>(sse(&event))))
}

async fn switch_relay(
    _: Person,
    State(host): Shared,
    body: Body<api::SwitchRelay>,
) -> Answer<api::Relay> {
    let switch = read(body)?;
    whole(async move { host.switch_relay(switch.action).await }).await
}

async fn set_relay(
    _: Person,
    State(host): Shared,
    body: Body<api::SetRelay>,
) -> Answer<api::Relay> {
    let set = read(body)?;
    whole(async move { host.set_relay(&set.url).await }).await
}

async fn own_mesh(_: Person, State(host): Shared) -> Answer<api::OwnMesh> {
    Ok(Json(host.own_mesh().await?))
}

async fn create_mesh(
    _: Person,
    State(host): Shared,
    body: Body<api::CreateMesh>,
) -> Answer<api::CreatedMesh> {
    let create = read(body)?;
    whole(async move { host.create_mesh(&create.name).await }).await
}

async fn recover_mesh(
    _: Person,
    State(host): Shared,
    body: Body<api::RecoverMesh>,
) -> Answer<api::RecoveredMesh> {
    let recover = read(body)?;
    whole(async move { host.recover_mesh(&recover.words, &recover.name).await }).await
}

async fn rename_machine(
    _: Person,
    State(host): Shared,
    body: Body<api::RenameMachine>,
) -> Answer<api::ChangedMesh> {
    let api::RenameMachine { machine, name } = read(body)?;
    whole(async move { host.change_mesh(Change::Rename { machine, name }).await }).await
}

async fn remove_machine(
    _: Person,
    State(host): Shared,
    body: Body<api::RemoveMachine>,
) -> Answer<api::ChangedMesh> {
    let api::RemoveMachine { machine } = read(body)?;
    whole(async move { host.change_mesh(Change::Remove { machine }).await }).await
}

async fn invite(_: Person, State(host): Shared) -> Answer<api::Conversation> {
    whole(async move { host.invite_machine().await }).await
}

async fn join(
    _: Person,
    State(host): Shared,
    body: Body<api::JoinMesh>,
) -> Answer<api::Conversation> {
    let join = read(body)?;
    whole(async move { host.join_mesh(&join.code, &join.name).await }).await
}

#[derive(Deserialize)]
struct Since {
    /// The stage that the asker knows.
    known: Option<String>,
    #[serde(default)]
    wait_ms: u64,
}

async fn conversation(
    _: Person,
    State(host): Shared,
    Query(since): Query<Since>,
) -> Answer<api::Conversation> {
    let limit = Duration::from_millis(since.wait_ms.min(600_000));
    Ok(Json(host.conversation(since.known.as_deref(), limit).await?))
}

async fn decide(
    _: Person,
    State(host): Shared,
    body: Body<api::Decide>,
) -> Answer<api::Conversation> {
    let decision = read(body)?;
    Ok(Json(host.decide_conversation(decision.accept)?))
}

async fn end(_: Person, State(host): Shared) -> Json<serde_json::Value> {
    host.end_conversation();
    Json(serde_json::json!({}))
}
