//! A typed reason inside a gRPC status.

use prost::Message;
use tonic::{Code, Status};

use crate::v1::{ErrorCode, ErrorDetail};

/// What the control plane refuses with: a code that programs act on and a line that people read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// The reason.
    pub code: ErrorCode,
    /// What was wrong and what to do, in one line.
    pub message: String,
    /// The region's generation, where that matters; else 0.
    pub generation: u64,
    /// The owner's advertised address, where that matters; else empty.
    pub owner: String,
    /// The right that was missing (`NO_ACCESS`), where saying so tells nothing about others; else empty.
    pub missing_right: String,
}

impl ControlError {
    /// An error without generation or owner.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            generation: 0,
            owner: String::new(),
            missing_right: String::new(),
        }
    }

    /// Names the right that was missing.
    #[must_use]
    pub fn missing(mut self, right: impl Into<String>) -> Self {
        self.missing_right = right.into();
        self
    }

    /// Names the region's current generation.
    #[must_use]
    pub fn at_generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    /// Names the region's owner.
    #[must_use]
    pub fn owned_by(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }
}

impl From<ControlError> for Status {
    fn from(error: ControlError) -> Self {
        let code = match error.code {
            ErrorCode::NoSuchRegion | ErrorCode::NoSuchPair => Code::NotFound,
            ErrorCode::RegionExists => Code::AlreadyExists,
            ErrorCode::NoSpace | ErrorCode::Limit => Code::ResourceExhausted,
            ErrorCode::NoAccess => Code::PermissionDenied,
            ErrorCode::Invalid => Code::InvalidArgument,
            ErrorCode::UnitUnreachable | ErrorCode::FenceUnconfirmed => Code::Unavailable,
            ErrorCode::MediaFailed => Code::DataLoss,
            ErrorCode::TimedOut => Code::DeadlineExceeded,
            ErrorCode::Owned | ErrorCode::Fenced | ErrorCode::LostRace | ErrorCode::Superseded => {
                Code::FailedPrecondition
            }
            ErrorCode::Unspecified => Code::Unknown,
        };
        let detail = ErrorDetail {
            code: error.code.into(),
            generation: error.generation,
            owner: error.owner,
            missing_right: error.missing_right,
        };
        Status::with_details(code, error.message, detail.encode_to_vec().into())
    }
}

/// Finds the typed reason in a status.
pub trait FromStatus {
    /// The reason, or `None` where the status came from the transport and not from our services.
    fn control_error(&self) -> Option<ControlError>;
}

impl FromStatus for Status {
    fn control_error(&self) -> Option<ControlError> {
        let detail = ErrorDetail::decode(self.details()).ok()?;
        let code = detail.code();
        (code != ErrorCode::Unspecified).then(|| ControlError {
            code,
            message: self.message().to_owned(),
            generation: detail.generation,
            owner: detail.owner,
            missing_right: detail.missing_right,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_the_status() {
        let error = ControlError::new(ErrorCode::Owned, "owned")
            .at_generation(7)
            .owned_by("a:1");
        assert_eq!(Status::from(error.clone()).control_error(), Some(error));
        assert_eq!(Status::unavailable("no route").control_error(), None);
    }
}
