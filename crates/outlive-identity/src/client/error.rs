//! Why no connection came about.

use std::error::Error as StdError;
use std::io;

use rustls::AlertDescription as Alert;
use thiserror::Error;

/// Why no connection came about. Only [`Unreachable`](Self::Unreachable) is worth trying again as it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answered, or not in time.
    #[error("{0}")]
    Unreachable(String),
    /// The server did not accept the certificate that was shown.
    #[error("the server at {address} refused our certificate ({said}): {advice}")]
    Refused {
        /// Where.
        address: String,
        /// What it said.
        said: String,
        /// What to do.
        advice: &'static str,
    },
    /// The server's certificate does not prove that it is the one that was meant.
    #[error("the server at {address} cannot be trusted ({problem}): {advice}")]
    Untrusted {
        /// Where.
        address: String,
        /// What is wrong with its certificate.
        problem: String,
        /// What to do.
        advice: &'static str,
    },
    /// What answers does not speak TLS 1.3.
    #[error("what answers at {address} is no Outlive server: {said}")]
    Foreign {
        /// Where.
        address: String,
        /// What it said.
        said: String,
    },
    /// Our own certificate, key or authority cannot be used.
    #[error("{0}")]
    Credentials(String),
}

impl ConnectError {
    /// Finds one among an error's causes.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// Whether trying again as it is brings nothing: somebody has to change certificates or addresses first.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Unreachable(_))
    }

    /// What a handshake, or the first read behind it, failed with.
    pub(super) fn from_io(address: &str, error: &io::Error) -> Self {
        use rustls::Error as Tls;
        let address = address.to_owned();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) {
            Some(Tls::AlertReceived(alert)) => match refusal(*alert) {
                Some((said, advice)) => Self::Refused {
                    address,
                    said: said.to_owned(),
                    advice,
                },
                None => Self::Foreign {
                    address,
                    said: format!("it ended the handshake ({alert:?})"),
                },
            },
            Some(Tls::InvalidCertificate(problem)) => Self::Untrusted {
                address,
                problem: problem.to_string(),
                advice: "take the context file that this server's administrator gave you, or the address that its certificate names",
            },
            Some(Tls::InvalidMessage(_)) => Self::Foreign {
                address,
                said: "it does not speak TLS".to_owned(),
            },
            Some(Tls::PeerIncompatible(_)) => Self::Foreign {
                address,
                said: "it does not speak TLS 1.3".to_owned(),
            },
            Some(error) => Self::Foreign {
                address,
                said: error.to_string(),
            },
            None => Self::Unreachable(format!("the connection broke in the handshake: {error}")),
        }
    }
}

/// What an alert says about our certificate, and what to do; `None` where it is about something else.
fn refusal(alert: Alert) -> Option<(&'static str, &'static str)> {
    const AGAIN: &str = "ask an administrator for a new one (`outlive access issue NAME --renew`)";
    const OTHER: &str = "it is not one of this server's authority; ask its administrator for one";
    let refusal = match alert {
        Alert::CertificateExpired => ("it has expired, or is not valid yet", AGAIN),
        Alert::CertificateRevoked => ("it was revoked", AGAIN),
        Alert::UnknownCA => ("it does not know the authority that signed it", OTHER),
        Alert::CertificateRequired => ("it wants one", OTHER),
        Alert::UnsupportedCertificate => (
            "it is not a client's",
            "use a certificate that was issued for calling, not a server's",
        ),
        Alert::CertificateUnknown => (
            "it names no identity",
            "its common name must be 1 to 64 letters, digits and . _ - @ + : /",
        ),
        Alert::BadCertificate | Alert::DecryptError | Alert::AccessDenied => ("it does not verify", OTHER),
        _ => return None,
    };
    Some(refusal)
}
