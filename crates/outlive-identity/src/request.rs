//! Asks an authority for a certificate without showing it the key.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use zeroize::Zeroizing;

use crate::{Credentials, IdentityError, Name};

/// A new private key and the request to sign a certificate for it (PKCS#10). The key stays here.
pub struct SigningRequest {
    der: Vec<u8>,
    key_pem: Zeroizing<String>,
}

impl SigningRequest {
    /// Makes a key and a request for `name`.
    ///
    /// # Errors
    /// [`IdentityError::Randomness`], [`IdentityError::Request`].
    pub fn new(name: &Name) -> Result<Self, IdentityError> {
        let key = Zeroizing::new(KeyPair::generate().map_err(|_| IdentityError::Randomness)?);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        let request = params
            .serialize_request(&*key)
            .map_err(|error| IdentityError::Request(error.to_string()))?;
        Ok(Self {
            der: request.der().to_vec(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// The request, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate that came back, with the key.
    ///
    /// # Errors
    /// [`IdentityError::Unusable`] where the certificate is not for this key.
    pub fn into_credentials(self, certificate_pem: String) -> Result<Credentials, IdentityError> {
        let credentials = Credentials {
            certificate_pem,
            key_pem: self.key_pem,
        };
        credentials.certified(&crate::tls::provider())?;
        Ok(credentials)
    }
}

impl fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningRequest").finish_non_exhaustive()
    }
}
