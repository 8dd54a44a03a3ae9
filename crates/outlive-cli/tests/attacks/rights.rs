//! Rights that were taken away, with writes in flight: once the call has returned, not one byte lands.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use outlive::{RawOptions, Session};
use outlive_fabric::Refusal;
use outlive_fabric::RemoteKey;
use outlive_fabric::tcp::frame::{Answer, Op};
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::tcp::reason;
use outlive_fabric::testing::raw;
use outlive_proto::FromStatus;
use outlive_proto::v1::{
    AccessRight, ErrorCode, MemberStatus, ReportMemberRequest, Role, StatusRequest, WatchRegionRequest,
};

use crate::bystander::Bystander;
use crate::people::People;
use crate::support::World;
use crate::wire::{Wire, ticket_of};
use crate::{Ending, session};

const SIZE: usize = 1 << 20;
const PIECE: u64 = 16 << 10;
/// How long the attacker goes on after its rights are gone.
const PERSISTENCE: Duration = Duration::from_millis(300);

/// Writes as fast as it can, each time something else, until its connection is gone; counts what was taken, and
/// says why it ended, where that could still be read.
fn hammer(mut wire: Wire, written: &AtomicU64, ended: &AtomicBool) -> Option<Refusal> {
    let key = RemoteKey(wire.key);
    while !ended.load(Ordering::Acquire) {
        let count = written.fetch_add(1, Ordering::AcqRel);
        let (offset, len) = (count * PIECE % SIZE as u64, PIECE);
        let payload = crate::support::noise(count + 1, PIECE as usize);
        if !wire.try_post(Op::Write { key, offset, len }, &payload) {
            break;
        }
    }
    while let Some((answer, why)) = wire.try_answer() {
        if matches!(answer, Answer::Stopped { .. }) {
            return reason::decode(&why).ok();
        }
    }
    None
}

/// All of a region, as somebody who may see it sees it now.
fn bytes_of(session: &Session, region: &str) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    session.raw_reader(region).unwrap().read(0, &mut bytes).unwrap();
    bytes
}

/// How it ended for somebody whose rights were taken away.
struct Aftermath {
    /// Why its connection ended, where that could still be read.
    why: Option<Refusal>,
    /// What the unit said to a reader's ticket that it had got before and not used.
    ticket: Reply,
}

