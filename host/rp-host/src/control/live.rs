//! Agents that a person runs in their own terminal. What is held open here ends with the process at
//! its other end, however that ended.

use std::convert::Infallible;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    response::sse::{Event, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;

use super::{Answer, Own, Person, Refusal, Shared, read, sse};
use crate::api;

pub(super) async fn go_live(
    _: Person,
    State(host): Shared,
    body: Result<Json<api::GoLive>, JsonRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let (live, presence) = host.go_live(read(body)?).await?;
    let end = stream::once(async move {
        presence.has_left().await;
        drop(presence);
        Ok(sse(&api::Left { left: true }))
    });
    Ok(Sse::new(stream::iter([Ok(sse(&live))]).chain(end)))
}

pub(super) async fn take_mail(
    Own(id): Own,
    State(host): Shared,
    body: Result<Json<api::TakeMail>, JsonRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let (mail, giving) = host.give_mail(&id, &read(body)?).await?;
    // With messages it stays open, and what says that they are being given is dropped with it.
    let held = stream::unfold(giving, |giving| async move {
        let _giving = giving?;
        std::future::pending().await
    });
    Ok(Sse::new(stream::iter([Ok(sse(&mail))]).chain(held)))
}

pub(super) async fn mail_status(Own(id): Own, State(host): Shared) -> Answer<api::Agent> {
    Ok(Json(host.live_self(&id)?))
}

pub(super) async fn leave(Own(id): Own, State(host): Shared) -> Answer<api::Agent> {
    Ok(Json(host.leave(&id)?))
}

#[derive(Deserialize)]
pub(super) struct Batch {
    number: u64,
}

pub(super) async fn mail_taken(
    Own(id): Own,
    State(host): Shared,
    Path(Batch { number }): Path<Batch>,
    body: Result<Json<api::MailTaken>, JsonRejection>,
) -> Answer<api::MailTaken> {
    let taken = read(body)?;
    host.mail_taken(&id, number, taken)?;
    Ok(Json(taken))
}
