//! What an identity may not do any more it cannot do on connections that are open, nor with tickets it holds (M5).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use outlive_fabric::{Endpoint, FabricError, Refusal, RegionId};
use outlive_media::Stored;
use outlive_proto::v1::ErrorCode;

use crate::controlled::Controlled;
use crate::rig::{Client, Rig, options};

fn assert_revoked(client: &mut Client) {
    let ended = client.end();
    assert!(
        matches!(ended, FabricError::Stopped(Refusal::Revoked)),
        "ended with: {ended}"
    );
}

fn assert_works(client: &mut Client) {
    client.read(client.data, 0, 1).unwrap();
}

#[test]
fn everything_of_one_identity_stops_and_nothing_of_others() {
    let rig = Rig::memory();
    let (first, second) = (rig.region(1, &[(0, 4)]), rig.region(2, &[(8, 4)]));
    let mut writer = rig.open_as("tenant", first, true);
    let mut reader = rig.open_as("tenant", second, false);
    let mut other_reader = rig.open_as("other", first, false);
    let mut other_writer = rig.open_as("other", second, true);
    // One whose name only begins alike.
    let mut alike = rig.open_as("tenant2", first, false);

    assert_eq!(rig.revoke("tenant", None, false).unwrap(), 2);
    assert_revoked(&mut writer);
    assert_revoked(&mut reader);
    for client in [&mut other_reader, &mut other_writer, &mut alike] {
        assert_works(client);
    }
    assert_eq!(rig.live().len(), 3);
}

#[test]
fn one_region_and_only_writing_can_be_named() {
    let rig = Rig::memory();
    let (first, second) = (rig.region(1, &[(0, 4)]), rig.region(2, &[(8, 4)]));
    let mut writer = rig.open_as("tenant", first, true);
    let mut reader = rig.open_as("tenant", first, false);
    let mut elsewhere = rig.open_as("tenant", second, true);

    assert_eq!(rig.revoke("tenant", Some(first), true).unwrap(), 1);
    assert_revoked(&mut writer);
    assert_works(&mut reader);
    elsewhere.write(elsewhere.data, 0, b"x").unwrap();

    assert_eq!(rig.revoke("tenant", Some(first), false).unwrap(), 1);
    assert_revoked(&mut reader);
    elsewhere.write(elsewhere.data, 0, b"y").unwrap();
    // What is not programmed has no connections; nobody's rights are not a question.
    assert_eq!(rig.revoke("tenant", Some(RegionId([9; 16])), false).unwrap(), 0);
    assert_eq!(rig.revoke("", None, false).unwrap_err().code, ErrorCode::Invalid);
}

#[test]
fn the_tickets_it_names_are_void() {
    let rig = Rig::memory();
    let (first, second) = (rig.region(1, &[(0, 4)]), rig.region(2, &[(8, 4)]));
    let ticket = |identity, region, writable| rig.admit_for(identity, region, writable, 1, 10_000).unwrap();
    let write = ticket("tenant", first, true);
    let read = ticket("tenant", first, false);
    let elsewhere = ticket("tenant", second, false);
    let others = ticket("other", first, false);
    rig.revoke("tenant", Some(first), true).unwrap();
    let refused = rig.connect(&write).err();
    assert!(matches!(refused, Some(FabricError::Refused(Refusal::Ticket))));
    let _reading = rig.connect(&read).unwrap();

    let read = ticket("tenant", first, false);
    rig.revoke("tenant", None, false).unwrap();
    for void in [read, elsewhere] {
        let refused = rig.connect(&void).err();
        assert!(matches!(refused, Some(FabricError::Refused(Refusal::Ticket))));
    }
    rig.connect(&others).unwrap();
}

#[test]
fn who_connects_meanwhile_is_stopped_or_refused() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 4)]);
    let go = AtomicBool::new(false);
    for _ in 0..50 {
        let ticket = rig.admit_for("tenant", region, false, 1, 10_000).unwrap();
        go.store(false, Ordering::Release);
        let connected = thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                while !go.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                rig.connect(&ticket)
            });
            go.store(true, Ordering::Release);
            rig.revoke("tenant", None, false).unwrap();
            assert!(rig.live().is_empty(), "somebody was let in after the revocation");
            connecting.join().unwrap()
        });
        // Who was not let in is told so, or, after many such failures, finds the connection closed.
        if let Ok(mut client) = connected {
            assert_revoked(&mut client);
        }
    }
}

#[test]
fn nothing_is_granted_while_a_revocation_is_not_confirmed() {
    let media = Controlled::new();
    let mut options = options();
    options.stop_timeout = Duration::from_millis(50);
    let rig = Rig::on(media.volume(Stored::New), options);
    let region = rig.region(1, &[(0, 4)]);
    let other = rig.region(2, &[(8, 4)]);
    let mut writer = rig.open_as("tenant", region, true);
    media.hold(rig.attached.allocatable_start);
    let parts = [std::io::IoSlice::new(b"held up in the medium")];
    writer.endpoint.post_write(writer.data, 0, &parts).unwrap();
    writer.endpoint.flush().unwrap();
    media.await_held();

    for _ in 0..2 {
        let unconfirmed = rig.revoke("tenant", None, false).unwrap_err();
        assert_eq!(unconfirmed.code, ErrorCode::FenceUnconfirmed);
    }
    let refused = rig.admit_for("other", region, true, 2, 1000).unwrap_err();
    assert_eq!(refused.code, ErrorCode::FenceUnconfirmed);
    rig.open_as("other", other, true);

    media.release();
    assert_revoked(&mut writer);
    while rig.live().iter().any(|live| live.identity == "tenant") {
        thread::yield_now();
    }
    assert_eq!(rig.revoke("tenant", None, false).unwrap(), 0);
    rig.open_as("other", region, true);
}

#[test]
fn the_managers_way_to_the_catalog_is_not_cut() {
    let rig = Rig::memory();
    let catalog = RegionId(rig.attached.catalog_region.clone().try_into().unwrap());
    let mut manager = rig.open_as("tenant", catalog, true);
    let mut administrator = rig.open_as("tenant", catalog, false);
    assert_eq!(rig.revoke("tenant", None, false).unwrap(), 1);
    assert_revoked(&mut administrator);
    manager.write(manager.data, 0, b"x").unwrap();
}
