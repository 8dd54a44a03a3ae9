//! Who is let in, and who is told what.

use std::time::Duration;

use outlive_identity::{Authority, Certificate, ConnectError, Credentials, DEFAULT_VALIDITY, ServerTls};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Server, client, client_tls, eventually, local_hosts, server_tls};

fn refused(result: Result<impl Sized, ConnectError>) -> String {
    match result {
        Err(error @ ConnectError::Refused { .. }) => error.to_string(),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was let in"),
    }
}

#[tokio::test]
async fn a_certificate_of_the_authority_is_let_in_under_its_name() {
    let authority = Authority::generate().unwrap();
    let mut server = Server::start(server_tls(&authority)).await;
    let alice = client(&authority, "alice@ward-7");
    let mut stream = server
        .connect(client_tls(authority.certificate_pem(), &alice))
        .await
        .unwrap();
    let mut greeting = [0; 6];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"let in");
    stream.write_all(b"echo").await.unwrap();
    stream.read_exact(&mut greeting[..4]).await.unwrap();
    assert_eq!(&greeting[..4], b"echo");
    let caller = server.callers.recv().await.unwrap();
    assert_eq!(caller.name.as_str(), "alice@ward-7");
    let shown = Certificate::from_pem(&alice.certificate_pem).unwrap();
    assert_eq!(caller.serial, shown.serial);
    assert!(caller.source.is_some());
}

#[tokio::test]
async fn another_authoritys_client_is_refused() {
    let (authority, other) = (Authority::generate().unwrap(), Authority::generate().unwrap());
    let server = Server::start(server_tls(&authority)).await;
    let mallory = client(&other, "alice");
    let error = refused(
        server
            .connect(client_tls(authority.certificate_pem(), &mallory))
            .await,
    );
    assert!(error.contains("does not know the authority"), "{error}");
    let rejected = server.await_rejected().await;
    assert_eq!(
        rejected.claimed.map(|name| name.to_string()).as_deref(),
        Some("alice")
    );
    assert!(rejected.reason.contains("UnknownIssuer"), "{}", rejected.reason);
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let authority = Authority::generate().unwrap();
    let server = Server::start(server_tls(&authority)).await;
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "administrator");
    let own = Credentials {
        certificate_pem: params.self_signed(&key).unwrap().pem(),
        key_pem: key.serialize_pem().into(),
    };
    refused(
        server
            .connect(client_tls(authority.certificate_pem(), &own))
            .await,
    );
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::generate().unwrap();
    let server = Server::start(server_tls(&authority)).await;
    let expired = authority
        .issue_client(&"a".parse().unwrap(), Duration::ZERO)
        .unwrap();
    let error = refused(
        server
            .connect(client_tls(authority.certificate_pem(), &expired))
            .await,
    );
    assert!(error.contains("expired") && error.contains("--renew"), "{error}");
}

