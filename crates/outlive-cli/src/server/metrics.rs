//! `/metrics` in Prometheus's format, over plain HTTP on an address of its own: it names regions and identities of
//! everybody, so it is for this machine unless that is asked for.

mod listener;
mod text;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use outlive_manager::Manager;

use crate::failure::Failure;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves it until the runtime ends. Returns where.
pub(super) async fn serve(address: SocketAddr, manager: Manager) -> Result<SocketAddr, Failure> {
    let cannot_listen = |error| Failure::listening("metrics", address, &error, "--metrics");
    let listener = super::control::listen_at(address).map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    let routes = Router::new().route("/metrics", get(answer)).with_state(manager);
    tokio::spawn(async move {
        let served = axum::serve(listener::Bounded::new(listener), routes).await;
        if let Err(error) = served {
            tracing::error!(%error, "metrics are not served any more");
        }
    });
    Ok(address)
}

async fn answer(State(manager): State<Manager>) -> Response {
    match manager.status().await {
        Ok(status) => match text::encode(status) {
            Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        },
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}
