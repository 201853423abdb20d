//! Questions of agents. Only the person answers: an agent's token does not.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path as UrlPath, Query, State, rejection::JsonRejection},
    routing::{get, post},
};
use serde::Deserialize;

use super::{Answer, Person, Shared, read, whole};
use crate::{api, host::Host};

/// The routes below `/v1/questions`.
pub fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/", get(questions))
        .route("/{id}", get(question))
        .route("/{id}/answer", post(answer))
}

#[derive(Deserialize)]
struct Which {
    #[serde(default)]
    state: WhichState,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum WhichState {
    #[default]
    Open,
    All,
}

async fn questions(
    _: Person,
    State(host): Shared,
    Query(Which { state }): Query<Which>,
) -> Answer<api::Questions> {
    Ok(Json(host.questions(matches!(state, WhichState::All)).await?))
}

async fn question(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
) -> Answer<api::AskedQuestion> {
    Ok(Json(host.question(&id).await?))
}

async fn answer(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
    body: Result<Json<api::AnswerQuestion>, JsonRejection>,
) -> Answer<api::AskedQuestion> {
    let answer = read(body)?;
    whole(async move { host.answer_question(&id, answer).await }).await
}