#[tokio::test]
async fn a_servers_certificate_is_not_a_clients_and_the_other_way_round() {
    let authority = Authority::generate().unwrap();
    let server = Server::start(server_tls(&authority)).await;
    let name = "system/unit".parse().unwrap();
    let of_a_server = authority
        .issue_server(&name, &local_hosts(), DEFAULT_VALIDITY)
        .unwrap();
    let error = refused(
        server
            .connect(client_tls(authority.certificate_pem(), &of_a_server))
            .await,
    );
    assert!(error.contains("not a client's"), "{error}");

    let of_a_client = client(&authority, "alice");
    let impostor = ServerTls::new(authority.certificate_pem(), &of_a_client).unwrap();
    let impostor = Server::start(impostor).await;
    let result = impostor
        .connect(client_tls(authority.certificate_pem(), &of_a_client))
        .await;
    assert!(
        matches!(result, Err(ConnectError::Untrusted { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_certificate_that_names_nobody_is_refused() {
    let authority = Authority::generate().unwrap();
    let key = KeyPair::from_pem(&authority.key_pem()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(authority.certificate_pem(), &key).unwrap();
    let server = Server::start(server_tls(&authority)).await;
    for names in [&[][..], &["a b"], &["é"]] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        let nobody = Credentials {
            certificate_pem: params.signed_by(&key, &issuer).unwrap().pem(),
            key_pem: key.serialize_pem().into(),
        };
        let error = refused(
            server
                .connect(client_tls(authority.certificate_pem(), &nobody))
                .await,
        );
        assert!(error.contains("names no identity"), "{error}");
        let rejected = server.await_rejected().await;
        assert!(rejected.reason.contains("common name"), "{}", rejected.reason);
    }
}

#[tokio::test]
async fn a_server_of_another_authority_or_another_host_is_not_trusted() {
    let (authority, other) = (Authority::generate().unwrap(), Authority::generate().unwrap());
    let server = Server::start(server_tls(&authority)).await;
    let alice = client(&authority, "alice");
    let result = server.connect(client_tls(other.certificate_pem(), &alice)).await;
    assert!(
        matches!(result, Err(ConnectError::Untrusted { .. })),
        "{result:?}"
    );

    let tls = client_tls(authority.certificate_pem(), &alice);
    let elsewhere = tls.clone().server_name(Some("elsewhere.example".to_owned()));
    let result = server.connect(elsewhere).await;
    assert!(
        matches!(result, Err(ConnectError::Untrusted { .. })),
        "{result:?}"
    );
    let named = tls.clone().server_name(Some("localhost".to_owned()));
    server.connect(named).await.unwrap();

    let expecting = |name: &str| tls.clone().expecting(name.parse().unwrap());
    server.connect(expecting("system/server")).await.unwrap();
    let result = server.connect(expecting("system/unit")).await;
    let Err(ConnectError::Untrusted { problem, .. }) = result else {
        panic!("{result:?}");
    };
    assert!(problem.contains("system/unit"), "{problem}");
}

#[tokio::test]
async fn without_a_certificate_nobody_is_let_in() {
    let authority = Authority::generate().unwrap();
    let mut server = Server::start(server_tls(&authority)).await;
    let mut roots = rustls::RootCertStore::empty();
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(authority.certificate_pem().as_bytes());
    roots.add(der.unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let error = stream.read(&mut [0; 1]).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    let rejected = server.await_rejected().await;
    assert_eq!(rejected.reason, "no client certificate");
    assert!(server.callers.try_recv().is_err());
}

/// A hello of TLS 1.2, as a client of that time would send it.
fn tls12_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0x5a; 32]);
    body.push(0);
    // ECDHE-ECDSA and ECDHE-RSA with AES-128-GCM.
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f]);
    body.extend([1, 0]);
    let mut extensions: Vec<u8> = Vec::new();
    // Groups: P-256. Point formats: uncompressed. Signatures: ECDSA and RSA with SHA-256.
    extensions.extend([0, 10, 0, 4, 0, 2, 0, 23]);
    extensions.extend([0, 11, 0, 2, 1, 0]);
    extensions.extend([0, 13, 0, 6, 0, 4, 4, 3, 4, 1]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut handshake = vec![1, 0];
    handshake.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    handshake.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(handshake.len()).unwrap().to_be_bytes());
    record.extend(handshake);
    record
}

#[tokio::test]
async fn tls_1_2_is_not_spoken() {
    let authority = Authority::generate().unwrap();
    let server = Server::start(server_tls(&authority)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&tls12_hello()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    // An alert record: fatal, protocol_version.
    assert_eq!(answer[0], 21, "{answer:?}");
    assert_eq!(answer[5..], [2, 70], "{answer:?}");
    let rejected = server.await_rejected().await;
    assert!(rejected.reason.contains("TLS 1.3"), "{}", rejected.reason);
}

#[tokio::test]
async fn what_does_not_speak_tls_is_named_as_such() {
    let authority = Authority::generate().unwrap();
    let server = Server::start(server_tls(&authority)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
    let rejected = server.await_rejected().await;
    assert_eq!(rejected.reason, "does not speak TLS");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let foreign = outlive_identity::connector(
        client_tls(authority.certificate_pem(), &client(&authority, "a")),
        listener.local_addr().unwrap().to_string(),
        crate::support::PATIENCE,
    );
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let mut foreign = foreign;
    let result = tower::Service::call(&mut foreign, "https://x".parse().unwrap()).await;
    assert!(matches!(result, Err(ConnectError::Foreign { .. })));
}

#[tokio::test]
async fn a_connection_ends_when_its_certificate_expires() {
    let authority = Authority::generate().unwrap();
    let server = Server::start(server_tls(&authority)).await;
    let brief = authority
        .issue_client(&"a".parse().unwrap(), Duration::from_secs(3))
        .unwrap();
    let mut stream = server
        .connect(client_tls(authority.certificate_pem(), &brief))
        .await
        .unwrap();
    // The server says nothing more, so whatever comes is the end.
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(crate::support::PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection outlives its certificate");
    refused(
        server
            .connect(client_tls(authority.certificate_pem(), &brief))
            .await,
    );
}

#[tokio::test]
async fn a_flood_of_failures_is_counted_and_locks_nobody_out() {
    let authority = Authority::generate().unwrap();
    let mut server = Server::start(server_tls(&authority)).await;
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"nonsense, and more of it\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let told = server.rejected.lock().unwrap().len();
    assert!(told < 50, "{told} of 100 were told");
    let alice = client(&authority, "alice");
    server
        .connect(client_tls(authority.certificate_pem(), &alice))
        .await
        .unwrap();
    server.callers.recv().await.unwrap();
    // The next that is told says how many were not.
    let rejected = eventually(|| {
        let _ = std::net::TcpStream::connect(server.address)
            .and_then(|mut stream| std::io::Write::write_all(&mut stream, b"nonsense"));
        server
            .rejected
            .lock()
            .unwrap()
            .iter()
            .find(|one| one.untold > 0)
            .cloned()
    })
    .await;
    assert!(rejected.untold > 0);
}
