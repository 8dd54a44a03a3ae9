//! What the control plane would tell about regions of others: nothing, byte for byte.

use outlive_proto::FromStatus;
use outlive_proto::v1::{
    AccessRight, AddressContextRequest, AdmitIdentityRequest, ChangeAccessRequest, CloseRegionRequest,
    CreateRegionRequest, DeleteRegionRequest, DescribeRegionRequest, ErrorCode, IssueIdentityRequest,
    ListIdentitiesRequest, ListRegionsRequest, MemberStatus, OpenCatalogRequest, OpenRegionRequest,
    ReconnectRegionRequest, RegionKind, ReportMemberRequest, ResizeRegionRequest, RevokeIdentityRequest,
    Role, StatusRequest, SwitchoverRequest, TakeoverRegionRequest, WatchRegionRequest,
};
use tonic::Status;

use crate::bystander::Bystander;
use crate::people::People;
use crate::session;
use crate::support::World;
use crate::wire::Control;

/// Of the same length, so that not even that differs.
const HIDDEN: &str = "hidden-orders";
const ABSENT: &str = "absent-orders";

/// One call about a region or pair of this name, made through a caller's connection.
type Call = Box<dyn Fn(&mut Control, &str) -> Result<(), Status>>;

/// Makes a [`Call`].
macro_rules! call {
    ($method:ident, $name:ident => $request:expr) => {
        (
            stringify!($method),
            Box::new(move |control: &mut Control, $name: &str| {
                let $name = $name.to_owned();
                let request = tonic::Request::new($request);
                control
                    .runtime
                    .block_on(control.client.$method(request))
                    .map(drop)
            }) as Call,
        )
    };
}

/// Everything that names a region or a pair.
fn calls() -> Vec<(&'static str, Call)> {
    let (backup, primary) = (i32::from(Role::Backup), i32::from(Role::Primary));
    vec![
        call!(describe_region, name => DescribeRegionRequest { name }),
        call!(address_context, name => AddressContextRequest { name }),
        call!(watch_region, name => WatchRegionRequest { name }),
        call!(open_region, name => OpenRegionRequest { name, role: backup, ..Default::default() }),
        call!(open_region, name => OpenRegionRequest { name, role: primary, ..Default::default() }),
        call!(open_region, name => OpenRegionRequest { name, role: primary, take_over: true, ..Default::default() }),
        call!(reconnect_region, name => ReconnectRegionRequest { name, role: backup, generation: 0 }),
        call!(reconnect_region, name => ReconnectRegionRequest { name, role: primary, generation: 1 }),
        call!(reconnect_region, name => ReconnectRegionRequest { name, role: primary, generation: 9 }),
        call!(takeover_region, name => TakeoverRegionRequest { name, expected_generation: 1, ..Default::default() }),
        call!(takeover_region, name => TakeoverRegionRequest { name, expected_generation: 9, ..Default::default() }),
        call!(close_region, name => CloseRegionRequest { name, generation: 1 }),
        call!(close_region, name => CloseRegionRequest { name, generation: 9 }),
        call!(resize_region, name => ResizeRegionRequest { name, size: 1 << 21, generation: 1 }),
        call!(resize_region, name => ResizeRegionRequest { name, size: 1, generation: 9 }),
        call!(delete_region, name => DeleteRegionRequest { name }),
        call!(create_region, name => CreateRegionRequest {
            name, kind: RegionKind::Raw.into(), size: 1 << 20, ..Default::default()
        }),
        call!(change_access, name => ChangeAccessRequest {
            name, identity: "mallory".into(), right: AccessRight::Owner.into(), allow: true
        }),
        call!(report_member, name => ReportMemberRequest {
            pair: name,
            member: Some(MemberStatus { id: vec![1; 16], address: "127.0.0.1:1".into(), ..Default::default() }),
            ..Default::default()
        }),
        call!(switchover, name => SwitchoverRequest { pair: name, timeout_ms: 10 }),
    ]
}

