//! What the unit's device cannot read is named; everything else is served, over the same connection.

use std::ops::ControlFlow;
use std::time::Duration;

use outlive::{
    BackupOptions, Error, LoadOptions, OpenOptions, Primary, RawOptions, RegionSpec, ScrubOptions,
    ScrubReport, Scrubber, Session, TakeoverOptions,
};

use outlive_media::simulated::SimulatedMedia;
use outlive_media::{Stored, Volume};
use outlive_unit::Unit;

use crate::support::{Server, primary_of};

const BLOCK: u64 = 4096;
const MEDIUM_BYTES: u64 = 16 << 20;

/// A server, and its device.
fn server() -> (Server, SimulatedMedia) {
    let device = SimulatedMedia::new(MEDIUM_BYTES);
    let media = device.clone();
    let mut stored = Stored::New;
    let server = Server::with(move |options| {
        let volume = Volume::start(media.medium(), stored).expect("a volume");
        stored = Stored::Before;
        Unit::on(volume, options)
    });
    (server, device)
}

fn place_of(device: &SimulatedMedia, needle: &[u8]) -> u64 {
    let image = device.placed();
    let mut bytes = vec![0; usize::try_from(image.len()).expect("small")];
    image.read(0, &mut bytes);
    let mut found = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(needle));
    found.next().expect("it is on the medium") as u64
}

/// Where a region's data begins: its slots' payloads lie right behind its head.
fn data_start(device: &SimulatedMedia, session: &Session, name: &str) -> u64 {
    let id = session.describe(name).expect("there").id;
    let control = [&b"OutlvCTL\x01\0\0\0"[..], &2_u32.to_le_bytes(), &id.0].concat();
    place_of(device, &control)
}

fn scrub(session: &Session, name: &str) -> ScrubReport {
    let mut scrubber = Scrubber::new(session, ScrubOptions { rate: None });
    let report = scrubber.region(name, &mut |_| ControlFlow::Continue(()));
    report.expect("scrubbed")
}

fn commit(primary: &Primary, update: &[u8]) -> u64 {
    let commit = primary.append(update).expect("appended");
    commit.wait().expect("committed").sequence
}

#[test]
fn one_piece_of_the_head_takes_no_other_with_it() {
    for block in 0..2 {
        let (server, device) = server();
        let (session, primary) = primary_of(&server, "r");
        primary
            .save(b"state".to_vec())
            .expect("saved")
            .wait()
            .expect("committed");
        commit(&primary, b"update");
        device.poison(data_start(&device, &session, "r") + block * BLOCK);
        let mut backup = session.backup("r").expect("opened");
        let sets = backup.read_all().expect("served");
        assert_eq!(sets.snapshot.expect("there").bytes, b"state");
        assert_eq!(sets.updates[0].bytes, b"update");
        let report = scrub(&session, "r");
        let named = |finding: &outlive::ScrubFinding| finding.offset == Some(block * BLOCK);
        assert!(report.findings.iter().any(named), "{report:?}");
        // The next owner writes it anew.
        primary.close().expect("closed");
        let primary = session.primary("r", &OpenOptions::default()).expect("opened");
        commit(&primary, b"more");
        assert!(scrub(&session, "r").is_clean());
    }
}

