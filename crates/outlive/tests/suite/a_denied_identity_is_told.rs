//! Who loses a right loses it on open connections, and is told so instead of trying on (M5).

use std::time::Duration;

use outlive::{AccessRight, Error, OpenOptions, RawOptions, RegionSpec, Session, SessionOptions};

use crate::support::Server;

/// A region that `tenant` may own, and its session.
fn tenants(server: &Server) -> (Session, Session) {
    let administrator = server.session();
    administrator
        .create("orders", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    administrator
        .grant("orders", "tenant", AccessRight::Owner)
        .expect("granted");
    // Long: who tried on would be seen to hang.
    let options = SessionOptions {
        retry_for: Duration::from_secs(300),
    };
    let context = server.context_with(server.credentials("tenant"));
    let tenant = Session::connect_with(&context, options).expect("a session");
    (administrator, tenant)
}

#[test]
fn a_primary_and_a_backup_end_with_what_they_lack() {
    let server = Server::in_memory("16MiB");
    let (administrator, tenant) = tenants(&server);
    let primary = tenant.primary("orders", &OpenOptions::default()).unwrap();
    primary.append(b"before").unwrap().wait().unwrap();
    let mut backup = tenant.backup("orders").unwrap();
    assert_eq!(backup.read_new().unwrap().sets.len(), 1);

    // What is left is reading: the backup goes on on the connection it has.
    administrator
        .grant("orders", "tenant", AccessRight::Reader)
        .unwrap();
    administrator
        .deny("orders", "tenant", AccessRight::Owner)
        .unwrap();
    let ended = primary.append(b"after").and_then(|commit| commit.wait());
    assert!(
        matches!(&ended, Err(Error::NoAccess { missing: Some(right), .. }) if right == "owner"),
        "{ended:?}"
    );
    assert!(backup.read_new().unwrap().sets.is_empty());

    // For whom nothing is left, the region is not there.
    administrator
        .deny("orders", "tenant", AccessRight::Reader)
        .unwrap();
    let ended = backup.read_new().err();
    assert!(matches!(ended, Some(Error::NoSuchRegion { .. })), "{ended:?}");
    let mut own = administrator.backup("orders").unwrap();
    assert_eq!(
        own.read_new().unwrap().sets.len(),
        1,
        "nothing landed after the denial"
    );
}

#[test]
fn a_revoked_identity_ends_everywhere_and_may_come_back() {
    let server = Server::in_memory("16MiB");
    let (administrator, tenant) = tenants(&server);
    administrator.create("raw", &RegionSpec::raw(1 << 20)).unwrap();
    administrator.grant("raw", "tenant", AccessRight::Owner).unwrap();
    let primary = tenant.primary("orders", &OpenOptions::default()).unwrap();
    let mut raw = tenant.raw("raw", &RawOptions::default()).unwrap();
    raw.write(0, b"mine").unwrap();

    assert_eq!(administrator.revoke_identity("tenant").unwrap(), 2);
    let ended = primary.append(b"late").and_then(|commit| commit.wait());
    assert!(matches!(ended, Err(Error::NoAccess { .. })), "{ended:?}");
    let ended = raw.write(0, b"late");
    assert!(matches!(ended, Err(Error::NoAccess { .. })), "{ended:?}");
    let ended = tenant.describe("orders");
    assert!(matches!(ended, Err(Error::NoAccess { .. })), "{ended:?}");

    administrator.admit_identity("tenant", false).unwrap();
    let primary = tenant.primary("orders", &OpenOptions::default()).unwrap();
    primary.append(b"again").unwrap().wait().unwrap();
}
