//! What the relay answers over HTTP, and how a request becomes a WebSocket.

mod mesh;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use hyper_util::rt::TokioIo;
use rp_protocol::relay::SUBPROTOCOL;

use crate::host;
use crate::hub::Hub;
use crate::legacy;
use crate::limits::{Admission, Place};
use crate::stream::Stream;
use crate::websocket::{Upgrade, requested_upgrade};

/// Who sent a request, and its place among the connections.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The address of the client, which a proxy may have told.
    pub address: IpAddr,
    /// Whether a proxy told it.
    pub is_forwarded: bool,
    /// The connection's place. It is taken along when the request becomes a WebSocket.
    pub place: Arc<Place>,
}

/// What the handlers need.
#[derive(Debug, Clone)]
pub struct Served {
    /// The relay.
    pub hub: Arc<Hub>,
    /// Who is there.
    pub admission: Arc<Admission>,
}

/// All routes. A request needs an [`Arrival`] among its extensions.
pub fn router(served: Served) -> Router {
    Router::new()
        .route("/", any(websocket))
        .route("/health", get(async || "OK"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/mesh/{hash}", get(mesh::read).post(mesh::publish))
        .with_state(served)
}

async fn ready(State(Served { hub, .. }): State<Served>) -> Response {
    if hub.ending.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "ending").into_response();
    }
    match hub.memberships.owners() {
        Ok(_) => "OK".into_response(),
        Err(error) => {
            tracing::error!(%error, "memberships cannot be read");
            (StatusCode::SERVICE_UNAVAILABLE, "storage").into_response()
        }
    }
}

async fn metrics(State(Served { hub, .. }): State<Served>) -> Response {
    let text = hub.metrics.render(hub.gauges());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn websocket(State(served): State<Served>, mut request: Request) -> Response {
    if request.method() != Method::GET {
        let allow = [(header::ALLOW, "GET,HEAD")];
        return (StatusCode::METHOD_NOT_ALLOWED, allow).into_response();
    }
    let upgrade = match requested_upgrade(request.version(), request.headers()) {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.into_response(),
    };
    let Some(arrival) = request.extensions_mut().remove::<Arrival>() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut places = vec![arrival.place];
    if arrival.is_forwarded {
        match served.admission.admit_address(arrival.address) {
            Some(place) => places.push(Arc::new(place)),
            None => {
                served.hub.metrics.connections_refused.add(1);
                return (StatusCode::TOO_MANY_REQUESTS, "too many connections").into_response();
            }
        }
    }
    let hub = Arc::clone(&served.hub);
    let is_modern = upgrade.protocols.iter().any(|offered| offered == SUBPROTOCOL);
    served.hub.tasks.spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else { return };
        // A copy: what it is cut from is the whole buffer of the HTTP connection.
        let (stream, received) = (parts.io.into_inner(), parts.read_buf.to_vec());
        drop(parts.read_buf);
        if is_modern {
            Box::pin(host::serve(hub, stream, &received, places)).await;
        } else {
            Box::pin(legacy::serve(hub, stream, &received, places)).await;
        }
    });
    switching_protocols(&upgrade, is_modern)
}

fn switching_protocols(upgrade: &Upgrade, is_modern: bool) -> Response {
    let accept = HeaderValue::from_str(&upgrade.accept);
    let Ok(accept) = accept else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    let protocol = is_modern
        .then_some([(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL))]);
    let mut answer = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    answer.headers_mut().extend(protocol.into_iter().flatten());
    answer
}
