//! A reader whose walk goes round the whole ring, because the writer saves and goes on meanwhile, takes every set once.

mod region;

use std::convert::Infallible;

use outlive_layout::{Fresh, Geometry, ReadOptions, Reader, Source};
use region::REGION;
use region::primary::{Primary, SAVE_PHASES, apply, state_of};

/// Before one of its reads the primary saves, and appends until the journal is full again.
struct Interrupted {
    primary: Primary,
    reads_left: usize,
}

impl Source for Interrupted {
    type Error = Infallible;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        self.reads_left = self.reads_left.saturating_sub(1);
        if self.reads_left == 1 {
            self.primary.save(SAVE_PHASES, &mut |_| {});
            fill(&mut self.primary);
            // The reader learns that there is more.
            self.primary.beat();
            self.primary.commit();
        }
        self.primary.region.read_at(offset, into)
    }
}

fn fill(primary: &mut Primary) {
    while primary.append(300).is_ok() {}
    primary.commit();
}

#[test]
fn no_set_is_taken_twice() {
    let geometry = Geometry::new(64 * 1024, 2, 8192).expect("fits");
    let mut laps = 0;
    for read in 2..10 {
        let mut source = Interrupted {
            primary: Primary::create(&geometry),
            reads_left: 0,
        };
        // What is read begins in the middle of the ring.
        for _ in 0..5 {
            source.primary.append(300).expect("room");
        }
        source.primary.commit();
        source.primary.save(SAVE_PHASES, &mut |_| {});
        let start = source.primary.writer.head();
        fill(&mut source.primary);
        let mut reader = Reader::open(&mut source, REGION, geometry.size).expect("formatted");
        source.reads_left = read;
        let reading = reader.read(&mut source, &ReadOptions::default()).expect("whole");
        let mut items = state_of(reading.snapshot.as_ref(), &reading.updates);
        laps += usize::from(reading.cursor.logical() + 500 > start + geometry.ring_len);
        let mut cursor = reading.cursor;
        loop {
            let interrupted = source.reads_left <= 1;
            match reader.follow(&mut source, &mut cursor).expect("whole") {
                Fresh::Sets { sets, more } => {
                    apply(&mut items, &sets);
                    if interrupted && sets.is_empty() && !more {
                        break;
                    }
                }
                Fresh::Overrun { .. } => {
                    let reading = reader.read(&mut source, &ReadOptions::default()).expect("whole");
                    items = state_of(reading.snapshot.as_ref(), &reading.updates);
                    cursor = reading.cursor;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(items, source.primary.items, "interrupted before read {read}");
    }
    assert!(laps > 0, "no walk went round");
}
