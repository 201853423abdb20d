//! `/mesh/<hash>`: reading and publishing memberships.

use std::error::Error as _;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::LengthLimitError;
use rp_protocol::membership::{
    MAX_PUBLICATION_BYTES, PublishError, ReadAnswer, Stored, check_publication,
};
use serde::Deserialize;

use super::{Arrival, Served};
use crate::hub::Unpublished;
use crate::membership::OwnerHash;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// The query of a read.
#[derive(Debug, Deserialize)]
pub(super) struct Since {
    /// The version that the reader has.
    since: Option<u64>,
}

pub(super) async fn read(
    State(Served { hub, .. }): State<Served>,
    Path(hash): Path<String>,
    query: Result<Query<Since>, QueryRejection>,
) -> Response {
    let since = match query {
        Ok(Query(Since { since })) => since,
        Err(rejection) => return rejection.into_response(),
    };
    let stored = match OwnerHash::parse(&hash).map(|owner| hub.memberships.read(owner)) {
        None => None,
        Some(Ok(stored)) => stored,
        Some(Err(error)) => {
            tracing::error!(%error, "a membership cannot be read");
            return (StatusCode::INTERNAL_SERVER_ERROR, "internal").into_response();
        }
    };
    match Stored::read(stored.as_ref(), since) {
        ReadAnswer::Found(json) => json_answer(json),
        ReadAnswer::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        ReadAnswer::NotFound => (StatusCode::NOT_FOUND, "not_found").into_response(),
    }
}

pub(super) async fn publish(
    State(Served { hub, .. }): State<Served>,
    Extension(arrival): Extension<Arrival>,
    Path(hash): Path<String>,
    body: Body,
) -> Response {
    let body = match receive(body).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let published = match hub.publishers.may_publish(arrival.address, Instant::now()) {
        false => Err(Unpublished::TooMany),
        true => match check_publication(&body, &hash) {
            Ok(publication) => hub.publish(publication).await,
            Err(refused) => Err(Unpublished::Refused(refused)),
        },
    };
    match published {
        Ok(published) => {
            hub.metrics.publications.add(1);
            axum::Json(published).into_response()
        }
        Err(refused) => {
            hub.metrics.publications_refused.add(1);
            refusal(refused)
        }
    }
}

fn refusal(refused: Unpublished) -> Response {
    match refused {
        Unpublished::TooManyOwners => {
            (StatusCode::SERVICE_UNAVAILABLE, "too many owners").into_response()
        }
        Unpublished::TooMany => {
            (StatusCode::TOO_MANY_REQUESTS, "too many publications").into_response()
        }
        Unpublished::Refused(refused) => {
            let status = StatusCode::from_u16(refused.status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, refused.to_string()).into_response()
        }
    }
}

async fn receive(body: Body) -> Result<axum::body::Bytes, Response> {
    let body = axum::body::to_bytes(body, MAX_PUBLICATION_BYTES);
    match tokio::time::timeout(BODY_DEADLINE, body).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.source().is_some_and(|source| source.is::<LengthLimitError>()) => {
            Err(refusal(Unpublished::Refused(PublishError::TooLarge)))
        }
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST.into_response()),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT.into_response()),
    }
}

fn json_answer(json: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}
