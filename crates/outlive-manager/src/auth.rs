//! Who is calling: the one seam where identities come from. What they may do is decided in `access`.
//!
//! This first form knows one secret, a bearer token, and gives whoever holds it the identity `local`.
//! Mutual TLS will put another [`Caller`] into the request at this same place; nothing behind it changes.

use std::fmt;

use outlive_identity::{Caller, Serial};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// The metadata key that carries the token: `authorization: Bearer …`.
const METADATA_KEY: &str = "authorization";
const SCHEME: &str = "Bearer ";

/// Who sent `request`.
///
/// # Errors
/// `NO_ACCESS` where nobody vouched for the caller.
pub(crate) fn caller<T>(request: &Request<T>) -> Result<Caller, ControlError> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| ControlError::new(ErrorCode::NoAccess, "the caller is not authenticated"))
}

/// The holder of the local token.
const LOCAL: &str = "local";

/// Lets in whoever presents the token, as identity `local`.
#[derive(Clone)]
pub struct BearerAuth {
    token: Vec<u8>,
}

impl BearerAuth {
    /// Checks against `token`, which must not be empty.
    ///
    /// # Errors
    /// `INVALID` for an empty token: it would let everybody in.
    pub fn new(token: &str) -> Result<Self, ControlError> {
        if token.is_empty() {
            return Err(ControlError::new(
                ErrorCode::Invalid,
                "the bearer token is empty: generate one",
            ));
        }
        Ok(Self {
            token: token.as_bytes().to_vec(),
        })
    }
}

impl Interceptor for BearerAuth {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let presented = request.metadata().get(METADATA_KEY).map(|value| value.as_bytes());
        let token = presented.and_then(|value| value.strip_prefix(SCHEME.as_bytes()));
        if !token.is_some_and(|token| equal_in_constant_time(token, &self.token)) {
            let message = "the bearer token is missing or wrong: use the context file that `serve` wrote";
            return Err(ControlError::new(ErrorCode::NoAccess, message).into());
        }
        let caller = Caller {
            name: LOCAL.parse().expect("it is a name"),
            serial: Serial(Vec::new()),
            source: request.remote_addr(),
        };
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

impl fmt::Debug for BearerAuth {
    /// Never the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerAuth")
    }
}

/// Compares without stopping at the first difference, so that the time taken tells nothing about the secret
/// (its length is no secret).
fn equal_in_constant_time(presented: &[u8], secret: &[u8]) -> bool {
    if presented.len() != secret.len() {
        return false;
    }
    let difference = presented.iter().zip(secret).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use outlive_proto::FromStatus;

    fn present(value: Option<&str>) -> Result<Request<()>, Status> {
        let mut request = Request::new(());
        if let Some(value) = value {
            request
                .metadata_mut()
                .insert(METADATA_KEY, value.parse().unwrap());
        }
        BearerAuth::new("secret").unwrap().call(request)
    }

    #[test]
    fn the_token_makes_the_local_identity() {
        let caller = caller(&present(Some("Bearer secret")).unwrap()).unwrap();
        assert_eq!(caller.name.as_str(), "local");
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for value in [
            None,
            Some(""),
            Some("secret"),
            Some("Bearer "),
            Some("Bearer secreT"),
            Some("Bearer secret2"),
        ] {
            let status = present(value).unwrap_err();
            assert_eq!(
                status.control_error().map(|error| error.code),
                Some(ErrorCode::NoAccess),
                "{value:?}"
            );
        }
        assert!(BearerAuth::new("").is_err());
        assert!(caller(&Request::new(())).is_err());
    }
}
