//! Who is calling: the one seam where identities come from. What they may do is decided in `access`.
//!
//! The listener (`outlive_identity::listen`) vouches for the [`Caller`] of each connection by its certificate;
//! nothing behind this place knows certificates.

use outlive_identity::Caller;
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;
use tonic::Request;

/// Who sent `request`.
///
/// # Errors
/// `NO_ACCESS` where nobody vouched for the caller.
pub(crate) fn caller<T>(request: &Request<T>) -> Result<Caller, ControlError> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| ControlError::new(ErrorCode::NoAccess, "the caller is not authenticated"))
}

#[cfg(test)]
mod tests {
    use outlive_identity::Serial;

    use super::*;

    #[test]
    fn only_a_listener_vouches_for_a_caller() {
        let mut request = Request::new(());
        assert_eq!(caller(&request).unwrap_err().code, ErrorCode::NoAccess);
        let alice = Caller {
            name: "alice".parse().unwrap(),
            serial: Serial(vec![1]),
            source: None,
        };
        request.extensions_mut().insert(alice.clone());
        assert_eq!(caller(&request).unwrap(), alice);
    }
}
