//! Looks at the client's certificate during the handshake.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use crate::certificate::Certificate;

/// Checks one client's certificate as the authorities want it, and that it names an identity; keeps what it said,
/// also where it was refused.
#[derive(Debug)]
pub(super) struct Witness {
    inner: Arc<dyn ClientCertVerifier>,
    shown: OnceLock<Certificate>,
}

/// The certificate was signed well and names nobody.
#[derive(Debug, thiserror::Error)]
#[error("the certificate names no identity: {0}")]
struct NamesNobody(String);

impl Witness {
    pub(super) fn new(inner: Arc<dyn ClientCertVerifier>) -> Self {
        Self {
            inner,
            shown: OnceLock::new(),
        }
    }

    /// What the client showed. Proven only if the handshake succeeded.
    pub(super) fn shown(&self) -> Option<&Certificate> {
        self.shown.get()
    }
}

impl ClientCertVerifier for Witness {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let says = Certificate::from_der(end_entity);
        if let Ok(certificate) = &says {
            // One look for each handshake.
            let _ = self.shown.set(certificate.clone());
        }
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        let certificate = says.map_err(|problem| {
            let other = OtherError(Arc::new(NamesNobody(problem)));
            Error::InvalidCertificate(CertificateError::Other(other))
        })?;
        // The verifier takes it during the whole last second; its connection would end in the same second.
        if certificate.expires <= SystemTime::now() {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
