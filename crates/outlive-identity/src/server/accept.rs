//! One handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::tls::ServerTls;
use super::verifier::Witness;
use crate::Name;
use crate::certificate::Certificate;

/// A finished handshake.
pub(super) struct Accepted {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) certificate: Certificate,
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The edition of the trust under which it was accepted.
    pub(super) edition: u64,
}

/// A handshake that failed.
pub(super) struct Failed {
    pub(super) claimed: Option<Name>,
    pub(super) reason: String,
}

pub(super) async fn accept(
    tls: &ServerTls,
    stream: TcpStream,
    timeout: Duration,
) -> Result<Accepted, Failed> {
    let trust = tls.trust();
    let witness = Arc::new(Witness::new(Arc::clone(&trust.verifier)));
    let failed = |reason: String| Failed {
        claimed: witness.shown().map(|certificate| certificate.name.clone()),
        reason,
    };
    let config = tls
        .config(&trust, Arc::clone(&witness))
        .map_err(|error| failed(error.to_string()))?;
    // Answers are small: each waits for nothing.
    let _ = stream.set_nodelay(true);
    let handshake = TlsAcceptor::from(Arc::new(config)).accept(stream);
    let stream = match tokio::time::timeout(timeout, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failed(reason(&error))),
        Err(_) => return Err(failed(format!("no handshake within {} s", timeout.as_secs_f32()))),
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain: Vec<_> = certificates.iter().map(|one| one.clone().into_owned()).collect();
    let certificate = witness.shown().cloned();
    let certificate = certificate.ok_or_else(|| failed("no client certificate".to_owned()))?;
    Ok(Accepted {
        stream,
        certificate,
        chain,
        edition: trust.edition,
    })
}

/// What went wrong, in words of ours where rustls's are for programmers.
fn reason(error: &io::Error) -> String {
    use rustls::Error as Tls;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
    match inner {
        Some(Tls::NoCertificatesPresented) => "no client certificate".to_owned(),
        Some(Tls::InvalidCertificate(problem)) => format!("client certificate refused: {problem}"),
        Some(Tls::PeerIncompatible(problem)) => format!("does not speak TLS 1.3 as it should: {problem:?}"),
        Some(Tls::InvalidMessage(_)) => "does not speak TLS".to_owned(),
        Some(Tls::AlertReceived(alert)) => format!("the client refused us: {alert:?}"),
        Some(error) => error.to_string(),
        None => format!("the connection broke in the handshake: {error}"),
    }
}