/// All that a refusal says.
fn said(status: &Status, name: &str) -> (i32, String, Vec<u8>, Vec<String>) {
    let headers = status.metadata().clone().into_headers();
    let mut headers: Vec<String> = headers
        .iter()
        .filter(|(header, _)| *header != "date")
        .map(|(header, value)| format!("{header}: {value:?}").replace(name, "NAME"))
        .collect();
    headers.sort();
    (
        status.code().into(),
        status.message().replace(name, "NAME"),
        status.details().to_vec(),
        headers,
    )
}

#[test]
fn a_hidden_region_and_an_absent_one_are_refused_alike() {
    let world = World::in_memory();
    let _serve = world.serve();
    let people = People::of(&world);
    people.region(HIDDEN, &["alice"], &["rita"]);
    let bystander = Bystander::start(session(&world));
    // Alive, idle and closed owners must not differ either.
    let alices = people.session("alice");
    for state in ["never opened", "owned by one that is alive", "closed"] {
        let owner = (state == "owned by one that is alive")
            .then(|| alices.raw(HIDDEN, &outlive::RawOptions::default()).unwrap());
        // Somebody new each time: who is refused often is told to wait.
        let mut mallory = people.control(&format!("mallory-{}", state.len()));
        for (number, (method, call)) in calls().into_iter().enumerate() {
            let hidden = call(&mut mallory, HIDDEN).expect_err(method);
            let absent = call(&mut mallory, ABSENT).expect_err(method);
            assert_eq!(
                said(&hidden, HIDDEN),
                said(&absent, ABSENT),
                "{method} ({number}), {state}"
            );
        }
        drop(owner);
        // Dropping gives the region up.
        if state == "never opened" {
            alices
                .raw(HIDDEN, &outlive::RawOptions::default())
                .unwrap()
                .close(std::time::Duration::from_secs(5))
                .unwrap();
        }
    }
    bystander.finish();
}

