//! Certificates that prove nothing, shown to the control listener: each is refused in the handshake, before a single
//! request can be made.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use outlive_identity::{Authority, Credentials, DEFAULT_VALIDITY};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls::AlertDescription as Alert;

use crate::bystander::Bystander;
use crate::people::People;
use crate::session;
use crate::stranger::{Outcome, knock};
use crate::support::{Serve, World};

struct Scene {
    world: World,
    serve: Serve,
}

impl Scene {
    fn new() -> Self {
        let world = World::in_memory();
        let serve = world.serve();
        Self { world, serve }
    }

    fn control(&self) -> &str {
        self.serve.ready["control"].as_str().unwrap()
    }

    fn trust(&self, name: &str) -> String {
        std::fs::read_to_string(self.world.trust().join(name)).unwrap()
    }

    fn issuer(&self) -> Issuer<'static, KeyPair> {
        let key = KeyPair::from_pem(&self.trust("authority.key.pem")).unwrap();
        Issuer::from_ca_cert_pem(&self.trust("authority.pem"), key).unwrap()
    }

    /// A client's certificate of the real authority, but for what `change` changes.
    fn made(&self, change: impl FnOnce(&mut CertificateParams)) -> Credentials {
        let mut params = client("mallory");
        change(&mut params);
        signed(&params, &self.issuer())
    }
}

