//! A live unit is scrubbed: what is damaged behind its back is found and named, and writers are never taken for damage.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use outlive::{
    Error, OpenOptions, Primary, RawOptions, RegionSpec, ScrubOptions, ScrubReport, Scrubber, Session,
    SetKind,
};

use crate::support::{Server, find_in, overwrite, primary_of};

fn scrub(session: &Session, name: &str) -> ScrubReport {
    let mut scrubber = Scrubber::new(session, ScrubOptions { rate: None });
    let report = scrubber.region(name, &mut |_| ControlFlow::Continue(()));
    report.expect("scrubbed")
}

#[test]
fn damage_behind_the_units_back_is_found_and_named_by_set_and_offset() {
    let server = Server::on_file("16MiB");
    let (session, primary) = primary_of(&server, "r");
    let saved = primary
        .save(vec![7; 5000])
        .expect("saved")
        .wait()
        .expect("committed");
    let appended: Vec<_> = (0..4)
        .map(|number| {
            let commit = primary
                .append(format!("update number {number}").as_bytes())
                .expect("appended");
            commit.wait().expect("committed").sequence
        })
        .collect();
    let clean = scrub(&session, "r");
    assert!(clean.is_clean(), "{clean:?}");
    assert_eq!(clean.sets, 6, "takeover, snapshot, four updates");
    assert_eq!(clean.snapshot.expect("one").1, saved.sequence);

    let at = find_in(&server.medium(), b"update number 2");
    overwrite(&server.medium(), at, b"U");
    let report = scrub(&session, "r");
    let [finding] = report.findings.as_slice() else {
        panic!("{report:?}")
    };
    let set = finding.set.expect("it is named");
    assert_eq!((set.kind, set.sequence), (SetKind::Update, appended[2]));
    assert_eq!(set.generation, primary.generation());
    let mut data = vec![0; 15];
    let offset = finding.offset.expect("a place") + 112;
    session
        .raw_reader("r")
        .expect("opened")
        .read(offset, &mut data)
        .expect("read");
    assert_eq!(data, b"Update number 2", "the set's header lies right before");
    // What comes before it is good still, and the primary goes on.
    assert_eq!(report.last.expect("some").1, appended[1]);
    assert_eq!(report.snapshot.expect("one").1, saved.sequence);
    primary
        .append(b"after")
        .expect("appended")
        .wait()
        .expect("committed");

    // A newer snapshot covers it; then damage to that is named, too.
    let saved = primary
        .save(b"all of it anew".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    overwrite(
        &server.medium(),
        find_in(&server.medium(), b"all of it anew"),
        b"A",
    );
    let report = scrub(&session, "r");
    let of_snapshot = report.findings.iter().filter_map(|finding| finding.set);
    let named: Vec<_> = of_snapshot.filter(|set| set.kind == SetKind::Snapshot).collect();
    assert_eq!(named.len(), 1, "{report:?}");
    assert_eq!(
        (named[0].generation, named[0].sequence),
        (primary.generation(), saved.sequence)
    );
}

/// The ring goes round and round, slots are overwritten, and the scrub reads all the while.
#[test]
fn a_writer_at_full_speed_is_never_taken_for_damage() {
    const ROUNDS: u32 = 60;
    let server = Server::in_memory("64MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(256 << 10))
        .expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    let (over, saves) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&primary, &over, &saves));
        let mut scrubber = Scrubber::new(&session, ScrubOptions { rate: None });
        let mut sets = 0;
        for round in 0..ROUNDS {
            let before = saves.load(Ordering::Relaxed);
            let report = scrubber.region("r", &mut |_| ControlFlow::Continue(()));
            let report = report.expect("scrubbed");
            if !report.is_clean() {
                over.store(true, Ordering::Relaxed);
                panic!("round {round}: {report:?}");
            }
            sets += report.sets;
            // Each round is beside a writer at work.
            while saves.load(Ordering::Relaxed) == before {
                assert!(!writer.is_finished(), "the writer goes on");
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(sets > 0);
    });
}

fn write(primary: &Primary, over: &AtomicBool, saves: &AtomicU64) {
    let mut number = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let update = number
            .to_le_bytes()
            .repeat(1 + usize::try_from(number % 97).expect("small"));
        number += 1;
        match primary.append(&update).and_then(|commit| {
            if number.is_multiple_of(16) {
                commit.wait().map(|_| ())
            } else {
                Ok(())
            }
        }) {
            Ok(()) => {}
            Err(Error::JournalFull { .. }) => {
                let state = number.to_le_bytes().repeat(2000);
                primary.save(state).expect("saved").wait().expect("committed");
                saves.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn no_more_is_read_than_the_rate_allows() {
    const RATE: u64 = 2 << 20;
    let server = Server::in_memory("64MiB");
    let session = server.session();
    session.create("raw", &RegionSpec::raw(1 << 20)).expect("created");
    drop(session.raw("raw", &RawOptions::default()).expect("opened"));
    let mut scrubber = Scrubber::new(&session, ScrubOptions { rate: Some(RATE) });
    let began = Instant::now();
    let mut read = 0_u64;
    let report = scrubber.region("raw", &mut |bytes| {
        read += bytes;
        // The piece in hand, a tenth of a second's, is read at once; all before it took its time.
        let budget = u128::from(RATE) * began.elapsed().as_nanos() / 1_000_000_000 + u128::from(RATE / 10);
        assert!(
            u128::from(read) <= budget,
            "{read} bytes in {:?}",
            began.elapsed()
        );
        ControlFlow::Continue(())
    });
    assert!(report.expect("scrubbed").is_clean());
    assert_eq!(read, 1 << 20);
}

#[test]
fn a_unit_that_restarts_meanwhile_is_scrubbed_to_the_end_and_a_stop_is_a_stop() {
    let mut server = Server::on_file("16MiB");
    let (session, primary) = primary_of(&server, "r");
    primary
        .save(vec![1; 200_000])
        .expect("saved")
        .wait()
        .expect("committed");
    primary.close().expect("closed");
    let mut scrubber = Scrubber::new(&session, ScrubOptions::default());
    let mut restarted = false;
    let report = scrubber.region("r", &mut |bytes| {
        if bytes > 0 && !restarted {
            restarted = true;
            server.stop();
            server.resume();
        }
        ControlFlow::Continue(())
    });
    let report = report.expect("it goes on");
    assert!(
        restarted && report.is_clean() && report.payload_bytes >= 200_000,
        "{report:?}"
    );
    let stopped = scrubber.region("r", &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Error::Closed)), "{stopped:?}");
}

#[test]
fn the_catalog_is_scrubbed_and_the_superblock_watched() {
    let server = Server::on_file("16MiB");
    let (session, _primary) = primary_of(&server, "r");
    let mut scrubber = Scrubber::new(&session, ScrubOptions::default());
    let report = scrubber
        .catalog(&mut |_| ControlFlow::Continue(()))
        .expect("scrubbed");
    assert!(report.is_clean() && report.sets > 1, "{report:?}");
    assert_eq!(
        session.status().expect("known").units[0].superblock,
        Vec::<String>::new()
    );
    overwrite(&server.medium(), 4096, b"\xff");
    let told = &session.status().expect("known").units[0].superblock;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("copy 1 at offset 4096"), "{told:?}");
}
