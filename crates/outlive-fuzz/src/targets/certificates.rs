//! Certificates, keys, lists of revoked ones and signing requests, as text (PEM) and as bytes (DER), from a trust folder or a
//! client. Whatever they say, a certificate that is understood has a name that an identity may have, and nothing that a
//! fuzzer makes is trusted by a server or signed as a request: whose key it is cannot be proven by bytes.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use outlive_identity::{Authority, Certificate, Credentials, Folder, Name, Party, ServerTls, SigningRequest};
use pem::{LineEnding, Pem};

use super::folder;
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "certificates",
    about: "certificates, keys, revocations and signing requests, PEM and DER",
    run,
    seeds,
    // Parsers of others, a key that is made, a provider of cryptography.
    allowance_bytes: 2 << 20,
};

fn run(input: &[u8]) {
    let Some((&kind, bytes)) = input.split_first() else {
        return;
    };
    let text = |label: &str| match kind & 8 {
        0 => String::from_utf8_lossy(bytes).into_owned(),
        _ => pem::encode_config(
            &Pem::new(label, bytes),
            pem::EncodeConfig::new().set_line_ending(LineEnding::LF),
        ),
    };
    match kind % 5 {
        0 => certificate(&text("CERTIFICATE")),
        1 => key(&text("PRIVATE KEY")),
        2 => revoked(&text("X509 CRL")),
        3 => request(bytes),
        _ => trust(&text("CERTIFICATE")),
    }
}

fn certificate(pem: &str) {
    match Certificate::from_pem(pem) {
        Ok(certificate) => {
            let name: Result<Name, _> = certificate.name.as_str().parse();
            assert_eq!(name.as_ref(), Ok(&certificate.name));
            let _ = (
                certificate.expires_unix_ms(),
                certificate.expires_within(Duration::from_secs(60)),
            );
            assert!(!certificate.covers(&["nobody.example".into()]) || !certificate.hosts.is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn key(pem: &str) {
    let rig = rig();
    if let Err(error) = Authority::load(rig.authority.certificate_pem(), pem) {
        assert!(!error.to_string().contains("PRIVATE"), "a key is not shown");
    }
    let certificate_pem = rig.authority.certificate_pem().to_owned();
    let credentials = Credentials {
        certificate_pem,
        key_pem: pem.to_owned().into(),
    };
    let _ = ServerTls::new(rig.authority.certificate_pem(), &credentials);
}

/// As a trust folder's list, at a start.
fn revoked(pem: &str) {
    let path = rig().folder.join("revoked.pem");
    folder::write(&path, pem.as_bytes());
    let folder = Folder::open(&rig().folder, &[Party::Server]).expect("it was prepared");
    if let Err(error) = folder.server_tls(Party::Server) {
        assert!(!error.to_string().is_empty());
    }
    std::fs::remove_file(path).expect("it is ours");
}

fn request(der: &[u8]) {
    let name: Name = "carol".parse().expect("a name");
    if let Ok(issued) = rig()
        .authority
        .sign_request(der, &name, Duration::from_secs(3600))
    {
        let certificate = Certificate::from_pem(&issued.certificate_pem).expect("what we sign we understand");
        assert_eq!(certificate.name, name);
    }
}

fn trust(pem: &str) {
    if let Err(error) = ServerTls::new(pem, &rig().credentials) {
        assert!(!error.to_string().is_empty());
    }
}

/// What is made once: making keys takes long.
struct Rig {
    authority: Authority,
    credentials: Credentials,
    folder: PathBuf,
}

fn rig() -> &'static Rig {
    static RIG: OnceLock<Rig> = OnceLock::new();
    RIG.get_or_init(|| {
        let path = folder::private("certificates");
        let folder =
            Folder::prepare(&path, &[Party::Server], &["localhost".into()]).expect("an empty folder");
        Rig {
            authority: folder.authority().expect("it was made").expect("it was made"),
            credentials: folder.credentials(Party::Server).expect("they were made"),
            folder: path,
        }
    })
}

/// Keys are random, so these are not the same each time; the committed ones are of one time.
fn seeds() -> Vec<Seed> {
    let rig = rig();
    let request = SigningRequest::new(&"carol".parse().expect("a name")).expect("randomness");
    let der = pem::parse(rig.authority.certificate_pem())
        .expect("a certificate")
        .into_contents();
    let with = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    vec![
        (
            "certificate-pem",
            with(0, rig.credentials.certificate_pem.as_bytes()),
        ),
        ("certificate-der", with(10, &der)),
        (
            "key-pem",
            with(
                1,
                b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n",
            ),
        ),
        (
            "revoked-pem",
            with(2, b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"),
        ),
        ("request-der", with(3, request.der())),
        ("trust-der", with(14, &der)),
    ]
}
