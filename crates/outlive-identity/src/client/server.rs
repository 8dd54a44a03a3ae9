//! Looks at the server's certificate during the handshake.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use crate::Name;
use crate::certificate::Certificate;

/// Checks the server's certificate as the authority wants it, and the identity in it where one is expected.
#[derive(Debug)]
pub(super) struct NamedServer {
    inner: Arc<WebPkiServerVerifier>,
    expect: Option<Name>,
}

/// The certificate is good and another's.
#[derive(Debug, thiserror::Error)]
#[error("it is not {0}")]
struct Another(Name);

impl NamedServer {
    pub(super) fn new(inner: Arc<WebPkiServerVerifier>, expect: Option<Name>) -> Self {
        Self { inner, expect }
    }
}

impl ServerCertVerifier for NamedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.inner
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let Some(expect) = &self.expect else {
            return Ok(verified);
        };
        match Certificate::from_der(end_entity) {
            Ok(certificate) if certificate.name == *expect => Ok(verified),
            _ => {
                let other = OtherError(Arc::new(Another(expect.clone())));
                Err(Error::InvalidCertificate(CertificateError::Other(other)))
            }
        }
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
