//! A certificate with its private key.

use std::fmt;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::IdentityError;

/// A certificate (with those that lead to its authority, if there are any between) and its private key, both PEM.
/// The key is wiped when dropped and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The certificate first, then those between it and the authority.
    pub certificate_pem: String,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key_pem: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// For a handshake.
    pub(crate) fn certified(&self, provider: &CryptoProvider) -> Result<CertifiedKey, IdentityError> {
        let chain = certificates("the certificate", &self.certificate_pem)?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(IdentityError::unusable("the private key"))?;
        CertifiedKey::from_der(chain, key, provider)
            .map_err(IdentityError::unusable("the certificate with this private key"))
    }
}

/// At least one certificate.
pub(crate) fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(IdentityError::unusable(what))?;
    if found.is_empty() {
        return Err(IdentityError::unusable(what)("there is no certificate in it"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    #[test]
    fn the_key_is_never_shown() {
        let authority = Authority::generate().unwrap();
        let one = authority
            .issue_client(&"a".parse().unwrap(), crate::DEFAULT_VALIDITY)
            .unwrap();
        let shown = format!("{one:?}");
        assert!(!shown.contains("PRIVATE") && shown.len() < 40, "{shown}");
        assert!(one.key_pem.contains("PRIVATE"));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let authority = Authority::generate().unwrap();
        let issue = || {
            authority
                .issue_client(&"a".parse().unwrap(), crate::DEFAULT_VALIDITY)
                .unwrap()
        };
        let mixed = Credentials {
            certificate_pem: issue().certificate_pem,
            key_pem: issue().key_pem,
        };
        let error = mixed.certified(&crate::tls::provider()).unwrap_err();
        assert!(error.to_string().contains("with this private key"), "{error}");
    }
}
