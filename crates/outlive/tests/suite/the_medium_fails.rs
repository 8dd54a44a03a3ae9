//! A failing device: whoever asks is told by name, nothing is acknowledged that is not so, and what was acknowledged is there
//! after the unit was started anew.

use outlive::{Error, OpenOptions, Primary, RegionSpec, Session};
use outlive_media::simulated::FlushFault;

use crate::support::{Device, Server};

const MEDIUM: u64 = 16 << 20;

/// Two regions, each with an owner and one acknowledged set.
fn two_owners(server: &Server) -> (Session, Vec<Primary>) {
    let session = server.session();
    let owners = ["one", "other"].map(|name| {
        session
            .create(name, &RegionSpec::checkpoint(1 << 20))
            .expect("created");
        let primary = session.primary(name, &OpenOptions::default()).expect("opened");
        let commit = primary.append(b"acknowledged").expect("appended");
        commit.wait().expect("committed");
        primary
    });
    (session, owners.into())
}

fn media_failed<T>(outcome: Result<T, Error>, reason: &str) {
    match outcome.map(drop) {
        Err(Error::MediaFailed { reason: said }) => assert!(said.contains(reason), "{said}"),
        other => panic!("{other:?}"),
    }
}

/// Both regions hold what was acknowledged, and can be written to again.
fn whole_again(server: &mut Server, owners: Vec<Primary>) {
    drop(owners);
    server.restart();
    let session = server.session();
    for name in ["one", "other"] {
        let options = OpenOptions {
            take_over: true,
            ..OpenOptions::default()
        };
        let primary = session.primary(name, &options).expect("opened");
        let found = session.backup(name).expect("opened").read_all().expect("read");
        assert_eq!(found.updates[0].bytes, b"acknowledged");
        primary
            .append(b"more")
            .expect("appended")
            .wait()
            .expect("committed");
    }
    assert_eq!(session.status().expect("told").units[0].poisoned, "");
}

#[test]
fn a_flush_that_fails_or_is_short_ends_every_region_until_the_unit_is_started_anew() {
    for (fault, reason) in [(FlushFault::Fails, "gone"), (FlushFault::Short, "half of it")] {
        let (device, mut server) = Device::new(MEDIUM);
        let (session, owners) = two_owners(&server);
        let mut backup = session.backup("other").expect("opened");
        device.media().fail_flushes(Some(fault));
        media_failed(
            owners[0].append(b"not sure").and_then(outlive::Commit::wait),
            reason,
        );
        // The device works again, but what it lost it does not say: nobody is served, whosever flush it was.
        device.media().fail_flushes(None);
        media_failed(
            owners[1]
                .append(b"of another region")
                .and_then(outlive::Commit::wait),
            reason,
        );
        media_failed(
            owners[1]
                .save(b"of another region")
                .and_then(outlive::Commit::wait),
            reason,
        );
        media_failed(owners[0].confirm().and_then(outlive::Confirm::wait), reason);
        media_failed(backup.read_all(), reason);
        assert!(session.status().expect("told").units[0].poisoned.contains(reason));
        // Now the manager tries to change the catalog, and cannot.
        media_failed(session.create("new", &RegionSpec::raw(4096)), reason);
        let take_over = OpenOptions {
            take_over: true,
            ..OpenOptions::default()
        };
        media_failed(session.primary("other", &take_over), reason);
        assert!(owners.iter().all(|owner| owner.ended().is_some()));
        media_failed(session.status(), reason);
        // The last verified state is what the restart finds.
        whole_again(&mut server, owners);
    }
}

#[test]
fn a_full_device_acknowledges_nothing_that_did_not_fit() {
    let (device, mut server) = Device::new(MEDIUM);
    let (_session, owners) = two_owners(&server);
    device.media().fill_up(Some(600));
    let outcome = owners[0].append([7; 4000]).and_then(outlive::Commit::wait);
    assert!(
        matches!(outcome, Err(Error::MediaFailed { .. })),
        "{:?}",
        outcome.map(drop)
    );
    device.media().fill_up(None);
    whole_again(&mut server, owners);
}

/// A page of the journal that cannot be read is no end of the journal: it is named, and a successor asks for consent.
#[test]
fn a_line_that_cannot_be_read_stops_readers_and_successors_by_name() {
    let (device, mut server) = Device::new(MEDIUM);
    let (session, owners) = two_owners(&server);
    let marked = [0x4d; 4096];
    let commit = owners[0].append(marked).expect("appended");
    let lost = commit.wait().expect("committed").sequence;
    drop(owners);
    let at = find(&device, &marked[..64]);
    device.media().poison(at + 512);
    let named = |error: &Error| matches!(error, Error::Corrupt { sequence, .. } if *sequence == lost);
    let read = session.backup("one").and_then(|mut backup| backup.read_all());
    assert!(read.as_ref().is_err_and(named), "{read:?}");
    let take_over = OpenOptions {
        take_over: true,
        ..OpenOptions::default()
    };
    let opened = session.primary("one", &take_over).map(drop);
    assert!(opened.as_ref().is_err_and(named), "{opened:?}");
    // Other regions are not concerned.
    let close = |primary: outlive::Primary| primary.close().expect("closed");
    close(session.primary("other", &take_over).expect("opened"));
    let consent = OpenOptions {
        accept_loss: true,
        ..take_over
    };
    close(session.primary("one", &consent).expect("with consent"));
    server.stop();
}

fn find(device: &Device, bytes: &[u8]) -> u64 {
    let image = device.media().placed();
    let mut window = vec![0; bytes.len()];
    let mut starts = (0..image.len() - bytes.len() as u64).step_by(8);
    let found = starts.find(|at| {
        image.read(*at, &mut window);
        window == bytes
    });
    found.expect("the bytes are on the medium")
}
