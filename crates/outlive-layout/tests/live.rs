//! A reader beside a writer that is at work during every one of its reads.

mod region;

use std::convert::Infallible;

use outlive_layout::{Cursor, Fresh, Geometry, ReadError, ReadOptions, Reader, Source};
use proptest::prelude::*;
use region::REGION;
use region::primary::{Primary, SAVE_PHASES, apply, state_of};

/// Before, within and after every read the primary goes on.
struct Live {
    primary: Primary,
    script: Vec<(u8, u16)>,
    at: usize,
    left: usize,
}

impl Live {
    fn act(&mut self) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        self.at = (self.at + 1) % self.script.len();
        let (what, how) = self.script[self.at];
        match what % 16 {
            0 => self.save(),
            1 => self.primary.commit(),
            2 => self.primary.beat(),
            3 if how % 8 == 0 => {
                if self.primary.clear().is_err() {
                    self.save();
                }
            }
            4..=7 => self.primary.region.land_some(u64::from(how)),
            _ => {
                if self.primary.append(usize::from(how) % 1200).is_err() {
                    self.save();
                }
            }
        }
    }

    fn save(&mut self) {
        self.primary.save(SAVE_PHASES, &mut |_| {});
    }
}

impl Source for Live {
    type Error = Infallible;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        self.act();
        let middle = into.len() / 16 * 8;
        let (first, second) = into.split_at_mut(middle);
        self.primary.region.read_at(offset, first)?;
        self.act();
        self.primary.region.read_at(offset + middle as u64, second)?;
        self.act();
        Ok(())
    }
}

proptest! {
    #[test]
    fn what_is_read_is_always_a_state_that_was(
        script in prop::collection::vec(any::<(u8, u16)>(), 1..60),
        left in 20usize..400,
    ) {
        let geometry = Geometry::new(64 * 1024, 2, 8192).expect("fits");
        let mut live = Live { primary: Primary::create(&geometry), script, at: 0, left };
        let mut reader = Reader::open(&mut live, REGION, geometry.size).expect("formatted");
        let (mut cursor, mut items) = (Cursor::beginning(), Vec::new());
        loop {
            let quiet = live.left == 0;
            if quiet {
                live.primary.commit();
            }
            match reader.follow(&mut live, &mut cursor).expect("a live writer is not corruption") {
                Fresh::Sets { sets, more } => {
                    apply(&mut items, &sets);
                    if quiet && !more {
                        break;
                    }
                }
                Fresh::Overrun { .. } => match reader.read(&mut live, &ReadOptions::default()) {
                    Ok(reading) => {
                        items = state_of(reading.snapshot.as_ref(), &reading.updates);
                        cursor = reading.cursor;
                    }
                    // A writer that saves as often as this one may win every time; that is bounded and said.
                    Err(ReadError::Busy { .. }) => {}
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                },
                Fresh::Diverged { .. } => return Err(TestCaseError::fail("there is one history")),
            }
            prop_assert!(live.primary.history.contains(&items), "{:?}", items);
        }
        prop_assert_eq!(items, live.primary.items);
    }
}
