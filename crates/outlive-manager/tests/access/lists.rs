//! Granting and denying: what a change of a region's lists does to those who are connected.

use std::sync::Arc;

use outlive_fabric::{FabricError, Refusal};
use outlive_layout::MetadataPage;
use outlive_manager::Manager;
use outlive_proto::ControlError;
use outlive_proto::v1::region_event::Kind;
use outlive_proto::v1::{
    AccessRight, AddressContextRequest, ErrorCode, MemberStatus, Opened, Region, ReportMemberRequest, Role,
};
use tokio::time::timeout;

use crate::support::faults::{Fuse, fused_admin, fused_connector};
use crate::support::{self, Calls, Client, Data, PATIENCE, Watch, World, memory, raw, typed};

/// More boundaries than denying has; reaching it means that it never went through.
const MOST_BOUNDARIES: i64 = 200;

/// A region that `p` and `q` may own and `b` may read.
async fn world() -> World {
    let world = World::new(&memory(64)).await;
    support::create(&world.client, raw("r", &["p", "q"], &["b"]))
        .await
        .unwrap();
    world
}

fn connect(opened: &Opened) -> Data {
    Data::connect(opened).unwrap()
}

fn is_revoked(error: &FabricError) -> bool {
    matches!(
        error,
        FabricError::Stopped(Refusal::Revoked) | FabricError::Lost(_)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_denied_writes_nothing_more_and_others_go_on() {
    let world = world().await;
    let (p, q, b) = (world.client_as("p"), world.client_as("q"), world.client_as("b"));
    let mut writer = connect(&p.primary("r", "p:1").await.unwrap());
    let mut reader = connect(&b.backup("r").await.unwrap());
    let mut watch = Watch::start(&q, "r").await;
    let writing = tokio::task::spawn_blocking(move || {
        for number in 0u64.. {
            match writer.write(0, &number.to_le_bytes()) {
                Ok(Ok(())) => {}
                Ok(Err(refusal)) => return FabricError::Stopped(refusal),
                Err(error) => return error,
            }
        }
        unreachable!("it writes until it is stopped")
    });
    while reader.read(0, 8).unwrap() == [0; 8] {}

    let region = world
        .client
        .change("r", "p", AccessRight::Owner, false)
        .await
        .unwrap();
    let last = reader.read(0, 8).unwrap();
    assert_eq!(
        (region.may_own.as_slice(), region.owner_alive),
        (["q".to_owned()].as_slice(), false)
    );
    let stopped = writing.await.unwrap();
    assert!(is_revoked(&stopped), "{stopped:?}");
    assert_eq!(
        reader.read(0, 8).unwrap(),
        last,
        "something landed after the answer"
    );
    assert_eq!(
        p.reconnect("r", 1).await.unwrap_err().code,
        ErrorCode::NoSuchRegion
    );
    // Whoever waits for the region hears of it, and need not take it by force.
    watch.await_kind(Kind::OwnerLost).await;
    let next = q.primary("r", "q:1").await.unwrap();
    assert_eq!(next.region.unwrap().generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stays_reader_keeps_reading() {
    let world = world().await;
    let p = world.client_as("p");
    world
        .client
        .change("r", "p", AccessRight::Reader, true)
        .await
        .unwrap();
    let mut writer = connect(&p.primary("r", "").await.unwrap());
    let mut reader = connect(&p.backup("r").await.unwrap());
    let mut watch = Watch::start(&p, "r").await;
    writer.write(0, b"kept").unwrap().unwrap();
    world
        .client
        .change("r", "p", AccessRight::Owner, false)
        .await
        .unwrap();
    let stopped = writer.await_closed();
    assert!(is_revoked(&stopped), "{stopped:?}");
    assert_eq!(reader.read(0, 4).unwrap(), b"kept");
    watch.await_kind(Kind::OwnerLost).await;
    let refused = p.reconnect("r", 1).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.missing_right.as_str()),
        (ErrorCode::NoAccess, "owner")
    );
    connect(&p.backup("r").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_of_who_is_denied_let_nobody_in() {
    let world = world().await;
    let owner = world.client_as("p").primary("r", "").await.unwrap();
    let reader = world.client_as("b").backup("r").await.unwrap();
    let other = world.client_as("q").backup("r").await.unwrap();
    for (identity, right) in [("p", AccessRight::Owner), ("b", AccessRight::Reader)] {
        world.client.change("r", identity, right, false).await.unwrap();
    }
    for ticket in [owner, reader] {
        let refused = Data::connect(&ticket).err();
        assert!(matches!(refused, Some(FabricError::Refused(_))), "{refused:?}");
    }
    connect(&other);
    // Nobody can come with that ticket any more, so nobody has to wait for it.
    world.client_as("q").primary("r", "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_long_polls_of_who_is_denied_end() {
    let world = world().await;
    let mut watch = Watch::start(&world.client_as("b"), "r").await;
    let mut others = Watch::start(&world.client_as("q"), "r").await;
    let poll = poll(world.client_as("p"));
    world
        .client
        .change("r", "b", AccessRight::Reader, false)
        .await
        .unwrap();
    assert_eq!(watch.await_end().await.code, ErrorCode::NoSuchRegion);
    assert!(!poll.is_finished(), "only who was denied is told");
    world
        .client
        .change("r", "p", AccessRight::Owner, false)
        .await
        .unwrap();
    let ended = timeout(PATIENCE, poll).await.expect("an end in time").unwrap();
    assert_eq!(ended.unwrap_err().code, ErrorCode::NoSuchRegion);
    world.client_as("q").primary("r", "").await.unwrap();
    others.await_kind(Kind::Generation).await;
}

/// A report of the pair on "r" that waits as long as may be.
fn poll(mut client: Client) -> tokio::task::JoinHandle<Result<(), ControlError>> {
    let request = ReportMemberRequest {
        pair: "r".into(),
        member: Some(MemberStatus {
            id: vec![1; 16],
            role: Role::Primary.into(),
            ..MemberStatus::default()
        }),
        wait_ms: 10_000,
        ..ReportMemberRequest::default()
    };
    tokio::spawn(async move { typed(client.report_member(request).await).map(drop) })
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_stand_in_the_metadata_page_and_survive_a_restart() {
    let mut world = world().await;
    let listed = |region: &Region| (region.may_own.join(","), region.may_read.join(","));
    let mut reader = connect(&world.client_as("b").backup("r").await.unwrap());
    let mut page = || {
        let page = MetadataPage::decode(&reader.read_page().unwrap()).unwrap();
        let entry = |entry: &outlive_layout::metadata::AccessEntry| {
            format!("{}{}", entry.identity, if entry.writable { "+" } else { "" })
        };
        page.access.iter().map(entry).collect::<Vec<_>>().join(",")
    };
    assert_eq!(page(), "p+,q+,b");
    let client = &world.client;
    client.change("r", "c", AccessRight::Reader, true).await.unwrap();
    assert_eq!(page(), "p+,q+,b,c");
    let region = client.change("r", "p", AccessRight::Owner, false).await.unwrap();
    assert_eq!(page(), "q+,b,c");
    assert_eq!(listed(&region), ("q".into(), "b,c".into()));
    world.restart_manager().await;
    let region = world.client_as("c").show("r").await.unwrap();
    assert_eq!(listed(&region), ("q".into(), "b,c".into()));
    assert_eq!(page(), "q+,b,c");
    world.audit().await.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_listed_is_refused_and_changes_nothing() {
    let world = world().await;
    let client = &world.client;
    for identity in ["", "a b", "-a", "system/unit", &"n".repeat(65)] {
        let refused = client.change("r", identity, AccessRight::Reader, true).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::Invalid, "{identity:?}");
        let refused = support::create(client, raw("s", &["p"], &[identity])).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::Invalid, "{identity:?}");
    }
    let refused = client.change("r", "x", AccessRight::Unspecified, true).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::Invalid);
    let twice = support::create(client, raw("s", &["p", "p"], &[])).await;
    assert_eq!(twice.unwrap_err().code, ErrorCode::Invalid);
    for number in 3..16 {
        let reader = format!("reader-{number}");
        client
            .change("r", &reader, AccessRight::Reader, true)
            .await
            .unwrap();
    }
    let full = client.change("r", "one-more", AccessRight::Owner, true).await;
    assert_eq!(full.unwrap_err().code, ErrorCode::Limit);
    let region = client.change("r", "p", AccessRight::Owner, true).await.unwrap();
    assert_eq!((region.may_own.len(), region.may_read.len()), (2, 14));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_that_was_not_confirmed_is_said_and_can_be_repeated() {
    let unit = support::unit(&memory(64));
    let fuse = Fuse::new();
    let admin = fused_admin(unit.admin_client(), Arc::clone(&fuse)).await;
    let world = World::with(unit, support::options(admin)).await;
    support::create(&world.client, raw("r", &["p"], &[]))
        .await
        .unwrap();
    let mut writer = connect(&world.client_as("p").primary("r", "").await.unwrap());
    fuse.refuse_revocations(true);
    let deny = || world.client.change("r", "p", AccessRight::Owner, false);
    let error = deny().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::FenceUnconfirmed);
    assert!(error.message.contains("the change is made"), "{error}");
    assert_eq!(
        world.client.show("r").await.unwrap().may_own,
        Vec::<String>::new()
    );
    fuse.refuse_revocations(false);
    deny().await.unwrap();
    let stopped = writer.await_closed();
    assert!(is_revoked(&stopped), "{stopped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_that_began_before_a_revocation_hands_no_ticket_out_after_it() {
    let unit = support::unit(&memory(64));
    let fuse = Fuse::new();
    let admin = fused_admin(unit.admin_client(), Arc::clone(&fuse)).await;
    let world = World::with(unit, support::options(admin)).await;
    support::create(&world.client, raw("r", &["p"], &["b"]))
        .await
        .unwrap();
    let data_address = world.client_as("p").backup("r").await.unwrap().data_address;
    fuse.admit_asked.notified().await;
    for (identity, role) in [("p", Role::Primary), ("b", Role::Backup)] {
        let held = fuse.admitting.lock().await;
        let client = world.client_as(identity);
        let opening = tokio::spawn(async move { client.open("r", role, false, "").await });
        fuse.admit_asked.notified().await;
        world.client.revoke(identity).await.unwrap();
        drop(held);
        let refused = opening.await.unwrap().unwrap_err();
        assert_eq!(refused.code, ErrorCode::NoAccess, "{identity}");
        let ticket = fuse.admitted.lock().unwrap().take().unwrap();
        let stolen = Opened {
            region: Some(Region {
                id: ticket.region,
                ..Region::default()
            }),
            data_address: data_address.clone(),
            ticket_id: ticket.ticket_id,
            ticket_secret: ticket.secret,
            incarnation: world.unit.incarnation(),
            identity: ticket.identity,
            generation: ticket.generation,
            writable: ticket.writable,
            ..Opened::default()
        };
        let refused = Data::connect(&stolen).err();
        assert!(matches!(refused, Some(FabricError::Refused(_))), "{refused:?}");
    }
}

/// A manager that dies between making a change durable and stopping connections is followed by one that stops them.
async fn cut(change: &str, boundaries: i64) -> bool {
    let unit = support::unit(&memory(16));
    let fuse = Fuse::new();
    let admin = fused_admin(unit.admin_client(), Arc::clone(&fuse)).await;
    let options = support::options_with(admin, fused_connector(Arc::clone(&fuse)));
    let mut world = World::with(unit, options).await;
    support::create(&world.client, raw("r", &["p"], &["b"]))
        .await
        .unwrap();
    let mut writer = connect(&world.client_as("p").primary("r", "").await.unwrap());
    let mut reader = connect(&world.client_as("b").backup("r").await.unwrap());
    fuse.set(boundaries);
    let client = world.client.clone();
    let is_denial = change == "deny";
    let changing = tokio::spawn(async move {
        if is_denial {
            client.change("r", "p", AccessRight::Owner, false).await.map(drop)
        } else {
            client.revoke("p").await.map(drop)
        }
    });
    let outcome = tokio::select! {
        outcome = changing => Some(outcome.unwrap()),
        () = fuse.blown() => None,
    };
    world.restart_manager().await;
    let is_changed = if is_denial {
        world.client.show("r").await.unwrap().may_own.is_empty()
    } else {
        world.client_as("p").whoami().await.is_err()
    };
    assert!(
        is_changed || !matches!(outcome, Some(Ok(()))),
        "reported done and not found"
    );
    let request = AddressContextRequest { name: "r".into() };
    let context = world.client.clone().address_context(request).await.unwrap();
    let connected = context.into_inner().connections;
    let writes = connected.iter().any(|connection| connection.identity == "p");
    assert_eq!(writes, !is_changed, "{change} cut after {boundaries}");
    assert_eq!(writer.write(0, b"late").is_ok(), !is_changed);
    reader.read(0, 1).unwrap();
    !fuse.is_blown()
}

async fn cut_everywhere(change: &str) {
    for boundaries in 0..MOST_BOUNDARIES {
        if cut(change, boundaries).await {
            assert!(boundaries > 4, "{change} crossed {boundaries} boundaries only");
            return;
        }
    }
    panic!("{change} never went through");
}

#[tokio::test(flavor = "multi_thread")]
async fn denying_can_be_cut_anywhere() {
    cut_everywhere("deny").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_can_be_cut_anywhere() {
    cut_everywhere("revoke").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opens_and_denials_in_a_race_leave_nobody_who_may_not_be_there() {
    let world = world().await;
    for round in 0..30 {
        let open = tokio::spawn({
            let p = world.client_as("p");
            async move {
                let opened = p.open("r", Role::Primary, true, "").await.ok()?;
                Data::connect(&opened).ok()
            }
        });
        let denied = world.client.change("r", "p", AccessRight::Owner, false).await;
        denied.unwrap();
        if let Some(mut data) = open.await.unwrap() {
            assert!(data.write(0, b"x").is_err(), "round {round}");
        }
        world
            .client
            .change("r", "p", AccessRight::Owner, true)
            .await
            .unwrap();
    }
    // A manager of before this one may have been asked, too.
    let manager = Manager::attach(support::options(world.unit.admin_client())).await;
    manager.unwrap();
}
