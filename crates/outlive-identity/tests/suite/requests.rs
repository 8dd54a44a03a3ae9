//! Signing requests.

use std::time::{Duration, SystemTime};

use outlive_identity::{Authority, Certificate, DEFAULT_VALIDITY, IdentityError, Name, SigningRequest};

use crate::support::{Server, client_tls, server_tls};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_signed_request_lets_its_maker_in_under_the_name_that_was_granted() {
    let authority = Authority::generate().unwrap();
    // The request says another name; what counts is what the authority was told.
    let request = SigningRequest::new(&name("administrator")).unwrap();
    let issued = authority
        .sign_request(request.der(), &name("bob"), Duration::from_secs(3600))
        .unwrap();
    let says = Certificate::from_pem(&issued.certificate_pem).unwrap();
    assert_eq!(
        (says.name, says.serial, says.expires),
        (name("bob"), issued.serial.clone(), issued.expires)
    );
    assert_eq!(issued.serial.0.len(), 16);
    assert!(issued.expires <= SystemTime::now() + Duration::from_secs(3600));
    let mut server = Server::start(server_tls(&authority)).await;
    let credentials = request.into_credentials(issued.certificate_pem).unwrap();
    server
        .connect(client_tls(authority.certificate_pem(), &credentials))
        .await
        .unwrap();
    assert_eq!(server.callers.recv().await.unwrap().name, name("bob"));
}

#[test]
fn a_request_that_does_not_hold_is_refused() {
    let authority = Authority::generate().unwrap();
    let request = SigningRequest::new(&name("bob")).unwrap();
    let mut forged = request.der().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for bad in [&forged[..], b"", b"nonsense", &[0x30; 20_000]] {
        let error = authority
            .sign_request(bad, &name("bob"), DEFAULT_VALIDITY)
            .unwrap_err();
        assert!(matches!(error, IdentityError::Request(_)), "{error}");
    }
    let reserved = authority.sign_request(request.der(), &name("system/manager"), DEFAULT_VALIDITY);
    assert!(matches!(reserved, Err(IdentityError::Reserved(_))));
    let other = SigningRequest::new(&name("bob")).unwrap();
    let issued = authority
        .sign_request(other.der(), &name("bob"), DEFAULT_VALIDITY)
        .unwrap();
    assert!(
        request.into_credentials(issued.certificate_pem).is_err(),
        "another's certificate"
    );
}

#[test]
fn an_authority_is_the_same_after_it_was_stored() {
    let authority = Authority::generate().unwrap();
    let other = Authority::generate().unwrap();
    let roots = format!("{}{}", other.certificate_pem(), authority.certificate_pem());
    let again = Authority::load(&roots, &authority.key_pem()).unwrap();
    assert_eq!(again.certificate_pem(), authority.certificate_pem());
    assert!(Authority::load(other.certificate_pem(), &authority.key_pem()).is_err());
    let client = authority.issue_client(&name("a"), DEFAULT_VALIDITY).unwrap();
    let error = Authority::load(&client.certificate_pem, &client.key_pem).unwrap_err();
    assert!(error.to_string().contains("CA"), "{error}");
    assert!(!format!("{again:?}").contains("PRIVATE"));
}

#[test]
fn nothing_outlives_its_authority_and_serials_differ() {
    let authority = Authority::generate().unwrap();
    let issue = || {
        let issued = authority
            .issue_client(&name("a"), Duration::from_secs(u64::MAX / 4))
            .unwrap();
        Certificate::from_pem(&issued.certificate_pem).unwrap()
    };
    let (one, two) = (issue(), issue());
    assert!(one.expires < SystemTime::now() + Duration::from_secs(3660 * 24 * 3600));
    assert_ne!(one.serial, two.serial);
}