#[test]
fn lists_and_status_show_each_caller_its_own_only() {
    let world = World::in_memory();
    let _serve = world.serve();
    let people = People::of(&world);
    people.region(HIDDEN, &["alice"], &["rita"]);
    people.region("mallorys", &["mallory"], &[]);
    let mut seen = Vec::new();
    for who in ["alice", "rita", "mallory", "nobody"] {
        let mut control = people.control(who);
        let listed = control
            .runtime
            .block_on(control.client.list_regions(ListRegionsRequest::default()));
        let listed = listed.unwrap().into_inner();
        let status = control.runtime.block_on(control.client.status(StatusRequest {}));
        let status = status.unwrap().into_inner();
        assert_eq!(
            status.region_count as usize,
            listed.regions.len(),
            "{who} is told of no others by counting"
        );
        assert_eq!(status.regions, listed.regions);
        assert!(status.pairs.is_empty());
        seen.push(
            listed
                .regions
                .into_iter()
                .map(|region| region.name)
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(seen, [vec![HIDDEN], vec![HIDDEN], vec!["mallorys"], vec![]]);
    // Paging from, to and around a hidden name tells nothing either.
    let mut mallory = people.control("mallory");
    for after in ["", "hidden-order", HIDDEN, "hidden-orders0", "m"] {
        let request = ListRegionsRequest {
            after: after.into(),
            limit: 1,
        };
        let page = mallory
            .runtime
            .block_on(mallory.client.list_regions(request))
            .unwrap()
            .into_inner();
        assert_eq!(page.regions.len(), 1, "after {after:?}");
        assert_eq!(page.regions[0].name, "mallorys");
        assert!(!page.more, "after {after:?}");
    }
}

#[test]
fn what_takes_an_administrator_takes_an_administrator() {
    let world = World::in_memory();
    let _serve = world.serve();
    let people = People::of(&world);
    people.region("own", &["mallory"], &[]);
    let mut mallory = people.control("mallory");
    let calls: Vec<(&str, Call)> = vec![
        call!(open_catalog, _name => OpenCatalogRequest {}),
        call!(list_identities, _name => ListIdentitiesRequest {}),
        call!(issue_identity, name => IssueIdentityRequest { name, signing_request: vec![1; 40], ..Default::default() }),
        call!(issue_identity, name => IssueIdentityRequest { name, administrator: true, renew: true, ..Default::default() }),
        call!(admit_identity, name => AdmitIdentityRequest { name, administrator: true }),
        call!(revoke_identity, name => RevokeIdentityRequest { name }),
        call!(create_region, name => CreateRegionRequest {
            name, kind: RegionKind::Raw.into(), size: 1 << 20, ..Default::default()
        }),
        call!(delete_region, name => DeleteRegionRequest { name }),
        call!(change_access, name => ChangeAccessRequest {
            name, identity: "mallory".into(), right: AccessRight::Owner.into(), allow: true
        }),
    ];
    for (method, call) in calls {
        // About itself, its own region, somebody else, and nobody.
        for name in ["mallory", "own", "alice", "administrator", "nobody-yet"] {
            let status = call(&mut mallory, name).expect_err(method);
            let error = status.control_error().expect("typed");
            // What it may not see is not there, whatever else it would take.
            let about_a_region = ["delete_region", "change_access"].contains(&method);
            if about_a_region && name != "own" {
                assert_eq!(error.code, ErrorCode::NoSuchRegion, "{method} {name}: {status}");
                continue;
            }
            assert_eq!(error.code, ErrorCode::NoAccess, "{method} {name}: {status}");
            assert_eq!(error.missing_right, "administrator", "{method} {name}: {status}");
        }
    }
}

#[test]
fn what_others_are_shown_cannot_drive_their_terminal() {
    let world = World::in_memory();
    let _serve = world.serve();
    let people = People::of(&world);
    people.region("mallorys", &["mallory"], &[]);
    let mut mallory = people.control("mallory");
    for hostile in [
        "\u{1b}]0;owned\u{7}",
        "\u{1b}[2J",
        "a\nready: nothing to see",
        "a\u{202e}b",
        "\u{9b}31m",
    ] {
        let open = OpenRegionRequest {
            name: "mallorys".into(),
            role: Role::Primary.into(),
            owner: hostile.into(),
            ..OpenRegionRequest::default()
        };
        let report = ReportMemberRequest {
            pair: "mallorys".into(),
            member: Some(MemberStatus {
                id: vec![1; 16],
                address: hostile.into(),
                ..MemberStatus::default()
            }),
            ..ReportMemberRequest::default()
        };
        let refused = [
            mallory
                .runtime
                .block_on(mallory.client.open_region(open))
                .map(drop),
            mallory
                .runtime
                .block_on(mallory.client.report_member(report))
                .map(drop),
        ];
        for refused in refused {
            let error = refused.unwrap_err().control_error().expect("typed");
            assert_eq!(error.code, ErrorCode::Invalid, "{hostile:?}");
        }
    }
    for arguments in [
        &["status"][..],
        &["region", "ls"],
        &["region", "show", "mallorys"],
    ] {
        let shown = world.ok(arguments);
        assert!(!shown.contains(&0x1b), "{arguments:?}");
    }
}

#[test]
fn a_region_made_anew_under_an_old_name_is_not_its_old_owners() {
    let world = World::in_memory();
    let _serve = world.serve();
    let people = People::of(&world);
    people.region("orders", &["alice"], &["rita"]);
    let mut alice = people.control("alice");
    let generation = alice.open("orders", Role::Primary).generation;
    alice.close("orders", generation);
    let held_back = alice.open("orders", Role::Backup);
    session(&world).delete("orders").unwrap();
    people.region("orders", &["bob"], &[]);
    let opened = people.control("bob").open("orders", Role::Primary);
    assert_eq!(
        opened.generation, generation,
        "so that only the owner tells them apart"
    );
    for refused in [
        alice.try_reconnect("orders", generation).map(drop),
        alice.try_open("orders", Role::Backup).map(drop),
        alice.try_close("orders", generation),
        people.control("rita").try_open("orders", Role::Backup).map(drop),
    ] {
        let error = refused.unwrap_err().control_error().expect("typed");
        assert_eq!(error.code, ErrorCode::NoSuchRegion, "{error}");
    }
    let mut stream = std::net::TcpStream::connect(&held_back.data_address).unwrap();
    let reply = outlive_fabric::testing::raw::greet(&mut stream, &crate::wire::ticket_of(&held_back));
    assert!(
        matches!(reply, Ok(outlive_fabric::tcp::hello::Reply::Refused(_))),
        "{reply:?}"
    );
}