#[test]
fn a_snapshot_that_cannot_be_read_leaves_the_older_one_with_consent() {
    let (server, device) = server();
    let (session, primary) = primary_of(&server, "r");
    let older = primary
        .save(b"the older state".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    let newer = primary
        .save(b"the newer state".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    primary.close().expect("closed");
    device.poison(place_of(&device, b"the newer state"));
    let mut backup = session.backup("r").expect("opened");
    let refused = backup.read_all().expect_err("it is damaged");
    assert!(
        matches!(refused, Error::Corrupt { sequence, .. } if sequence == newer.sequence),
        "{refused}"
    );
    let options = LoadOptions {
        sequence: Some(older.sequence),
        ..LoadOptions::default()
    };
    let sets = backup.load(&options).expect("the older one is whole");
    assert_eq!(sets.snapshot.expect("there").bytes, b"the older state");
    let options = TakeoverOptions {
        accept_loss: true,
        ..TakeoverOptions::default()
    };
    let taken = backup.takeover(&options).expect("with consent");
    assert_eq!(taken.unread[0].bytes, b"the older state");
    assert_eq!(
        taken.certificate.accepted_loss,
        Some((newer.sequence, newer.sequence))
    );
}

#[test]
fn a_journal_is_read_up_to_what_cannot_be_read() {
    let (server, device) = server();
    let (session, primary) = primary_of(&server, "r");
    let good = commit(&primary, b"a good first update");
    let bad = commit(
        &primary,
        &[b"a bad update, longer than a line".as_slice(), &[9; 200]].concat(),
    );
    commit(&primary, b"a good last update");
    primary.close().expect("closed");
    device.poison(place_of(&device, b"a bad update") + 64);
    let mut backup = session.backup("r").expect("opened");
    let refused = backup.read_all().expect_err("it is damaged");
    assert!(
        matches!(refused, Error::Corrupt { sequence, .. } if sequence == bad),
        "{refused}"
    );
    let report = scrub(&session, "r");
    let set = report.findings[0].set.expect("it is named");
    assert_eq!(
        (set.sequence, report.last.expect("some").1),
        (bad, good),
        "{report:?}"
    );
    assert!(report.findings[0].message.contains("cannot read"), "{report:?}");
    let options = TakeoverOptions {
        accept_loss: true,
        ..TakeoverOptions::default()
    };
    let taken = backup.takeover(&options).expect("with consent");
    let kept: Vec<_> = taken.unread.iter().map(|set| set.bytes.as_slice()).collect();
    assert_eq!(kept, [b"a good first update"]);
    commit(&taken.primary, b"and on");
    assert!(
        scrub(&session, "r").is_clean(),
        "written anew, it can be read again"
    );
}

#[test]
fn a_raw_region_serves_what_can_be_read_over_the_same_connection() {
    const SIZE: usize = 6 << 20;
    let (server, device) = server();
    let session = server.session();
    session
        .create("raw", &RegionSpec::raw(SIZE as u64))
        .expect("created");
    let mut raw = session.raw("raw", &RawOptions::default()).expect("opened");
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at / 1000 % 251).to_le_bytes()[0]).collect();
    raw.write(0, &bytes).expect("written");
    let start = place_of(&device, &bytes[..4096]);
    device.poison(start + (2 << 20) + 100);
    let mut found = vec![0; SIZE];
    let refused = raw.read(0, &mut found).expect_err("a line of it cannot be read");
    assert!(matches!(refused, Error::Unreadable { .. }), "{refused}");
    // Nothing of the read that was refused is taken for the next one's.
    for offset in [0, (2 << 20) + 4096, SIZE - 5000] {
        let mut piece = [0; 5000];
        raw.read(offset as u64, &mut piece).expect("readable");
        assert_eq!(piece[..], bytes[offset..offset + 5000], "at {offset}");
    }
    let report = scrub(&session, "raw");
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert_eq!(report.findings[0].offset, Some(2 << 20));
    raw.write((2 << 20) + 64, &bytes[(2 << 20) + 64..][..128])
        .expect("written");
    raw.read(0, &mut found).expect("whole again");
    assert!(found == bytes);
}

#[test]
fn the_units_own_metadata_has_a_copy_for_everything() {
    let (mut server, device) = server();
    let (session, primary) = primary_of(&server, "r");
    commit(&primary, b"kept");
    primary.close().expect("closed");
    for at in [0, BLOCK] {
        server.stop();
        device.poison(at);
        server.resume();
        assert_eq!(
            session.status().expect("known").units[0].superblock,
            Vec::<String>::new(),
            "written anew"
        );
        // The catalog's control block, behind its metadata page.
        server.stop();
        device.poison(17 * BLOCK + at);
        server.resume();
        let mut backup = session.backup("r").expect("opened");
        assert_eq!(backup.read_all().expect("served").updates[0].bytes, b"kept");
        let mut scrubber = Scrubber::new(&session, ScrubOptions { rate: None });
        let report = scrubber
            .catalog(&mut |_| ControlFlow::Continue(()))
            .expect("scrubbed");
        assert!(report.is_clean(), "the manager has written it anew: {report:?}");
    }
}

/// Without the heartbeat word silence cannot be told; a broken connection still is.
#[test]
fn a_heartbeat_that_cannot_be_read_is_no_silence_and_hides_no_broken_connection() {
    let (server, device) = server();
    let (session, primary) = primary_of(&server, "r");
    commit(&primary, b"kept");
    let options = BackupOptions {
        suspect_after: Duration::from_millis(100),
        heartbeat: Duration::from_millis(10),
        ..BackupOptions::default()
    };
    let mut backup = session.backup_with("r", &options).expect("opened");
    device.poison(data_start(&device, &session, "r") + 2 * BLOCK);
    let suspicion = backup
        .await_failure(Duration::from_millis(400))
        .expect("the unit is there");
    assert_eq!(suspicion, None);
    assert_eq!(backup.read_new().expect("served").sets[0].bytes, b"kept");
    // What the manager tells does not rest on the word.
    drop(primary);
    let suspicion = backup
        .await_failure(Duration::from_secs(30))
        .expect("the unit is there");
    assert!(suspicion.is_some());
}
