//! Encryption of data connections: TLS 1.3, the target shows a certificate, the initiator has it pinned.
//!
//! The certificate proves nothing by itself: it is made anew at each start, and its initiators learn it from the
//! manager. Who may come in is decided by the ticket, whose proofs are bound to the encrypted connection.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use thiserror::Error;

use crate::proof::ChannelBinding;

/// The name in every certificate: initiators look for it, and for exactly the certificate that they were told.
const NAME: &str = "outlive-data";
/// What the exported keying material is for.
pub(crate) const EXPORTER_LABEL: &[u8] = b"EXPORTER-outlive-data-2";
/// The first byte of a TLS handshake; an unencrypted hello begins with another.
pub(super) const HANDSHAKE_BYTE: u8 = 0x16;

/// Whether a target's data connections are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// None is.
    Off,
    /// As the initiator likes.
    Allow,
    /// All are.
    Require,
}

impl TlsPolicy {
    /// What is right for an address that data connections come to: nothing leaves the host on loopback, so nothing is
    /// encrypted there; everything else is.
    pub fn default_for(address: IpAddr) -> Self {
        if address.to_canonical().is_loopback() {
            Self::Off
        } else {
            Self::Require
        }
    }

    /// Whether an initiator encrypts its connection to `address` (`host:port`): where it may choose, everywhere but
    /// on loopback.
    pub fn encrypts(self, address: &str) -> bool {
        match self {
            Self::Off => false,
            Self::Allow => !is_loopback(address),
            Self::Require => true,
        }
    }
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let parsed = host.parse::<IpAddr>();
    host == "localhost" || parsed.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// A certificate that encryption cannot be set up with.
#[derive(Debug, Error)]
#[error("the data connection's encryption cannot be set up: {0}")]
pub struct TlsError(String);

impl TlsError {
    fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// A target's certificate and key for its data connections, for as long as it runs. Clones are the same one.
#[derive(Clone)]
pub struct DataCertificate {
    der: CertificateDer<'static>,
    config: Arc<ServerConfig>,
}

impl DataCertificate {
    /// Makes one. Its key exists nowhere else.
    ///
    /// # Errors
    /// [`TlsError`], where the operating system has no randomness.
    pub fn ephemeral() -> Result<Self, TlsError> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(TlsError::new)?;
        let der = made.cert.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::new)?
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], key);
        let mut config = config.map_err(TlsError::new)?;
        // A ticket lets in once, so there is nothing to resume.
        config.send_tls13_tickets = 0;
        Ok(Self {
            der,
            config: Arc::new(config),
        })
    }

    /// The certificate, for initiators to pin.
    pub fn pinned(&self) -> PinnedCertificate {
        PinnedCertificate(self.der.to_vec())
    }

    pub(super) fn accept(&self) -> Result<ServerConnection, rustls::Error> {
        ServerConnection::new(Arc::clone(&self.config))
    }
}

impl fmt::Debug for DataCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataCertificate(…)")
    }
}

/// How a listener encrypts.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// Which connections.
    pub policy: TlsPolicy,
    /// With which certificate.
    pub certificate: DataCertificate,
}

/// The one certificate (DER) that an initiator takes its target by.
#[derive(Clone, PartialEq, Eq)]
pub struct PinnedCertificate(Vec<u8>);

impl PinnedCertificate {
    /// Pins a certificate in DER.
    pub fn new(der: Vec<u8>) -> Self {
        Self(der)
    }

    /// The certificate.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// The initiator's side of an encrypted connection.
    ///
    /// # Errors
    /// [`TlsError`] where it is not a certificate.
    pub(crate) fn connect(&self) -> Result<ClientConnection, TlsError> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from(self.0.clone());
        roots.add(certificate).map_err(TlsError::new)?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::new)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        let name = ServerName::try_from(NAME).map_err(TlsError::new)?;
        ClientConnection::new(Arc::new(config), name).map_err(TlsError::new)
    }
}

impl fmt::Debug for PinnedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedCertificate({} bytes)", self.0.len())
    }
}

/// What ties proofs to an encrypted connection whose handshake is over.
pub(crate) fn binding(session: &rustls::Connection) -> Result<ChannelBinding, rustls::Error> {
    session.export_keying_material(ChannelBinding::default(), EXPORTER_LABEL, None)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_not_encrypted_by_itself() {
        for (address, policy) in [
            ("127.0.0.1", TlsPolicy::Off),
            ("::1", TlsPolicy::Off),
            ("::ffff:127.0.0.9", TlsPolicy::Off),
            ("0.0.0.0", TlsPolicy::Require),
            ("::", TlsPolicy::Require),
            ("10.0.0.1", TlsPolicy::Require),
        ] {
            assert_eq!(
                TlsPolicy::default_for(address.parse().expect("an address")),
                policy
            );
        }
    }

    #[test]
    fn an_initiator_encrypts_what_leaves_its_host() {
        for address in ["127.0.0.1:7", "[::1]:7", "localhost:7", "[::ffff:127.0.0.1]:7"] {
            assert!(!TlsPolicy::Allow.encrypts(address), "{address}");
            assert!(TlsPolicy::Require.encrypts(address));
        }
        for address in [
            "10.0.0.1:7",
            "unit.example:7",
            "127.0.0.1.example:7",
            "[2001:db8::1]:7",
        ] {
            assert!(TlsPolicy::Allow.encrypts(address), "{address}");
            assert!(!TlsPolicy::Off.encrypts(address));
        }
    }

    #[test]
    fn what_is_no_certificate_cannot_be_pinned() {
        let error = PinnedCertificate::new(vec![1, 2, 3]).connect().err();
        assert!(error.is_some_and(|error| error.to_string().contains("cannot be set up")));
    }

    #[test]
    fn keys_are_not_printed() {
        let certificate = DataCertificate::ephemeral().expect("made");
        assert_eq!(format!("{certificate:?}"), "DataCertificate(…)");
    }
}
