//! Identities: roles, certificates that count, revocation.

use std::sync::Arc;

use outlive_fabric::FabricError;
use outlive_identity::{Authority, Serial, SigningRequest};
use outlive_manager::{Manager, ManagerOptions};
use outlive_proto::ControlError;
use outlive_proto::v1::*;

use crate::support::{self, ADMINISTRATOR, Calls, Client, Data, Watch, World, memory, raw, typed};

async fn with_authority() -> World {
    let unit = support::unit(&memory(64));
    let authority = Arc::new(Authority::generate().unwrap());
    let options = ManagerOptions {
        authority: Some(authority),
        ..support::options(unit.admin_client())
    };
    World::with(unit, options).await
}

async fn issue(
    client: &Client,
    name: &str,
    administrator: bool,
    renew: bool,
) -> Result<IssueIdentityResponse, ControlError> {
    let request = IssueIdentityRequest {
        name: name.into(),
        signing_request: SigningRequest::new(&name.parse().unwrap())
            .unwrap()
            .der()
            .to_vec(),
        administrator,
        valid_s: 3_600,
        renew,
    };
    typed(client.clone().issue_identity(request).await)
}

async fn list(client: &Client) -> Vec<Identity> {
    let listed = client.clone().list_identities(ListIdentitiesRequest {}).await;
    typed(listed).unwrap().identities
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_are_made_and_unmade() {
    let world = World::new(&memory(64)).await;
    let ann = world.client_as("ann");
    assert!(world.client.whoami().await.unwrap().administrator);
    assert!(!ann.whoami().await.unwrap().administrator);
    assert_eq!(
        ann.create("r", RegionKind::Raw, 4096)
            .await
            .unwrap_err()
            .missing_right,
        "administrator"
    );
    assert!(world.client.admit("ann", true).await.unwrap().administrator);
    ann.create("r", RegionKind::Raw, 4096).await.unwrap();
    assert!(!world.client.admit("ann", false).await.unwrap().administrator);
    assert_eq!(ann.delete("r").await.unwrap_err().missing_right, "administrator");
    // She owns what she made.
    Data::connect(&ann.primary("r", "").await.unwrap()).unwrap();
    let names: Vec<_> = list(&world.client).await.into_iter().map(|it| it.name).collect();
    assert_eq!(names, [ADMINISTRATOR, "ann"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_stays() {
    let world = World::new(&memory(64)).await;
    for refused in [
        world.client.revoke(ADMINISTRATOR).await.map(drop),
        world.client.admit(ADMINISTRATOR, false).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid);
        assert!(error.message.contains("last administrator"), "{error}");
    }
    assert!(world.client.whoami().await.unwrap().administrator);
    world.client.admit("ann", true).await.unwrap();
    world.client.revoke(ADMINISTRATOR).await.unwrap();
    let ann = world.client_as("ann");
    assert_eq!(ann.revoke("ann").await.unwrap_err().code, ErrorCode::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_administrators_who_revoke_each_other_one_is_left() {
    let world = World::new(&memory(64)).await;
    for round in 0..10 {
        let (ann, bob) = (format!("ann-{round}"), format!("bob-{round}"));
        // Whoever was left of the round before lets the next two in.
        let names: Vec<_> = list_admins(&world).await;
        let [left] = names.as_slice() else {
            panic!("{names:?} administrate")
        };
        let first = world.client_as(left);
        for name in [&ann, &bob] {
            first.admit(name, true).await.unwrap();
        }
        world.client_as(&ann).revoke(left).await.unwrap();
        let (a, b) = (world.client_as(&ann), world.client_as(&bob));
        let (a, b) = tokio::join!(a.revoke(&bob), b.revoke(&ann));
        assert!(a.is_ok() != b.is_ok(), "round {round}: {a:?}, {b:?}");
    }
}

/// Names of the active administrators, as the catalog itself has them.
async fn list_admins(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for name in (0..10).flat_map(|round| [format!("ann-{round}"), format!("bob-{round}")]) {
        if world
            .client_as(&name)
            .whoami()
            .await
            .is_ok_and(|it| it.administrator)
        {
            found.push(name);
        }
    }
    if world.client.whoami().await.is_ok() {
        found.push(ADMINISTRATOR.to_owned());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_has_nothing_left_at_once_and_after_a_restart() {
    let mut world = World::new(&memory(64)).await;
    for region in ["r", "s"] {
        support::create(&world.client, raw(region, &["p"], &["b"]))
            .await
            .unwrap();
    }
    let p = world.client_as("p");
    let mut writer = Data::connect(&p.primary("r", "").await.unwrap()).unwrap();
    let mut reader = Data::connect(&p.backup("s").await.unwrap()).unwrap();
    let mut other = Data::connect(&world.client_as("b").backup("r").await.unwrap()).unwrap();
    let ticket = p.primary("s", "").await.unwrap();
    let mut watch = Watch::start(&p, "r").await;
    writer.write(0, b"before").unwrap().unwrap();
    assert_eq!(world.client.revoke("p").await.unwrap(), 2);
    assert!(writer.write(0, b"after").is_err());
    assert!(reader.read(0, 1).is_err());
    assert_eq!(other.read(0, 6).unwrap(), b"before");
    assert!(matches!(
        Data::connect(&ticket).err(),
        Some(FabricError::Refused(_))
    ));
    assert_eq!(watch.await_end().await.code, ErrorCode::NoAccess);
    for _ in 0..2 {
        let p = world.client_as("p");
        assert_eq!(p.whoami().await.unwrap_err().code, ErrorCode::NoAccess);
        assert_eq!(p.reconnect("r", 1).await.unwrap_err().code, ErrorCode::NoAccess);
        assert!(
            list(&world.client)
                .await
                .iter()
                .any(|it| it.name == "p" && it.revoked)
        );
        world.restart_manager().await;
    }
    world.client.admit("p", false).await.unwrap();
    Data::connect(&world.client_as("p").reconnect("r", 1).await.unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_administrator_any_more_reads_the_catalog_no_more() {
    let world = World::new(&memory(64)).await;
    world.client.admit("ann", true).await.unwrap();
    let mut ann = world.client_as("ann");
    let opened = typed(ann.open_catalog(OpenCatalogRequest {}).await).unwrap();
    let mut data = Data::connect(&opened).unwrap();
    data.read(0, 64).unwrap();
    let unused = typed(ann.open_catalog(OpenCatalogRequest {}).await).unwrap();
    world.client.admit("ann", false).await.unwrap();
    assert!(data.read(0, 64).is_err());
    assert!(matches!(
        Data::connect(&unused).err(),
        Some(FabricError::Refused(_))
    ));
    // The manager's own way to the catalog is not cut.
    world.client.create("r", RegionKind::Raw, 4096).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_count_by_their_serials() {
    let world = with_authority().await;
    let first = issue(&world.client, "ann", true, false).await.unwrap();
    let identity = first.identity.unwrap();
    assert!(identity.administrator && identity.expires_unix_ms > 0);
    assert!(first.certificate.contains("BEGIN CERTIFICATE") && first.authority.contains("BEGIN CERTIFICATE"));
    let as_ann = |serial: &[u8]| world.client_with("ann", serial);
    let old = identity.serials[0].clone();
    as_ann(&old).whoami().await.unwrap();
    assert_eq!(as_ann(&[7]).whoami().await.unwrap_err().code, ErrorCode::NoAccess);

    let refused = issue(&world.client, "ann", false, false).await.unwrap_err();
    assert!(refused.message.contains("--renew"), "{refused}");
    let renewed = issue(&world.client, "ann", false, true)
        .await
        .unwrap()
        .identity
        .unwrap();
    assert!(renewed.administrator, "a renewal keeps the role");
    for serial in &renewed.serials {
        as_ann(serial).whoami().await.unwrap();
    }
    // At most four count: the oldest goes.
    for _ in 0..3 {
        issue(&world.client, "ann", false, true).await.unwrap();
    }
    assert_eq!(as_ann(&old).whoami().await.unwrap_err().code, ErrorCode::NoAccess);

    world.client.revoke("ann").await.unwrap();
    assert!(issue(&world.client, "ann", false, true).await.is_err());
    let fresh = issue(&world.client, "ann", false, false)
        .await
        .unwrap()
        .identity
        .unwrap();
    assert_eq!((fresh.administrator, fresh.serials.len()), (false, 1));
    as_ann(&fresh.serials[0]).whoami().await.unwrap();
    let before = renewed.serials.last().unwrap();
    assert_eq!(
        as_ann(before).whoami().await.unwrap_err().code,
        ErrorCode::NoAccess
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_issued_is_refused_with_what_to_do() {
    let without = World::new(&memory(64)).await;
    let refused = issue(&without.client, "ann", false, false).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Invalid);
    assert!(refused.message.contains("outlive access admit ann"), "{refused}");
    let world = with_authority().await;
    assert_eq!(
        issue(&world.client, "ann", false, true).await.unwrap_err().code,
        ErrorCode::Invalid
    );
    for (name, signing_request) in [("system/unit", vec![]), ("a b", vec![]), ("ann", vec![1, 2, 3])] {
        let request = IssueIdentityRequest {
            name: name.into(),
            signing_request,
            ..IssueIdentityRequest::default()
        };
        let refused = typed(world.client.clone().issue_identity(request).await).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Invalid, "{name}");
    }
    assert_eq!(list(&world.client).await.len(), 1, "nothing was recorded");
    // As long as may be: nothing outlives the authority.
    let request = IssueIdentityRequest {
        name: "ann".into(),
        signing_request: SigningRequest::new(&"ann".parse().unwrap())
            .unwrap()
            .der()
            .to_vec(),
        valid_s: u64::MAX,
        ..IssueIdentityRequest::default()
    };
    typed(world.client.clone().issue_identity(request).await).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn outlives_own_processes_have_no_roles_and_cannot_be_revoked() {
    let world = World::new(&memory(64)).await;
    for name in ["system/manager", "system/unit"] {
        assert_eq!(
            world.client.revoke(name).await.unwrap_err().code,
            ErrorCode::Invalid
        );
        assert_eq!(
            world.client.admit(name, true).await.unwrap_err().code,
            ErrorCode::Invalid
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrators_of_the_options_get_in_unless_it_was_taken_from_them() {
    let unit = support::unit(&memory(64));
    let attach = async |serial: u8| {
        let mut options = support::options(unit.admin_client());
        let first = ("first".parse().unwrap(), Some(Serial(vec![serial])));
        options.administrators.push(first);
        Manager::attach(options).await.unwrap()
    };
    let as_first = async |manager: &Manager, serial: u8| {
        let (address, _serving) = support::serve_callers(manager).await;
        support::client_with(address, "first", &[serial]).whoami().await
    };
    let manager = attach(1).await;
    assert!(as_first(&manager, 1).await.unwrap().administrator);
    assert_eq!(as_first(&manager, 2).await.unwrap_err().code, ErrorCode::NoAccess);
    // Its certificate was replaced, and both count.
    let manager = attach(2).await;
    assert!(as_first(&manager, 1).await.unwrap().administrator);
    assert!(as_first(&manager, 2).await.unwrap().administrator);
    // What an administrator took away, no start gives back.
    support::serve(&manager)
        .await
        .admit("first", false)
        .await
        .unwrap();
    let manager = attach(2).await;
    assert!(!as_first(&manager, 2).await.unwrap().administrator);
    support::serve(&manager).await.revoke("first").await.unwrap();
    let manager = attach(2).await;
    assert_eq!(as_first(&manager, 2).await.unwrap_err().code, ErrorCode::NoAccess);
}
