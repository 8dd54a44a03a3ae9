//! What the library writes and persists, in which order, as the device sees it; and that acknowledgements keep to it.

use std::time::Duration;

use outlive::{OpenOptions, Primary, RegionSpec, Session};
use outlive_media::simulated::Happened;

use crate::support::{Device, Server};

const MEDIUM: u64 = 16 << 20;
/// A set's header, and a seal.
const HEADER: u64 = 112;
const SEAL: u64 = 88;

fn quiet() -> OpenOptions {
    OpenOptions {
        take_over: true,
        heartbeat: Duration::ZERO,
        ..OpenOptions::default()
    }
}

fn owner(server: &Server) -> (Session, Primary) {
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let primary = session.primary("r", &quiet()).expect("opened");
    (session, primary)
}

/// Lengths of stores, and 0 for each persist.
fn events(device: &Device) -> Vec<u64> {
    let trace = device.media().trace();
    let length = |event| match event {
        Happened::Store { len, .. } => len,
        Happened::Persist => 0,
    };
    trace.events().map(length).collect()
}

#[test]
fn an_append_is_one_write_and_one_persist() {
    let (device, server) = Device::new(MEDIUM);
    let (_session, primary) = owner(&server);
    device.media().forget();
    primary
        .append([7; 1000])
        .expect("appended")
        .wait()
        .expect("committed");
    assert_eq!(events(&device), [HEADER + 1000, 0]);
}

/// The old seal is invalid, and persistently so, before the first byte of payload; the new one is published over a persistent payload.
#[test]
fn a_save_makes_each_step_persistent_before_the_next() {
    let (device, server) = Device::new(MEDIUM);
    let (_session, primary) = owner(&server);
    for _ in 0..3 {
        device.media().forget();
        primary.save([7; 1000]).expect("saved").wait().expect("committed");
        assert_eq!(events(&device), [SEAL, 0, 1000, 0, SEAL, 0]);
    }
}

/// What a predecessor only placed is persistent before the takeover set rests on it: also what was placed while the manager made the
/// new generation persistent.
#[test]
fn a_takeover_set_follows_a_persist_of_what_was_read() {
    let (device, server) = Device::new(MEDIUM);
    let (session, primary) = owner(&server);
    device.media().forget();
    let next = session.primary("r", &quiet()).expect("taken over");
    let events = events(&device);
    let set = events
        .iter()
        .rposition(|len| *len == HEADER)
        .expect("a takeover set");
    // The manager's own change is persistent before the fence: the one that counts comes behind it.
    assert_eq!(&events[set - 2..], [0, 0, HEADER, 0], "{events:?}");
    drop((primary, next));
}

/// New geometry: the copies it needs, then one copy of the control block, then the other one.
#[test]
fn a_growth_makes_each_step_persistent_before_the_next() {
    let (device, server) = Device::new(MEDIUM);
    let (_session, primary) = owner(&server);
    device.media().forget();
    primary.resize(2 << 20).expect("grown");
    let events = events(&device);
    let control = 88;
    assert!(events.ends_with(&[0, control, 0, control, 0]), "{events:?}");
}

/// However many are in flight: none is acknowledged before its flush, and none before one that was appended earlier.
#[test]
fn commits_are_acknowledged_in_order() {
    let (device, server) = Device::new(MEDIUM);
    let (_session, primary) = owner(&server);
    device.media().hold_flushes(true);
    let commits: Vec<_> = (0..200u16)
        .map(|number| primary.append(number.to_le_bytes()).expect("appended"))
        .collect();
    device.media().await_flushing();
    for commit in [&commits[0], &commits[199]] {
        assert_eq!(commit.wait_for(Duration::from_millis(20)).expect("alive"), None);
    }
    device.media().hold_flushes(false);
    let mut sequence = 0;
    let mut done = 0;
    while done < commits.len() {
        // Whichever is asked first, all before it are acknowledged when it is.
        let probe = (done + 37).min(commits.len() - 1);
        while commits[probe]
            .wait_for(Duration::from_secs(1))
            .expect("alive")
            .is_none()
        {}
        for commit in &commits[done..=probe] {
            let receipt = commit
                .wait_for(Duration::ZERO)
                .expect("alive")
                .expect("acknowledged before");
            assert!(receipt.sequence > sequence);
            sequence = receipt.sequence;
        }
        done = probe + 1;
    }
}
