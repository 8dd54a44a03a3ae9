//! What both sides of a control connection agree on: TLS 1.3, HTTP/2, one set of algorithms.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::version::TLS13;

use crate::IdentityError;
use crate::credentials::certificates;

/// Nothing older is spoken.
pub(crate) const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13];
/// HTTP/2, which gRPC runs on.
pub(crate) const ALPN: &[u8] = b"h2";

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), IdentityError> {
    provider()
        .secure_random
        .fill(bytes)
        .map_err(|_| IdentityError::Randomness)
}

/// The authorities of a PEM text.
pub(crate) fn roots(what: &str, pem: &str) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(what, pem)? {
        store.add(certificate).map_err(IdentityError::unusable(what))?;
    }
    Ok(Arc::new(store))
}
