//! Routes about components and routing policies.

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path as UrlPath, State, rejection::JsonRejection},
    routing::{get, post},
};
use rp_packages::Package;
use rp_protocol::component::Permit;

use super::{Answer, Person, Shared, read, whole};
use crate::{
    api,
    components::Choice,
    host::Host,
    problem::{Problem, While},
};

pub(super) fn routes() -> Router<Arc<Host>> {
    Router::new()
        .route("/", get(list).post(add))
        .route("/{id}", get(inspect).delete(remove))
        .route("/{id}/grant", post(grant))
        .route("/{id}/revoke", post(revoke))
        .route("/{id}/enable", post(enable))
        .route("/{id}/disable", post(disable))
        .route("/{id}/restart", post(restart))
}

async fn list(_: Person, State(host): Shared) -> Json<api::Components> {
    host.components().loaded().await;
    Json(host.components().list())
}

async fn inspect(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
) -> Answer<api::Component> {
    Ok(Json(host.components().inspect(&id)?))
}

async fn add(
    _: Person,
    State(host): Shared,
    body: Result<Json<api::AddComponent>, JsonRejection>,
) -> Answer<api::Component> {
    let add = read(body)?;
    whole(async move {
        let grant = add.grant.map(choice).transpose()?;
        let path = PathBuf::from(add.path);
        let package = tokio::task::spawn_blocking(move || open(&path)).await;
        let package = package.doing("read the package")??;
        host.components().add(&package, grant).await
    })
    .await
}

/// A package from a folder, or from an archive if it is a file.
fn open(path: &std::path::Path) -> Result<Package, Problem> {
    let opened = if path.is_file() {
        let file = std::fs::File::open(path).doing(format!("read {}", path.display()))?;
        Package::unpack(file)
    } else {
        Package::read(path)
    };
    opened.map_err(|error| Problem::failed(error.to_string()))
}

async fn remove(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
) -> Answer<serde_json::Value> {
    whole(async move {
        host.components().remove(&id).await?;
        Ok(serde_json::json!({ "id": id, "removed": true }))
    })
    .await
}

async fn grant(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
    body: Result<Json<api::Grant>, JsonRejection>,
) -> Answer<api::Component> {
    let api::Grant { grant, shown } = read(body)?;
    whole(async move { host.components().grant(&id, choice(grant)?, shown).await }).await
}

async fn revoke(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
    body: Result<Json<api::Revoke>, JsonRejection>,
) -> Answer<api::Component> {
    let permits = read(body)?.permits;
    whole(async move { host.components().revoke(&id, &parse(&permits)?).await }).await
}

async fn enable(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
) -> Answer<api::Component> {
    whole(async move { host.components().set_disabled(&id, false).await }).await
}

async fn disable(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
) -> Answer<api::Component> {
    whole(async move { host.components().set_disabled(&id, true).await }).await
}

async fn restart(
    _: Person,
    State(host): Shared,
    UrlPath(id): UrlPath<String>,
) -> Answer<api::Component> {
    Ok(Json(host.components().restart(&id)?))
}

pub(super) async fn policies(_: Person, State(host): Shared) -> Json<api::Policies> {
    Json(host.components().policies())
}

pub(super) async fn explain(
    _: Person,
    State(host): Shared,
    body: Result<Json<api::Explain>, JsonRejection>,
) -> Answer<api::Explanation> {
    Ok(Json(host.explain_policies(&read(body)?).await?))
}

pub(super) async fn replay(
    _: Person,
    State(host): Shared,
    body: Result<Json<api::ReplayPolicies>, JsonRejection>,
) -> Answer<api::PolicyReplay> {
    Ok(Json(host.replay_policies(&read(body)?).await?))
}

fn choice(choice: api::GrantChoice) -> Result<Choice, Problem> {
    Ok(match choice {
        api::GrantChoice::All(_) => Choice::All,
        api::GrantChoice::Only(permits) => Choice::Only(parse(&permits)?),
    })
}

fn parse(permits: &[String]) -> Result<Vec<Permit>, Problem> {
    let parsed = permits.iter().map(|text| text.parse::<Permit>());
    parsed.collect::<Result<_, _>>().map_err(|error| Problem::usage(error.to_string()))
}
