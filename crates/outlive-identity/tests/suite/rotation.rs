//! Certificates are replaced while everything runs.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use outlive_identity::{Authority, Certificate, ConnectError, Folder, Party};
use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber};
use tokio::io::AsyncReadExt;

use crate::support::{PATIENCE, Server, client, client_tls, local_hosts};

const SERVES: &[Party] = &[Party::Server, Party::Manager];

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_its_connections_end() {
    let folder = tempfile::tempdir().unwrap();
    let trust = Folder::prepare(&folder.path().join("trust"), SERVES, &local_hosts()).unwrap();
    let tls = trust.server_tls(Party::Server).unwrap();
    let server = Server::start(tls.clone()).await;
    let authority = trust.authority().unwrap().unwrap();
    let (alice, bob) = (client(&authority, "alice"), client(&authority, "bob"));
    let roots = trust.roots_pem().unwrap();
    let mut of_alice = server.connect(client_tls(&roots, &alice)).await.unwrap();
    let mut of_bob = server.connect(client_tls(&roots, &bob)).await.unwrap();

    std::fs::write(
        trust.path().join("revoked.pem"),
        revocation(&authority, &alice.certificate_pem),
    )
    .unwrap();
    tls.reload().unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, of_alice.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection outlives the revocation");
    let result = server.connect(client_tls(&roots, &alice)).await;
    assert!(
        matches!(&result, Err(ConnectError::Refused { said, .. }) if said.contains("revoked")),
        "{result:?}"
    );
    server.connect(client_tls(&roots, &bob)).await.unwrap();
    of_bob.read_exact(&mut [0; 6]).await.unwrap();

    // A list that is only being written lifts nothing.
    std::fs::write(trust.path().join("revoked.pem"), "").unwrap();
    assert!(tls.reload().is_err());
    assert!(server.connect(client_tls(&roots, &alice)).await.is_err());
}

#[tokio::test]
async fn replaced_files_count_without_being_told() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let trust = Folder::prepare(&first, SERVES, &local_hosts()).unwrap();
    let other = Folder::prepare(&second, SERVES, &local_hosts()).unwrap();
    let server = Server::start(trust.server_tls(Party::Server).unwrap()).await;
    // Read at each connect, too.
    let calling = trust.client_tls(Party::Manager);
    server.connect(calling.clone()).await.unwrap();
    let theirs = other.client_tls(Party::Manager);
    assert!(server.connect(theirs.clone()).await.is_err());

    for name in [
        "server.key.pem",
        "server.pem",
        "manager.key.pem",
        "manager.pem",
        "authority.pem",
    ] {
        let staged = first.join("staged");
        std::fs::copy(second.join(name), &staged).unwrap();
        std::fs::rename(&staged, first.join(name)).unwrap();
    }
    let began = std::time::Instant::now();
    while server.connect(theirs.clone()).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "the files were never looked at");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.connect(calling).await.unwrap();
}

#[tokio::test]
async fn unusable_files_leave_the_ones_before_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let trust = Folder::prepare(&folder.path().join("trust"), SERVES, &local_hosts()).unwrap();
    let tls = trust.server_tls(Party::Server).unwrap();
    let server = Server::start(tls.clone()).await;
    let calling = trust.client_tls(Party::Manager);
    server.connect(calling.clone()).await.unwrap();
    std::fs::write(trust.path().join("server.pem"), "nothing").unwrap();
    std::fs::write(trust.path().join("manager.pem"), "nothing").unwrap();
    let error = tls.reload().unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    server.connect(calling).await.unwrap();
    let fresh = trust.client_tls(Party::Manager);
    let result = server.connect(fresh).await;
    assert!(matches!(result, Err(ConnectError::Credentials(_))), "{result:?}");
}

#[tokio::test]
async fn a_list_of_revoked_certificates_that_vanishes_lifts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let trust = Folder::prepare(folder.path(), SERVES, &local_hosts()).unwrap();
    let authority = trust.authority().unwrap().unwrap();
    let (alice, bob) = (client(&authority, "alice"), client(&authority, "bob"));
    let listed = trust.path().join("revoked.pem");
    std::fs::write(&listed, revocation(&authority, &alice.certificate_pem)).unwrap();
    let tls = trust.server_tls(Party::Server).unwrap();
    let server = Server::start(tls.clone()).await;
    let roots = trust.roots_pem().unwrap();

    std::fs::remove_file(&listed).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(
        error.contains("revoked.pem") && error.contains("restart"),
        "{error}"
    );
    assert!(server.connect(client_tls(&roots, &alice)).await.is_err());
    server.connect(client_tls(&roots, &bob)).await.unwrap();

    std::fs::write(&listed, revocation(&authority, &bob.certificate_pem)).unwrap();
    tls.reload().unwrap();
    server.connect(client_tls(&roots, &alice)).await.unwrap();
    assert!(server.connect(client_tls(&roots, &bob)).await.is_err());
}

#[tokio::test]
async fn what_could_not_be_read_is_tried_again_though_it_looks_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let trust = Folder::prepare(folder.path(), SERVES, &local_hosts()).unwrap();
    let authority = trust.authority().unwrap().unwrap();
    let alice = client(&authority, "alice");
    let roots = trust.roots_pem().unwrap();
    let tls = trust.server_tls(Party::Server).unwrap();
    let server = Server::start(tls.clone()).await;
    server.connect(client_tls(&roots, &alice)).await.unwrap();
    // A mode is nothing that the look at the files sees: for it the failed attempt and the next are alike.
    let key = trust.path().join("server.key.pem");
    let open_to = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    open_to(0o640);
    let listed = trust.path().join("revoked.pem");
    std::fs::write(listed, revocation(&authority, &alice.certificate_pem)).unwrap();
    assert!(tls.reload().is_err());
    open_to(0o600);
    let began = std::time::Instant::now();
    while server.connect(client_tls(&roots, &alice)).await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "the files were never read again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn revocation(authority: &Authority, certificate_pem: &str) -> String {
    let serial = Certificate::from_pem(certificate_pem).unwrap().serial;
    let key = KeyPair::from_pem(&authority.key_pem()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(authority.certificate_pem(), &key).unwrap();
    let year = rcgen::date_time_ymd;
    let list = CertificateRevocationListParams {
        this_update: year(2020, 1, 1),
        next_update: year(2090, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(serial.0),
            revocation_time: year(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&issuer).unwrap().pem().unwrap()
}
