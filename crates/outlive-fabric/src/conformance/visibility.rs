//! What is placed is seen, by whom it was promised to.

use std::io::IoSlice;
use std::sync::mpsc;
use std::thread;

use super::Harness;
use super::bench::{Bench, MEMORY_BYTES, collect, index, pattern, read, write};
use crate::testing::KEY;
use crate::{Endpoint, Outcome, Rights};

/// On one connection a read posted after a write returns that write's bytes.
pub(super) fn a_read_sees_the_writes_before_it<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    for round in 0..200u64 {
        endpoint
            .post_write(KEY, 13, &[IoSlice::new(&round.to_le_bytes())])
            .expect("posted");
        endpoint.post_read(KEY, 13, 8).expect("posted");
    }
    let completions = collect(&mut endpoint, 400);
    for (round, pair) in (0..200u64).zip(completions.chunks(2)) {
        assert_eq!(pair[1].result, Ok(Outcome::Read(round.to_le_bytes().to_vec())));
    }
}

/// A write's completion means that it is in the target's memory, where every connection reads it.
pub(super) fn what_is_placed_is_seen_by_everybody<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut writer = bench.connect(Rights::ReadWrite);
    let mut readers = [Rights::Read, Rights::ReadWrite].map(|rights| bench.connect(rights));
    for round in 0..120u64 {
        let offset = round % 13;
        let bytes = pattern(round, if round % 10 == 0 { 150_001 } else { 33 });
        assert_eq!(write(&mut writer, KEY, offset, &bytes), Ok(Outcome::Placed));
        assert!(
            bench.placed()[index(offset)..][..bytes.len()] == bytes,
            "round {round}: it is in the memory"
        );
        let asked = u32::try_from(bytes.len()).expect("short");
        for reader in &mut readers {
            let seen = read(reader, KEY, offset, asked);
            assert!(seen == Ok(Outcome::Read(bytes.clone())), "round {round}");
        }
    }
}

/// Whoever hears, by another way, of a write that was completed reads it, or what came after it.
pub(super) fn written_told_and_read<H: Harness>() {
    const ROUNDS: u64 = 500;
    let bench = Bench::<H>::new(4096);
    let mut writer = bench.connect(Rights::ReadWrite);
    let mut reader = bench.connect(Rights::Read);
    let (tell, told) = mpsc::channel();
    let writing = thread::spawn(move || {
        for round in 1..=ROUNDS {
            assert_eq!(
                write(&mut writer, KEY, 5, &round.to_le_bytes()),
                Ok(Outcome::Placed)
            );
            tell.send(round).expect("somebody hears");
        }
    });
    for round in told {
        let Ok(Outcome::Read(bytes)) = read(&mut reader, KEY, 5, 8) else {
            panic!("it can be read");
        };
        let seen = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        assert!(
            (round..=ROUNDS).contains(&seen),
            "{seen} was read after {round} was told"
        );
    }
    writing.join().expect("written");
}

/// A read beside a write may see some of it; each byte is what was there or what comes.
pub(super) fn a_read_beside_a_write_sees_each_byte_old_or_new<H: Harness>() {
    const LEN: usize = 100_003;
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut writer = bench.connect(Rights::ReadWrite);
    let mut reader = bench.connect(Rights::Read);
    assert_eq!(write(&mut writer, KEY, 7, &[0x55; LEN]), Ok(Outcome::Placed));
    let writing = thread::spawn(move || {
        for round in 0..60 {
            let fill = if round % 2 == 0 { 0xaa } else { 0x55 };
            writer
                .post_write(KEY, 7, &[IoSlice::new(&[fill; LEN])])
                .expect("posted");
            collect(&mut writer, 1);
        }
    });
    let asked = u32::try_from(LEN).expect("short");
    while !writing.is_finished() {
        let Ok(Outcome::Read(bytes)) = read(&mut reader, KEY, 7, asked) else {
            panic!("it can be read");
        };
        assert_eq!(bytes.len(), LEN);
        assert!(
            bytes.iter().all(|byte| matches!(byte, 0x55 | 0xaa)),
            "a byte that nobody wrote"
        );
    }
    writing.join().expect("written");
}
