//! U2, U4: any offset and any length, across the borders of the extents that a region lies in.

use std::time::Duration;

use outlive::{Error, Level, OpenOptions, RawOptions, RegionKind, RegionSpec};

use crate::support::Server;

/// A region that lies in several extents, because others were deleted between pieces that stay.
fn fragmented(server: &Server) -> outlive::Session {
    let session = server.session();
    let mut names = Vec::new();
    loop {
        let name = format!("f{}", names.len());
        match session.create(&name, &RegionSpec::raw(256 << 10)) {
            Ok(_) => names.push(name),
            Err(Error::NoSpace { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    for name in names.iter().step_by(2) {
        session.delete(name).expect("deleted");
    }
    session
}

#[test]
fn odd_offsets_and_lengths_across_extent_borders() {
    let server = Server::in_memory("16MiB");
    let session = fragmented(&server);
    let size = 3 << 20;
    let region = session.create("r", &RegionSpec::raw(size)).expect("created");
    assert!(region.extents > 3, "{} extents", region.extents);
    let mut raw = session.raw("r", &RawOptions::default()).expect("opened");
    assert_eq!(raw.size(), size);

    let mut model = vec![0u8; usize::try_from(size).expect("small")];
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..200u64 {
        let len = if round % 10 == 0 {
            next(size / 2) + 1
        } else {
            next(5000) + 1
        };
        let offset = next(size - len + 1);
        let (from, len) = (
            usize::try_from(offset).expect("small"),
            usize::try_from(len).expect("small"),
        );
        let bytes: Vec<u8> = (0..len)
            .map(|at| (at as u64 * 7 + round).to_le_bytes()[0])
            .collect();
        raw.write(offset, &bytes).expect("written");
        model[from..from + len].copy_from_slice(&bytes);
        let start = next(size);
        let mut found = vec![0; usize::try_from(next(size - start) + 1).expect("small")];
        raw.read(start, &mut found).expect("read");
        let start = usize::try_from(start).expect("small");
        assert!(found == model[start..start + found.len()], "round {round}");
    }
    let mut reader = session.raw_reader("r").expect("opened");
    let mut all = vec![0; model.len()];
    reader.read(0, &mut all).expect("read");
    assert!(all == model);
    assert!(matches!(reader.write(0, b"x"), Err(Error::NoAccess { .. })));
}

#[test]
fn what_lies_outside_is_refused_and_the_handle_goes_on() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    session.create("r", &RegionSpec::raw(8192)).expect("created");
    let mut raw = session.raw("r", &RawOptions::default()).expect("opened");
    for (offset, len) in [(8192, 1), (8191, 2), (u64::MAX, 1), (u64::MAX - 1, 9)] {
        assert!(
            matches!(raw.write(offset, &vec![1; len]), Err(Error::Range { .. })),
            "{offset}+{len}"
        );
        assert!(
            matches!(raw.read(offset, &mut vec![1; len]), Err(Error::Range { .. })),
            "{offset}+{len}"
        );
    }
    raw.write(8191, b"z").expect("the last byte");
    let mut last = [0];
    raw.read(8191, &mut last).expect("read");
    assert_eq!(&last, b"z");
}

#[test]
fn kinds_are_not_mixed() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    session.create("r", &RegionSpec::raw(1 << 20)).expect("created");
    session
        .create("c", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    assert!(matches!(
        session.primary("r", &OpenOptions::default()).err(),
        Some(Error::NotCheckpoint { .. })
    ));
    assert!(matches!(
        session.backup("r").err(),
        Some(Error::NotCheckpoint { .. })
    ));
    assert!(matches!(
        session.raw("c", &RawOptions::default()).err(),
        Some(Error::Range { .. })
    ));
    // What could not be used was not kept either.
    session.raw("r", &RawOptions::default()).expect("nobody owns it");
}

#[test]
fn persist_is_told_truthfully_and_outlives_a_restart() {
    let mut server = Server::on_file("16MiB");
    let session = server.session();
    session.create("r", &RegionSpec::raw(1 << 20)).expect("created");
    let mut raw = session.raw("r", &RawOptions::default()).expect("opened");
    raw.write(12_345, b"kept").expect("written");
    let receipt = raw.persist().expect("persistent");
    assert_eq!(receipt.level, Level::Persistent);
    assert!(receipt.method.is_some());
    server.restart();
    let mut found = [0; 4];
    raw.read(12_345, &mut found).expect("read after the restart");
    assert_eq!(&found, b"kept");
    raw.write(0, b"placed").expect("written");
    server.restart();
    assert!(matches!(raw.persist(), Err(Error::Restarted { .. })));
    raw.close(Duration::from_secs(5)).expect("closed");

    let memory = Server::in_memory("16MiB");
    let session = memory.session();
    session.create("r", &RegionSpec::raw(1 << 20)).expect("created");
    let mut raw = session.raw("r", &RawOptions::default()).expect("opened");
    raw.write(0, b"placed").expect("written");
    assert!(matches!(
        raw.persist(),
        Err(Error::Level {
            level: Level::Persistent,
            ..
        })
    ));
}

#[test]
fn a_second_owner_fences_the_first() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    session.create("r", &RegionSpec::raw(1 << 20)).expect("created");
    let named = |owner: &str, take_over| RawOptions {
        owner: owner.to_owned(),
        take_over,
    };
    let mut first = session.raw("r", &named("first", false)).expect("opened");
    first.write(0, b"first").expect("written");
    let error = session.raw("r", &named("second", false)).err().expect("owned");
    assert!(
        matches!(&error, Error::Owned { owner, generation: 1, .. } if owner == "first"),
        "{error}"
    );
    let mut second = session.raw("r", &named("second", true)).expect("taken");
    assert!(first.write(0, b"late!").is_err_and(|error| error.is_fenced()));
    let mut found = [0; 5];
    second.read(0, &mut found).expect("read");
    assert_eq!(&found, b"first");
    assert_eq!(session.describe("r").expect("described").kind, RegionKind::Raw);
}
