//! A follower that asks whether anything came reads one header, and misses no set of the journal.

mod region;

use std::convert::Infallible;

use outlive_layout::{Cursor, Fresh, Geometry, Reader, Source};
use proptest::prelude::*;
use region::primary::{Primary, SAVE_PHASES};
use region::{REGION, Region};

/// A set's header on the medium.
const HEADER_BYTES: usize = 112;

/// Counts what is read.
struct Counted<'a> {
    region: &'a mut Region,
    bytes: usize,
}

impl Source for Counted<'_> {
    type Error = Infallible;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        self.bytes += into.len();
        self.region.read_at(offset, into)
    }
}

fn geometry() -> Geometry {
    Geometry::new(64 * 1024, 2, 8192).expect("fits")
}

fn is_quiet(reader: &mut Reader, primary: &mut Primary, cursor: &Cursor) -> bool {
    reader
        .is_quiet(&mut primary.region, cursor)
        .expect("memory does not fail")
}

fn follow(reader: &mut Reader, primary: &mut Primary, cursor: &mut Cursor) -> usize {
    match reader.follow(&mut primary.region, cursor).expect("whole") {
        Fresh::Sets { sets, .. } => sets.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn asking_costs_one_header_and_a_follow_of_nothing_a_few_blocks() {
    let mut primary = Primary::create(&geometry());
    primary.append(5).expect("room");
    primary.commit();
    let mut reader = Reader::open(&mut primary.region, REGION, geometry().size).expect("formatted");
    let mut cursor = Cursor::beginning();
    assert!(!is_quiet(&mut reader, &mut primary, &cursor), "not followed yet");
    assert_eq!(
        follow(&mut reader, &mut primary, &mut cursor),
        2,
        "a takeover mark and a set"
    );

    let mut source = Counted {
        region: &mut primary.region,
        bytes: 0,
    };
    assert!(reader.is_quiet(&mut source, &cursor).expect("memory"));
    assert_eq!(source.bytes, HEADER_BYTES);
    source.bytes = 0;
    reader.follow(&mut source, &mut cursor).expect("whole");
    let head = usize::try_from(geometry().slot_offset(0)).expect("small");
    assert!(
        source.bytes <= head + 4096,
        "{} bytes for nothing new",
        source.bytes
    );
}

#[test]
fn a_set_whose_payload_is_still_in_flight_is_not_quiet() {
    let mut primary = Primary::create(&geometry());
    primary.commit();
    let mut reader = Reader::open(&mut primary.region, REGION, geometry().size).expect("formatted");
    let mut cursor = Cursor::beginning();
    assert_eq!(
        follow(&mut reader, &mut primary, &mut cursor),
        1,
        "the takeover mark"
    );
    assert!(is_quiet(&mut reader, &mut primary, &cursor));
    let plan = primary.append(100).expect("room");
    primary.region.commit();
    let last = usize::try_from(plan.offset).expect("small") + HEADER_BYTES + 90;
    let landed = std::mem::replace(&mut primary.region.placed[last], 0xaa);
    assert!(!is_quiet(&mut reader, &mut primary, &cursor), "a header came");
    assert_eq!(follow(&mut reader, &mut primary, &mut cursor), 0);
    assert!(
        !is_quiet(&mut reader, &mut primary, &cursor),
        "its payload may come"
    );
    primary.region.placed[last] = landed;
    assert_eq!(follow(&mut reader, &mut primary, &mut cursor), 1);
    assert!(is_quiet(&mut reader, &mut primary, &cursor));
}

proptest! {
    /// Whatever lands in whatever order, over several laps: as long as it is quiet, a follow finds nothing.
    #[test]
    fn nothing_comes_while_it_is_quiet(
        script in prop::collection::vec((0u8..8, any::<u16>()), 1..200),
    ) {
        let mut primary = Primary::create(&geometry());
        let mut reader = Reader::open(&mut primary.region, REGION, geometry().size).expect("formatted");
        let mut twin = Reader::open(&mut primary.region, REGION, geometry().size).expect("formatted");
        let mut cursor = Cursor::beginning();
        for (what, how) in script {
            match what {
                0 => primary.commit(),
                1 => primary.beat(),
                2 => primary.save(SAVE_PHASES, &mut |_| {}),
                3..=5 => primary.region.land_some(u64::from(how)),
                _ => if primary.append(usize::from(how) % 1200).is_err() {
                    primary.save(SAVE_PHASES, &mut |_| {});
                },
            }
            if is_quiet(&mut reader, &mut primary, &cursor) {
                let found = twin.follow(&mut primary.region, &mut cursor.clone()).expect("whole");
                if let Fresh::Sets { sets, .. } = found {
                    prop_assert_eq!(sets, vec![]);
                }
            }
            if let Fresh::Overrun { .. } = reader.follow(&mut primary.region, &mut cursor).expect("whole") {
                cursor = reader.read(&mut primary.region, &Default::default()).expect("whole").cursor;
            }
        }
    }
}
