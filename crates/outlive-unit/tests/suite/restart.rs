//! What was written is there after the unit was opened again (U7).

use outlive_fabric::Endpoint;
use outlive_fabric::{PersistMethod, RegionId};
use outlive_media::{MediaError, MediaSpec};

use crate::rig::{Rig, options};

fn spec(folder: &tempfile::TempDir) -> MediaSpec {
    MediaSpec::File {
        path: folder.path().join("unit.media"),
        size: Some(16 << 20),
    }
}

#[test]
fn data_is_kept_and_the_incarnation_raised() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = [(30, 2), (3, 9)];
    let region = RegionId([1; 16]);
    for (incarnation, close) in [(1, true), (2, false), (3, true)] {
        let rig = Rig::on(spec(&folder).open_volume().unwrap(), options());
        assert_eq!(
            (rig.unit.incarnation(), rig.attached.incarnation),
            (incarnation, incarnation)
        );
        assert_eq!(rig.generation, incarnation, "one manager attached each time");
        if incarnation == 1 {
            rig.prepare(rig.extents(&blocks), Vec::new()).unwrap();
        } else {
            assert!(
                rig.admit(region, true, 1, 1000).is_err(),
                "nothing is programmed at first"
            );
        }
        rig.program(region, rig.extents(&blocks), 0).unwrap();
        let mut client = rig.open(region, true, incarnation);
        assert_eq!(client.endpoint.session().incarnation, incarnation);
        assert_eq!(
            client.endpoint.session().persist,
            Some(PersistMethod::TargetFlush)
        );
        let all = client.all();
        let expected = [b"first", b"other", b"\0\0\0\0\0"];
        let kept = usize::try_from(incarnation - 1).unwrap();
        for (index, bytes) in expected.iter().take(kept).enumerate() {
            assert_eq!(&all[4090 + 10_000 * index..][..5], *bytes);
        }
        let now = 10_000 * (incarnation - 1) + 4090;
        client.write(client.data, now, expected[kept]).unwrap();
        client.persist().unwrap();
        if close {
            rig.unit.close().unwrap();
        }
    }
}

#[test]
fn a_medium_serves_one_unit() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::on(spec(&folder).open_volume().unwrap(), options());
    assert!(matches!(
        spec(&folder).open_volume(),
        Err(MediaError::InUse { .. })
    ));
    drop(rig);
    spec(&folder).open_volume().unwrap();
}

#[test]
fn a_closed_unit_lets_nobody_in() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    let mut client = rig.open(region, true, 1);
    let ticket = rig.admit(region, false, 1, 10_000).unwrap();
    rig.unit.close().unwrap();
    assert!(rig.connect(&ticket).is_err());
    let ended = client.end().to_string();
    assert!(
        ended.contains("shutting down") || ended.contains("lost"),
        "{ended}"
    );
    rig.unit.close().unwrap();
}

#[test]
fn persists_share_flushes_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::on(spec(&folder).open_volume().unwrap(), options());
    let region = rig.region(1, &[(0, 2)]);
    let mut client = rig.open(region, true, 1);
    let before = rig.state();
    for byte in 0..5 {
        client.write(client.data, 0, &[byte; 10]).unwrap();
        client.persist().unwrap();
    }
    client.read(client.data, 0, 3).unwrap();
    let after = rig.state();
    assert_eq!(after.writes - before.writes, 5);
    assert_eq!(after.bytes_written - before.bytes_written, 50);
    assert_eq!(after.persists - before.persists, 5);
    assert_eq!(after.flushes - before.flushes, 5);
    assert_eq!(after.bytes_read - before.bytes_read, 3);
    assert_eq!(
        (after.connections, after.media_bytes, after.poisoned),
        (1, 16 << 20, String::new())
    );
    drop(client);
    while rig.state().connections > 0 {
        std::thread::yield_now();
    }
    assert_eq!(
        rig.state().bytes_written,
        after.bytes_written,
        "counts outlive their connection"
    );
}
