//! Messages that carry a secret, shown without it: whoever logs one must not give the secret away.

use std::fmt;

use crate::v1::{AdmitRequest, AttachRequest, Opened};

/// Stands where a secret is.
const HIDDEN: &str = "…";

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("region", &self.region)
            .field("data_address", &self.data_address)
            .field("incarnation", &self.incarnation)
            .field("identity", &self.identity)
            .field("generation", &self.generation)
            .field("writable", &self.writable)
            .field("data_tls", &self.data_tls)
            .field("ticket_secret", &HIDDEN)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AdmitRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmitRequest")
            .field("manager_generation", &self.manager_generation)
            .field("region", &self.region)
            .field("identity", &self.identity)
            .field("writable", &self.writable)
            .field("generation", &self.generation)
            .field("valid_ms", &self.valid_ms)
            .field("secret", &HIDDEN)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AttachRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachRequest")
            .field("manager", &self.manager)
            .field("proof", &HIDDEN)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_shows_its_secret() {
        let secret = vec![0xab; 32];
        let shown = [
            format!(
                "{:?}",
                Opened {
                    ticket_secret: secret.clone(),
                    ..Opened::default()
                }
            ),
            format!(
                "{:?}",
                AdmitRequest {
                    secret: secret.clone(),
                    ..AdmitRequest::default()
                }
            ),
            format!(
                "{:?}",
                AttachRequest {
                    proof: secret,
                    ..AttachRequest::default()
                }
            ),
        ];
        for shown in shown {
            assert!(!shown.contains("171") && shown.contains(HIDDEN), "{shown}");
        }
    }
}