/// Lets mallory hammer its region while `take_away` takes its rights, and go on after that.
fn assert_not_one_byte_lands(take_away: impl FnOnce(&People<'_>)) -> Aftermath {
    let world = World::in_memory();
    let _serve = world.serve();
    let people = People::of(&world);
    people.region("target", &["mallory", "heir"], &[]);
    let heirs = people.session("heir");
    let bystander = Bystander::start(session(&world));
    let mut mallory = people.control("mallory");
    let wire = Wire::admitted(mallory.open("target", Role::Primary));
    let held_back = ticket_of(&mallory.open("target", Role::Backup));
    let unit = wire.unit();
    let (written, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let why = thread::scope(|scope| {
        let hammering = scope.spawn(|| hammer(wire, &written, &ended));
        let ending = Ending(&ended);
        let deadline = Instant::now() + Duration::from_secs(20);
        while written.load(Ordering::Acquire) < 200 {
            assert!(Instant::now() < deadline, "its writes are taken, so far");
            thread::yield_now();
        }
        take_away(&people);
        let after = bytes_of(&heirs, "target");
        thread::sleep(PERSISTENCE);
        assert!(
            bytes_of(&heirs, "target") == after,
            "a byte landed after the call had returned"
        );
        drop(ending);
        hammering.join().unwrap()
    });
    let ticket = raw::greet(&mut std::net::TcpStream::connect(unit).unwrap(), &held_back).unwrap();
    bystander.finish();
    Aftermath { why, ticket }
}

#[test]
fn after_a_denial_not_one_byte_lands() {
    let Aftermath { why, ticket } = assert_not_one_byte_lands(|people| {
        people.change("target", "mallory", AccessRight::Owner, false);
        let error = people
            .control("mallory")
            .try_open("target", Role::Primary)
            .unwrap_err();
        assert_eq!(
            error.control_error().unwrap().code,
            ErrorCode::NoSuchRegion,
            "it never heard of it"
        );
    });
    assert!(matches!(why, None | Some(Refusal::Revoked)), "{why:?}");
    assert!(
        matches!(ticket, Reply::Refused(_)),
        "its unused ticket: {ticket:?}"
    );
}

#[test]
fn after_a_revocation_not_one_byte_lands() {
    let Aftermath { why, ticket } = assert_not_one_byte_lands(|people| {
        assert!(people.revoke("mallory") >= 1, "its connection was stopped");
        let error = people
            .control("mallory")
            .try_open("target", Role::Primary)
            .unwrap_err();
        assert_eq!(error.control_error().unwrap().code, ErrorCode::NoAccess);
    });
    assert!(matches!(why, None | Some(Refusal::Revoked)), "{why:?}");
    assert!(
        matches!(ticket, Reply::Refused(_)),
        "its unused ticket: {ticket:?}"
    );
}

#[test]
fn after_a_fence_not_one_byte_lands() {
    let Aftermath { why, ticket } = assert_not_one_byte_lands(|people| {
        people.control("heir").open("target", Role::Primary);
        let error = people.control("mallory").try_reconnect("target", 1).unwrap_err();
        assert_eq!(error.control_error().unwrap().code, ErrorCode::Fenced);
    });
    assert!(matches!(why, None | Some(Refusal::Fenced { .. })), "{why:?}");
    assert!(
        matches!(ticket, Reply::Welcome { .. }),
        "it may still read: {ticket:?}"
    );
}

#[test]
fn a_reader_reads_and_nothing_else() {
    let world = World::in_memory();
    let _serve = world.serve();
    let people = People::of(&world);
    people.region("target", &["owner"], &["rita"]);
    let bystander = Bystander::start(session(&world));
    let owners = people.session("owner");
    let mut region = owners.raw("target", &RawOptions::default()).unwrap();
    let bytes = crate::support::noise(1, SIZE);
    region.write(0, &bytes).unwrap();
    let mut rita = people.control("rita");
    let mut wire = Wire::admitted(rita.open("target", Role::Backup));
    for key in [wire.key, wire.metadata_key] {
        assert!(wire.refused_write(key, 0, &[0; 64]).contains("read-only"));
        assert!(wire.refused_write(key, 0, &[0; 200 << 10]).contains("read-only"));
        assert!(wire.refused_persist(key, 0, 64).contains("read-only"));
    }
    assert!(wire.read(0, SIZE as u64) == bytes);
    // Nor does it become one that may.
    let generation = region.generation();
    for refused in [
        rita.try_open("target", Role::Primary).map(drop),
        rita.try_reconnect("target", generation).map(drop),
        rita.try_take_over("target", generation).map(drop),
        rita.try_close("target", generation),
    ] {
        let error = refused.unwrap_err().control_error().unwrap();
        assert_eq!(error.code, ErrorCode::NoAccess, "{error}");
        assert_eq!(error.missing_right, "owner", "{error}");
    }
    region.write(0, b"still the owner").unwrap();
    bystander.finish();
}

#[test]
fn who_is_revoked_is_cut_off_everywhere() {
    let world = World::in_memory();
    let _serve = world.serve();
    let people = People::of(&world);
    people.region("target", &["mallory"], &[]);
    let bystander = Bystander::start(session(&world));
    let mut mallory = people.control("mallory");
    let mut watcher = people.control("mallory");
    let mut member = people.control("mallory");
    let watching = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            watcher.runtime.block_on(async {
                let name = "target".to_owned();
                let stream = watcher.client.watch_region(WatchRegionRequest { name }).await;
                let mut stream = stream.unwrap().into_inner();
                stream
                    .message()
                    .await
                    .unwrap()
                    .expect("the present state comes first");
                watching.store(true, Ordering::Release);
                while let Ok(Some(_)) = stream.message().await {}
            });
        });
        let report = scope.spawn(|| {
            let request = ReportMemberRequest {
                pair: "target".into(),
                member: Some(MemberStatus {
                    id: vec![1; 16],
                    address: "127.0.0.1:1".into(),
                    ..MemberStatus::default()
                }),
                wait_ms: 9_000,
                ..ReportMemberRequest::default()
            };
            let begun = Instant::now();
            let answer = member.runtime.block_on(member.client.report_member(request));
            (answer.map(drop), begun.elapsed())
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while !watching.load(Ordering::Acquire) {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        // Time for the long poll to be one.
        thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        people.revoke("mallory");
        watch.join().unwrap();
        let (answer, _) = report.join().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "both end at once");
        let error = answer.unwrap_err().control_error().unwrap();
        assert_eq!(error.code, ErrorCode::NoAccess, "{error}");
    });
    // On the connection that was open, on a new one, and with a certificate made since.
    let mut again = people.control("mallory");
    for control in [&mut mallory, &mut again] {
        let status = control.runtime.block_on(control.client.status(StatusRequest {}));
        let error = status.unwrap_err().control_error().unwrap();
        assert_eq!(error.code, ErrorCode::NoAccess, "{error}");
    }
    bystander.finish();
}
