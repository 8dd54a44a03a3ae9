//! Every call of the manager, as everybody.

use outlive_manager::limits;
use outlive_proto::ControlError;
use outlive_proto::v1::*;

use crate::support::{Calls, Client, World, memory, raw, typed};

/// In the order of the outcomes below. `owner` opened the region's present generation; `other` is listed as owner, too.
const CALLERS: [&str; 6] = ["nobody", "reader", "owner", "other", "administrator", "revoked"];

/// What each caller is told. `+`: it was let through; `.`: there is no such region; a letter: the right that is missing
/// (reader, owner, holder, administrator); `R`: no access at all.
const EXPECTED: [(&str, &str); 21] = [
    ("CreateRegion", "aaaa+R"),
    ("DeleteRegion", ".aaa+R"),
    ("ResizeRegion", ".aaaoR"),
    ("ListRegions", "+++++R"),
    ("DescribeRegion", ".++++R"),
    ("OpenRegion", ".o++oR"),
    ("ReconnectRegion", ".o+hoR"),
    ("TakeoverRegion", ".o++oR"),
    ("CloseRegion", ".o+hoR"),
    ("WatchRegion", ".++++R"),
    ("AddressContext", ".++++R"),
    ("OpenCatalog", "aaaa+R"),
    ("Status", "+++++R"),
    ("ReportMember", ".o++oR"),
    ("WhoAmI", "+++++R"),
    ("ChangeAccess", ".aaa+R"),
    ("ListIdentities", "aaaa+R"),
    ("IssueIdentity", "aaaa+R"),
    ("AdmitIdentity", "aaaa+R"),
    ("RevokeIdentity", "aaaa+R"),
    ("Switchover", ".o+++R"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_decided_for_everybody() {
    let world = World::new(&memory(256)).await;
    world.client.revoke("revoked").await.unwrap();
    let mut expected = EXPECTED.to_vec();
    for rpc in calls_of_the_service() {
        let at = expected.iter().position(|(name, _)| *name == rpc);
        let at = at.unwrap_or_else(|| panic!("{rpc} is served, and nothing here says to whom"));
        let (_, outcomes) = expected.swap_remove(at);
        let mut told = String::new();
        for name in CALLERS {
            let region = format!("{rpc}-{name}");
            let request = raw(&region, &["owner", "other", "revoked"], &["reader"]);
            crate::support::create(&world.client, request).await.unwrap();
            world.client_as("owner").primary(&region, "").await.unwrap();
            told.push(letter(call(world.client_as(name), rpc, &region).await));
        }
        assert_eq!(told, outcomes, "{rpc}, as {CALLERS:?}");
    }
    assert_eq!(expected, [], "no such calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_let_in_as_backups_and_only_as_such() {
    let world = World::new(&memory(256)).await;
    let request = raw("r", &["owner"], &["reader"]);
    crate::support::create(&world.client, request).await.unwrap();
    for (name, expected) in [
        ("nobody", '.'),
        ("reader", '+'),
        ("owner", '+'),
        ("administrator", 'r'),
    ] {
        let opened = world.client_as(name).backup("r").await;
        assert_eq!(letter(opened.map(drop)), expected, "{name}");
        let mut client = world.client_as(name);
        let request = ReconnectRegionRequest {
            name: "r".into(),
            role: Role::Backup.into(),
            generation: 0,
        };
        let again = typed(client.reconnect_region(request).await);
        assert_eq!(letter(again.map(drop)), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_is_answered_as_what_does_not_exist() {
    let world = World::new(&memory(256)).await;
    world.create("secret", 4096).await.unwrap();
    let mallory = world.client_as("mallory");
    for rpc in calls_of_the_service() {
        let refused = call(mallory.clone(), rpc, "secret").await;
        let nowhere = call(mallory.clone(), rpc, "nowhere").await;
        match (refused, nowhere) {
            (Err(mut refused), Err(nowhere)) => {
                refused.message = refused.message.replace("secret", "nowhere");
                assert_eq!(refused, nowhere, "{rpc}");
            }
            (Ok(()), Ok(())) => {}
            (secret, nowhere) => panic!("{rpc} tells them apart: {secret:?}, {nowhere:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_cannot_be_are_answered_briefly_and_requests_that_are_too_large_not_at_all() {
    let world = World::new(&memory(64)).await;
    let mallory = world.client_as("mallory");
    let refused = mallory
        .show(&"n".repeat(limits::REQUEST_BYTES / 2))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoSuchRegion);
    assert!(
        refused.message.len() < 2 * limits::NAME_BYTES,
        "{} bytes",
        refused.message.len()
    );
    let request = DescribeRegionRequest {
        name: "n".repeat(limits::REQUEST_BYTES),
    };
    let refused = mallory.clone().describe_region(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::OutOfRange);
    world.client.whoami().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_status_show_what_the_caller_may_see() {
    let world = World::new(&memory(256)).await;
    for (name, owner, reader) in [
        ("a", "ann", "bob"),
        ("b", "bob", "eve"),
        ("c", "ann", "eve"),
        ("d", "eve", "bob"),
    ] {
        let request = raw(name, &[owner], &[reader]);
        crate::support::create(&world.client, request).await.unwrap();
    }
    let names = |regions: &[Region]| {
        let names = regions.iter().map(|region| region.name.as_str());
        names.collect::<String>()
    };
    for (name, expected) in [
        ("ann", "ac"),
        ("bob", "abd"),
        ("mallory", ""),
        ("administrator", "abcd"),
    ] {
        let mut client = world.client_as(name);
        assert_eq!(names(&client.list().await), expected, "{name}");
        let report = ReportMemberRequest {
            pair: "b".into(),
            member: Some(member()),
            ..ReportMemberRequest::default()
        };
        typed(world.client_as("bob").report_member(report).await).unwrap();
        let status = typed(client.status(StatusRequest {}).await).unwrap();
        assert_eq!(names(&status.regions), expected, "{name}");
        assert_eq!(status.region_count, expected.len() as u64, "{name}");
        assert_eq!(status.pairs.len(), usize::from(expected.contains('b')), "{name}");
        assert_eq!(status.units.len(), usize::from(name == "administrator"), "{name}");
        // Page by page, too.
        let mut paged = String::new();
        let mut after = String::new();
        loop {
            let page = crate::support::page(&client, after, 1).await;
            paged.push_str(&names(&page.regions));
            if !page.more {
                break;
            }
            after = page.regions[0].name.clone();
        }
        assert_eq!(paged, expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_region_takes_its_pair_along() {
    let world = World::new(&memory(256)).await;
    let pairs_of = async |owner: &str| {
        let status = typed(world.client_as(owner).status(StatusRequest {}).await);
        status.unwrap().pairs.len()
    };
    crate::support::create(&world.client, raw("r", &["ann"], &[]))
        .await
        .unwrap();
    let report = ReportMemberRequest {
        pair: "r".into(),
        member: Some(member()),
        ..ReportMemberRequest::default()
    };
    typed(world.client_as("ann").report_member(report).await).unwrap();
    assert_eq!(pairs_of("ann").await, 1);
    world.client.delete("r").await.unwrap();
    crate::support::create(&world.client, raw("r", &["bob"], &[]))
        .await
        .unwrap();
    assert_eq!(pairs_of("bob").await, 0, "members of the tenant before");
}

/// The calls that `manager.proto` defines.
fn calls_of_the_service() -> impl Iterator<Item = &'static str> {
    const PROTO: &str = include_str!("../../../outlive-proto/proto/outlive/v1/manager.proto");
    let lines = PROTO.lines().map(str::trim);
    lines.filter_map(|line| Some(line.strip_prefix("rpc ")?.split_once('(')?.0))
}

/// Makes one call about a region (or about another identity), as it would have to be made to succeed.
async fn call(mut client: Client, rpc: &str, region: &str) -> Result<(), ControlError> {
    let name = region.to_owned();
    let c = &mut client;
    match rpc {
        "CreateRegion" => {
            let request = raw(&format!("new-{region}"), &[], &[]);
            typed(c.create_region(request).await).map(drop)
        }
        "DeleteRegion" => typed(c.delete_region(DeleteRegionRequest { name }).await).map(drop),
        "ResizeRegion" => c.resize(region, 2 << 20, 1).await.map(drop),
        "ListRegions" => typed(c.list_regions(ListRegionsRequest::default()).await).map(drop),
        "DescribeRegion" => c.show(region).await.map(drop),
        "OpenRegion" => c.open(region, Role::Primary, true, "").await.map(drop),
        "ReconnectRegion" => c.reconnect(region, 1).await.map(drop),
        "TakeoverRegion" => c.take_over(region, 1, "").await.map(drop),
        "CloseRegion" => c.close(region, 1).await,
        "WatchRegion" => typed(c.watch_region(WatchRegionRequest { name }).await).map(drop),
        "AddressContext" => typed(c.address_context(AddressContextRequest { name }).await).map(drop),
        "OpenCatalog" => typed(c.open_catalog(OpenCatalogRequest {}).await).map(drop),
        "Status" => typed(c.status(StatusRequest {}).await).map(drop),
        "ReportMember" => {
            let request = ReportMemberRequest {
                pair: name,
                member: Some(member()),
                ..ReportMemberRequest::default()
            };
            typed(c.report_member(request).await).map(drop)
        }
        "WhoAmI" => typed(c.who_am_i(WhoAmIRequest {}).await).map(drop),
        "ChangeAccess" => {
            let request = ChangeAccessRequest {
                name,
                identity: "somebody".into(),
                right: AccessRight::Reader.into(),
                allow: true,
            };
            typed(c.change_access(request).await).map(drop)
        }
        "ListIdentities" => typed(c.list_identities(ListIdentitiesRequest {}).await).map(drop),
        "IssueIdentity" => {
            let name = "somebody".to_owned();
            let request = IssueIdentityRequest {
                name,
                ..IssueIdentityRequest::default()
            };
            typed(c.issue_identity(request).await).map(drop)
        }
        "AdmitIdentity" => {
            let request = AdmitIdentityRequest {
                name: "somebody".into(),
                administrator: false,
            };
            typed(c.admit_identity(request).await).map(drop)
        }
        "RevokeIdentity" => {
            let name = "somebody".to_owned();
            typed(c.revoke_identity(RevokeIdentityRequest { name }).await).map(drop)
        }
        "Switchover" => {
            let request = SwitchoverRequest {
                pair: name,
                timeout_ms: 1,
            };
            typed(c.switchover(request).await).map(drop)
        }
        other => panic!("{other} is served, and nothing here calls it"),
    }
}

fn letter(outcome: Result<(), ControlError>) -> char {
    match outcome {
        Err(error) if error.code == ErrorCode::NoSuchRegion => '.',
        Err(error) if error.code == ErrorCode::NoAccess => error.missing_right.chars().next().unwrap_or('R'),
        Err(error) if error.code == ErrorCode::Unspecified => panic!("{error}"),
        _ => '+',
    }
}

fn member() -> MemberStatus {
    MemberStatus {
        id: vec![1; 16],
        role: Role::Primary.into(),
        ..MemberStatus::default()
    }
}
