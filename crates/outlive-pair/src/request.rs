//! What is asked of a member, and how it answers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Identifies a client session: 128 random bits, issued by the pair, never used again.
///
/// Printed and parsed as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub u128);

/// One request to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client session and this request's number in it: 1 for the first, then one more each.
    /// A request with a number is carried out once however often it is sent, by whichever member
    /// is primary; without one, a request that is sent again is carried out again.
    pub session: Option<(SessionId, u64)>,
    /// What the service gets.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without a session: carried out each time it is sent.
    pub fn plain(body: impl Into<Vec<u8>>) -> Self {
        Self {
            session: None,
            body: body.into(),
        }
    }

    /// A request that is carried out once.
    pub fn numbered(session: SessionId, number: u64, body: impl Into<Vec<u8>>) -> Self {
        Self {
            session: Some((session, number)),
            body: body.into(),
        }
    }
}

/// Why a call got no reply of the service.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// This member is not primary; the request was **not** carried out here.
    #[error("not primary{}", primary.as_ref().map(|at| format!("; the primary is {at}")).unwrap_or_default())]
    NotPrimary {
        /// Advertised address of the primary, where it is known.
        primary: Option<String>,
    },
    /// This member lost its role while the request was under way. The request **may** have been
    /// carried out: ask the new primary again under the same session and number.
    #[error(
        "the primary changed meanwhile; the outcome is unknown, send the request again under its session"
    )]
    OutcomeUnknown {
        /// Advertised address of the new primary, where it is known.
        primary: Option<String>,
    },
    /// The session was never opened, or was evicted because the bound on sessions was reached. The
    /// request was not carried out by this call, but may have been earlier.
    #[error("unknown session {session}: it was never opened, or it was evicted")]
    UnknownSession {
        /// As sent.
        session: SessionId,
    },
    /// The number does not follow the session's last one. Not carried out.
    #[error("request {number} is out of order: the session's next is {expected}")]
    OutOfOrder {
        /// As sent.
        number: u64,
        /// The number that the session's next request must have.
        expected: u64,
    },
    /// The request was carried out earlier, but its reply is no longer remembered. Never carried out twice.
    #[error("request {number} was carried out, but its reply is no longer remembered")]
    ReplyForgotten {
        /// As sent.
        number: u64,
    },
    /// The request is longer than one set of the pair's journal may be. Not carried out.
    #[error("the request has {bytes} bytes; at most {limit_bytes} fit")]
    TooLarge {
        /// Length of the request.
        bytes: usize,
        /// The bound.
        limit_bytes: usize,
    },
    /// The journal is full and no snapshot can make room for it. Not carried out.
    #[error("the pair's journal is full: {why}")]
    Full {
        /// Why there is no room.
        why: String,
    },
    /// The member has stopped. Not carried out.
    #[error("the member has stopped: {why}")]
    Stopped {
        /// Why.
        why: String,
    },
}

impl CallError {
    /// Whether the same request may be sent again (to the named primary, if any) with a chance of success.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::NotPrimary { .. } | Self::OutcomeUnknown { .. } | Self::Full { .. }
        )
    }
}

/// Text that is not a session id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a session id is 32 hexadecimal digits")]
pub struct ParseSessionIdError;

impl FromStr for SessionId {
    type Err = ParseSessionIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseSessionIdError);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| ParseSessionIdError)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_survives_its_text() {
        let id = SessionId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("".parse::<SessionId>(), Err(ParseSessionIdError));
        assert_eq!(
            "+123456789abcdef0011223344556677".parse::<SessionId>(),
            Err(ParseSessionIdError)
        );
        assert_eq!(
            "0123456789abcdef00112233445566778".parse::<SessionId>(),
            Err(ParseSessionIdError)
        );
    }
}
