//! Somebody with a certificate, or none, who speaks TLS to the control listener by hand.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
};

/// How HTTP/2 begins.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// How far it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server spoke to it.
    LetIn,
    /// The server said why not.
    Refused(AlertDescription),
    /// The server closed the connection.
    Closed,
}

/// An encrypted connection to the control listener.
pub(crate) type Channel = StreamOwned<ClientConnection, TcpStream>;

/// Connects showing this certificate chain (PEM) with this key (PEM), whether they belong together or not.
pub(crate) fn knock(address: &str, shown: Option<(&str, &str)>) -> Outcome {
    match speak(&mut call(address, shown)) {
        Ok(0) => Outcome::Closed,
        Ok(_) => Outcome::LetIn,
        Err(error) => match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            Some(rustls::Error::AlertReceived(alert)) => Outcome::Refused(*alert),
            Some(other) => panic!("{other}"),
            None => Outcome::Closed,
        },
    }
}

/// Connects, and leaves the rest to whoever calls.
pub(crate) fn call(address: &str, shown: Option<(&str, &str)>) -> Channel {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider.signature_verification_algorithms)));
    let mut config = match shown {
        Some((chain, key)) => {
            builder.with_client_cert_resolver(Arc::new(Shown(certified(&provider, chain, key))))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    StreamOwned::new(tls, socket)
}

/// In TLS 1.3 a client learns whether its certificate was taken from what the server says next.
fn speak(stream: &mut (impl Read + Write)) -> io::Result<usize> {
    let sent = stream.write_all(PREFACE).and_then(|()| stream.flush());
    let read = stream.read(&mut [0; 64]);
    sent.and(read)
}

/// A key with certificates that it need not belong to.
fn certified(provider: &CryptoProvider, chain: &str, key: &str) -> Arc<CertifiedKey> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    Arc::new(CertifiedKey::new(chain, key))
}

/// Shows what it has, whatever the server wants.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes any server for the right one: it is the server that is on trial here.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(
            "nothing but TLS 1.3 is spoken here".to_owned(),
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
