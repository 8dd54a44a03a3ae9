//! When a call is made again, and for how long.

use std::future::Future;
use std::time::{Duration, Instant};

use outlive_identity::ConnectError;
use outlive_proto::FromStatus;
use outlive_proto::v1::ErrorCode;
use tonic::{Code, Response, Status};

use super::Client;
use crate::{Error, Result};

/// First pause between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause between attempts: a restarted unit is found within it.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What a call brought.
pub(crate) struct Answer<T> {
    pub(crate) result: Result<T>,
    /// An earlier attempt broke off: it may have been carried out.
    pub(crate) ambiguous: bool,
}

/// Growing pauses, up to a bound.
pub(crate) struct Backoff {
    pause: Duration,
    began: Instant,
    retry_for: Duration,
}

impl Backoff {
    pub(crate) fn new(retry_for: Duration) -> Self {
        Self {
            pause: FIRST_PAUSE,
            began: Instant::now(),
            retry_for,
        }
    }

    /// The next pause, or `None` when the time is over.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        (self.tried() + pause < self.retry_for).then_some(pause)
    }

    /// For how long it was tried up to now.
    pub(crate) fn tried(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Whether something could not be reached.
enum Failure {
    Final(Error),
    Unreachable { what: &'static str, reason: String },
}

pub(super) async fn within<T, F, Fut>(
    client: Client,
    address: &str,
    region: &str,
    retry_for: Duration,
    attempt_timeout: Duration,
    call: F,
) -> Answer<T>
where
    F: Fn(Client) -> Fut,
    Fut: Future<Output = std::result::Result<Response<T>, Status>>,
{
    let mut backoff = Backoff::new(retry_for);
    let mut ambiguous = false;
    loop {
        let attempt = tokio::time::timeout(attempt_timeout, call(client.clone())).await;
        let failure = match attempt {
            Ok(Ok(response)) => {
                return Answer {
                    result: Ok(response.into_inner()),
                    ambiguous,
                };
            }
            Ok(Err(status)) => classify(&status, address, region),
            Err(_) => Failure::Unreachable {
                what: MANAGER,
                reason: format!("no answer within {} ms", attempt_timeout.as_millis()),
            },
        };
        let (what, reason) = match failure {
            Failure::Final(error) => {
                return Answer {
                    result: Err(error),
                    ambiguous,
                };
            }
            Failure::Unreachable { what, reason } => (what, reason),
        };
        ambiguous = true;
        let Some(pause) = backoff.next() else {
            let error = Error::Unreachable {
                what,
                address: address.to_owned(),
                tried: backoff.tried(),
                reason,
            };
            return Answer {
                result: Err(error),
                ambiguous,
            };
        };
        tracing::debug!(what, address, reason, "unreachable, trying again");
        tokio::time::sleep(pause).await;
    }
}

const MANAGER: &str = "the manager";

/// What tonic says of an answer that is HTTP but no gRPC: nobody who speaks it leaves the status out.
const NO_GRPC: &str = "grpc-status header missing";

fn classify(status: &Status, address: &str, region: &str) -> Failure {
    if let Some(error) = status.control_error() {
        return match error.code {
            ErrorCode::UnitUnreachable => Failure::Unreachable {
                what: "the unit",
                reason: error.message,
            },
            // On its way out: the manager that replaces it answers here, or nobody does.
            ErrorCode::Superseded => Failure::Unreachable {
                what: MANAGER,
                reason: error.message,
            },
            _ => Failure::Final(Error::from_control(error, region)),
        };
    }
    if let Some(error) = std::error::Error::source(status).and_then(ConnectError::find) {
        return unconnected(error);
    }
    let reason = status.message().to_owned();
    match status.code() {
        Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied if reason.contains(NO_GRPC) => {
            Failure::Final(Error::Protocol {
                reason: format!("what answers at {address} is no Outlive manager ({reason})"),
            })
        }
        Code::Unauthenticated | Code::PermissionDenied => Failure::Final(Error::NoAccess {
            reason,
            missing: None,
        }),
        Code::Unimplemented | Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => {
            Failure::Final(Error::Protocol {
                reason: format!("{}: {reason}", status.code()),
            })
        }
        _ => Failure::Unreachable {
            what: MANAGER,
            reason,
        },
    }
}

/// Why no connection came about. Who was refused is refused again: trying on would only hide it.
fn unconnected(error: &ConnectError) -> Failure {
    let reason = error.to_string();
    match error {
        ConnectError::Refused { .. } | ConnectError::Untrusted { .. } | ConnectError::Credentials(_) => {
            Failure::Final(Error::NoAccess {
                reason,
                missing: None,
            })
        }
        ConnectError::Foreign { .. } => Failure::Final(Error::Protocol { reason }),
        _ => Failure::Unreachable {
            what: MANAGER,
            reason,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_server_at_the_address_is_named_as_such() {
        let said = "grpc-status header missing, mapped from HTTP status code 404";
        for code in [Code::Unimplemented, Code::Unauthenticated] {
            let Failure::Final(error) = classify(&Status::new(code, said), "127.0.0.1:80", "r") else {
                panic!("trying again does not help");
            };
            let text = error.to_string();
            assert!(text.contains("127.0.0.1:80 is no Outlive manager"), "{text}");
        }
        let denied = classify(&Status::new(Code::Unauthenticated, "not you"), "a:1", "r");
        assert!(matches!(denied, Failure::Final(Error::NoAccess { .. })));
    }
}
