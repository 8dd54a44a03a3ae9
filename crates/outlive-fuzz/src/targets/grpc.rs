//! Calls of a gRPC service inside this process: the bytes of a request go through the same decoder as from the network.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use outlive_identity::Caller;
use prost::Message;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

/// How long one call may take; only what never ends reaches it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a call may take that waits for something which is not to come.
const WAITING: Duration = Duration::from_millis(5);
/// Calls that wait, or whose answer is a stream of which the first message is enough.
const WAIT: [&str; 3] = ["Switchover", "WatchRegion", "Events"];
/// The most that is read of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Calls `path` with one message, as `caller`, and gives the message that it is answered, where there is one.
pub(super) async fn call(
    routes: &Routes,
    path: &str,
    caller: Option<Caller>,
    message: &[u8],
) -> Option<Bytes> {
    let len = u32::try_from(message.len()).expect("a message of a fuzzer");
    let body = [&[0][..], &len.to_be_bytes(), message].concat();
    let mut request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Full::new(Bytes::from(body))))
        .expect("a request");
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let waits = WAIT.iter().any(|call| path.ends_with(call));
    let patience = if waits { WAITING } else { PATIENCE };
    let answered = tokio::time::timeout(patience, answer(routes.clone(), request, waits)).await;
    assert!(answered.is_ok() || waits, "{path} does not end");
    answered.unwrap_or_default()
}

async fn answer(routes: Routes, request: http::Request<Body>, first_only: bool) -> Option<Bytes> {
    let Ok(response) = routes.oneshot(request).await;
    let (mut bytes, mut body) = (Vec::new(), response.into_body());
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
            if bytes.len() > MAX_ANSWER_BYTES || first_only {
                break;
            }
        }
    }
    (bytes.len() >= PREFIX_BYTES).then(|| Bytes::from(bytes).slice(PREFIX_BYTES..))
}

/// Calls with a message that is whole, and takes the answer apart.
pub(super) async fn typed<A: Message + Default>(
    routes: &Routes,
    path: &str,
    caller: Option<Caller>,
    request: &impl Message,
) -> Option<A> {
    let answer = call(routes, path, caller, &request.encode_to_vec()).await?;
    A::decode(answer).ok()
}