fn client(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn signed(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Credentials {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    Credentials {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem().into(),
    }
}

fn shown(credentials: &Credentials) -> Option<(&str, &str)> {
    Some((&credentials.certificate_pem, &credentials.key_pem))
}

#[test]
fn who_shows_no_certificate_of_the_authority_is_refused_in_the_handshake() {
    let scene = Scene::new();
    let people = People::of(&scene.world);
    let bystander = Bystander::start(session(&scene.world));
    let good = people.credentials("tenant");
    assert_eq!(
        knock(scene.control(), shown(&good)),
        Outcome::LetIn,
        "so it can be done"
    );

    let own_key = KeyPair::generate().unwrap();
    let self_signed = Credentials {
        certificate_pem: client("administrator").self_signed(&own_key).unwrap().pem(),
        key_pem: own_key.serialize_pem().into(),
    };
    let other = Authority::generate().unwrap();
    // Of the same name as the real one, byte for byte.
    let twins_key = KeyPair::generate().unwrap();
    let twin = Issuer::from_ca_cert_pem(&scene.trust("authority.pem"), twins_key).unwrap();
    // Signed by a tenant with the key of its own certificate, which is no authority's.
    let tenants_key = KeyPair::from_pem(&good.key_pem).unwrap();
    let tenant = Issuer::from_ca_cert_pem(&good.certificate_pem, tenants_key).unwrap();
    let mut by_a_tenant = signed(&client("administrator"), &tenant);
    by_a_tenant.certificate_pem.push_str(&good.certificate_pem);
    let administrators = scene.trust("administrator.pem");
    let long_ago = rcgen::date_time_ymd(2001, 1, 1);
    let never_yet = rcgen::date_time_ymd(3001, 1, 1);

    let cases: Vec<(&str, Credentials, &[Alert])> = vec![
        (
            "self-signed",
            self_signed,
            &[Alert::UnknownCA, Alert::BadCertificate],
        ),
        (
            "of another authority",
            other
                .issue_client(&"administrator".parse().unwrap(), DEFAULT_VALIDITY)
                .unwrap(),
            &[Alert::UnknownCA],
        ),
        (
            "of an authority of the same name",
            signed(&client("administrator"), &twin),
            &[Alert::UnknownCA, Alert::DecryptError, Alert::BadCertificate],
        ),
        (
            "signed by a tenant",
            by_a_tenant,
            &[Alert::UnknownCA, Alert::BadCertificate, Alert::CertificateUnknown],
        ),
        (
            "expired",
            scene.made(|it| it.not_after = long_ago + Duration::from_secs(1)),
            &[Alert::CertificateExpired],
        ),
        (
            "not valid yet",
            scene.made(|it| it.not_before = never_yet),
            &[Alert::BadCertificate, Alert::CertificateExpired],
        ),
        (
            "a server's",
            scene.made(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            &[Alert::UnsupportedCertificate, Alert::BadCertificate],
        ),
        (
            "the server's own",
            Credentials {
                certificate_pem: scene.trust("server.pem"),
                key_pem: scene.trust("server.key.pem").into(),
            },
            &[Alert::UnsupportedCertificate, Alert::BadCertificate],
        ),
        (
            "the administrator's, without its key",
            Credentials {
                certificate_pem: administrators,
                key_pem: KeyPair::generate().unwrap().serialize_pem().into(),
            },
            &[Alert::DecryptError, Alert::BadCertificate],
        ),
    ];
    for (what, credentials, alerts) in &cases {
        assert_refused(&scene, what, shown(credentials), alerts);
    }
    assert_refused(&scene, "none", None, &[Alert::CertificateRequired]);
    assert_eq!(
        knock(scene.control(), shown(&good)),
        Outcome::LetIn,
        "and still can"
    );
    bystander.finish();
}

#[test]
fn a_certificate_that_names_nobody_or_several_is_refused() {
    let scene = Scene::new();
    let named = |names: &[&str]| {
        scene.made(|it| {
            it.distinguished_name = rcgen::DistinguishedName::new();
            for name in names {
                it.distinguished_name
                    .push(DnType::CommonName, DnValue::Utf8String((*name).to_owned()));
            }
        })
    };
    let cases: [&[&str]; 7] = [
        &[],
        &[""],
        &["administrator\0.example"],
        &["administrator "],
        &["administrator\n"],
        &["ädministrator"],
        &[&"a".repeat(65)],
    ];
    for names in cases {
        let credentials = named(names);
        assert_refused(
            &scene,
            &format!("{names:?}"),
            shown(&credentials),
            &[Alert::CertificateUnknown, Alert::BadCertificate],
        );
    }
}

#[test]
fn a_listed_certificate_is_refused_and_its_open_connection_ended() {
    let scene = Scene::new();
    let people = People::of(&scene.world);
    let serial = SerialNumber::from(vec![0x51, 2, 3, 4]);
    let stolen = scene.made(|it| it.serial_number = Some(serial.clone()));
    let kept = people.credentials("tenant");
    assert_eq!(knock(scene.control(), shown(&stolen)), Outcome::LetIn);
    let mut open = crate::wire::Control::with(&people.context_with("mallory", &stolen));
    let call = |control: &mut crate::wire::Control| {
        let request = outlive_proto::v1::WhoAmIRequest {};
        control
            .runtime
            .block_on(control.client.who_am_i(request))
            .map(drop)
    };
    call(&mut open).unwrap();

    let day = Duration::from_secs(24 * 3600);
    let now = rcgen::date_time_ymd(2020, 1, 1);
    let list = CertificateRevocationListParams {
        this_update: now,
        next_update: rcgen::date_time_ymd(3000, 1, 1) + day,
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: serial,
            revocation_time: now,
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&scene.issuer()).unwrap().pem().unwrap();
    std::fs::write(scene.world.trust().join("revoked.pem"), list).unwrap();
    scene.serve.process.signal(rustix::process::Signal::HUP);

    let deadline = Instant::now() + Duration::from_secs(10);
    while knock(scene.control(), shown(&stolen)) == Outcome::LetIn {
        assert!(Instant::now() < deadline, "the list is not taken notice of");
    }
    assert_eq!(
        knock(scene.control(), shown(&stolen)),
        Outcome::Refused(Alert::CertificateRevoked)
    );
    while call(&mut open).is_ok() {
        assert!(Instant::now() < deadline, "its open connection goes on");
    }
    assert_eq!(
        knock(scene.control(), shown(&kept)),
        Outcome::LetIn,
        "nobody else is"
    );
}

#[test]
fn nothing_older_than_tls_1_3_is_spoken() {
    let scene = Scene::new();
    for (what, hello) in [
        ("1.2", older_hello(&[])),
        ("1.1 and 1.2 named", older_hello(&[0x0303, 0x0302])),
    ] {
        let mut stream = TcpStream::connect(scene.control()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(&hello).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        // An alert, fatal: protocol version.
        assert_eq!(said.first(), Some(&21), "{what}: {said:?}");
        assert_eq!(said[5..7], [2, 70], "{what}: {said:?}");
    }
}

/// A client's hello of TLS 1.2, with good algorithms of its time; it names these versions as supported.
fn older_hello(versions: &[u16]) -> Vec<u8> {
    let extension = |kind: u16, body: &[u8]| {
        let len = u16::try_from(body.len()).unwrap();
        [&kind.to_be_bytes()[..], &len.to_be_bytes(), body].concat()
    };
    let mut extensions = [
        extension(10, &[0, 4, 0, 29, 0, 23]),
        extension(11, &[1, 0]),
        extension(13, &[0, 6, 4, 3, 8, 4, 4, 1]),
        extension(16, &[0, 3, 2, b'h', b'2']),
        extension(23, &[]),
    ]
    .concat();
    if !versions.is_empty() {
        let mut body = vec![u8::try_from(versions.len() * 2).unwrap()];
        body.extend(versions.iter().flat_map(|version| version.to_be_bytes()));
        extensions.extend(extension(43, &body));
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    let suites: [u16; 4] = [0xc02f, 0xc02b, 0xcca8, 0x009c];
    body.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    body.extend([1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &len[1..], &body].concat();
    let len = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&[22, 3, 1], &len[..], &message].concat()
}

fn assert_refused(scene: &Scene, what: &str, certificate: Option<(&str, &str)>, alerts: &[Alert]) {
    match knock(scene.control(), certificate) {
        Outcome::Refused(alert) => assert!(alerts.contains(&alert), "{what}: {alert:?}"),
        other => panic!("{what}: {other:?}"),
    }
}
