//! U2: bytes, wherever they lie and however many.

use std::io::IoSlice;
use std::thread;

use super::Harness;
use super::bench::{Bench, MEMORY_BYTES, collect, index, only, pattern, read, write};
use crate::testing::KEY;
use crate::{Endpoint, Outcome, Rights};

/// U2: any offset, any length of one byte or more, nothing beside it touched.
pub(super) fn any_offset_and_length<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let mut expected = vec![0; MEMORY_BYTES];
    let end = MEMORY_BYTES as u64;
    let lengths = [
        1, 2, 3, 7, 8, 9, 63, 4095, 4097, 16_385, 32_767, 32_768, 32_769, 131_071, 131_073, 300_001,
    ];
    for (seed, len) in (1..).zip(lengths) {
        for offset in [0, 1, 7, 4093, end - len] {
            let bytes = pattern(seed + offset, index(len));
            assert_eq!(write(&mut endpoint, KEY, offset, &bytes), Ok(Outcome::Placed));
            expected[index(offset)..index(offset + len)].copy_from_slice(&bytes);
            let asked = u32::try_from(len).expect("short");
            assert_eq!(read(&mut endpoint, KEY, offset, asked), Ok(Outcome::Read(bytes)));
        }
    }
    assert_eq!(bench.placed(), expected);
}

/// The parts of a gathered write are one range.
pub(super) fn parts_are_placed_side_by_side<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    for (offset, lengths) in [
        (10, [3, 0, 5]),
        (1000, [64, 100_000, 1]),
        (300_000, [20_000, 20_000, 20_000]),
    ] {
        let whole = pattern(offset, lengths.iter().sum());
        let (first, rest) = whole.split_at(lengths[0]);
        let (second, third) = rest.split_at(lengths[1]);
        let parts = [first, second, third].map(IoSlice::new);
        let op = endpoint.post_write(KEY, offset, &parts).expect("posted");
        assert_eq!(only(&mut endpoint, op), Ok(Outcome::Placed));
        assert_eq!(bench.placed()[index(offset)..index(offset) + whole.len()], whole);
    }
}

/// U2: every offset from 32 before to 32 behind a border of pages (and so every place in a word and in a cache line) with every length
/// up to a line and one more: exactly these bytes change.
pub(super) fn every_offset_and_length_around_every_border<H: Harness>() {
    const PAGE: u64 = 4096;
    const WINDOW_BYTES: u32 = 160;
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let pairs: Vec<(u64, u64)> = (0..=64)
        .flat_map(|at| (1..=65).map(move |len| (at, len)))
        .collect();
    // Those in flight together lie in pages of their own: nothing is promised about the order of those that overlap.
    for (round, batch) in (1u64..).zip(pairs.chunks(MEMORY_BYTES / index(PAGE) - 1)) {
        let mut expected = pattern(round, MEMORY_BYTES);
        assert_eq!(write(&mut endpoint, KEY, 0, &expected), Ok(Outcome::Placed));
        for (border, (at, len)) in (1..).map(|page| page * PAGE).zip(batch) {
            let offset = border - 32 + at;
            let bytes = pattern(offset ^ len, index(*len));
            endpoint
                .post_write(KEY, offset, &[IoSlice::new(&bytes)])
                .expect("posted");
            expected[index(offset)..index(offset + len)].copy_from_slice(&bytes);
        }
        for completion in collect(&mut endpoint, batch.len()) {
            assert_eq!(completion.result, Ok(Outcome::Placed));
        }
        assert!(bench.placed() == expected, "batch {round}: other bytes changed");
        let windows: Vec<u64> = (1..=batch.len() as u64).map(|page| page * PAGE - 40).collect();
        for window in &windows {
            endpoint.post_read(KEY, *window, WINDOW_BYTES).expect("posted");
        }
        for (window, completion) in windows.iter().zip(collect(&mut endpoint, windows.len())) {
            let bytes = &expected[index(*window)..][..WINDOW_BYTES as usize];
            assert!(
                completion.result == Ok(Outcome::Read(bytes.to_vec())),
                "at {window}"
            );
        }
    }
}

/// U2: nothing is read, changed and written back: several connections that each write bytes of their own, side by side, in one
/// word, never bring back what a neighbour wrote over.
pub(super) fn neighbours_are_never_disturbed<H: Harness>() {
    const WRITERS: u64 = 4;
    const ROUNDS: u8 = 40;
    const BYTES: u64 = 2048;
    let bench = Bench::<H>::new(index(BYTES));
    let write_own = |mut endpoint: H::Endpoint, own: u64| {
        for round in 1..=ROUNDS {
            let places = (own..BYTES).step_by(index(WRITERS));
            let count = places.clone().count();
            for offset in places {
                endpoint
                    .post_write(KEY, offset, &[IoSlice::new(&[round])])
                    .expect("posted");
            }
            for completion in collect(&mut endpoint, count) {
                assert_eq!(completion.result, Ok(Outcome::Placed));
            }
            let own_byte = read(&mut endpoint, KEY, own, 1);
            assert_eq!(
                own_byte,
                Ok(Outcome::Read(vec![round])),
                "only its owner writes it"
            );
        }
    };
    thread::scope(|scope| {
        for own in 0..WRITERS {
            let endpoint = bench.connect(Rights::ReadWrite);
            scope.spawn(move || write_own(endpoint, own));
        }
    });
    assert!(
        bench.placed().iter().all(|byte| *byte == ROUNDS),
        "the last of each is there"
    );
}
