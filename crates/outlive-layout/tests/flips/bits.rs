//! Every bit in turn.

use std::sync::atomic::{AtomicUsize, Ordering};

use outlive_layout::set::SET_HEADER_BYTES;

use crate::damaged::Damaged;
use crate::judge::judge;
use crate::model::{Model, Use};

/// Set to anything: every single bit, word and line, also those that otherwise stand for their neighbours.
pub(crate) const EVERY: &str = "OUTLIVE_FLIPS_EVERY";

#[test]
fn every_flipped_bit_is_found_and_named_or_harms_nobody() {
    let model = Model::new();
    let every = std::env::var_os(EVERY).is_some();
    let next = AtomicUsize::new(0);
    let flipped = AtomicUsize::new(0);
    let work = || {
        let mut source = Damaged::of(&model.bytes);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= model.bytes.len() {
                return;
            }
            for bit in bits(&model, at, every) {
                source.bytes[at] ^= 1 << bit;
                if let Err(wrong) = judge(&model, &mut source, &[at]) {
                    panic!("bit {bit} of byte {at}: {wrong}");
                }
                source.bytes[at] ^= 1 << bit;
                flipped.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    on_all_cores(&work);
    println!("{} bits flipped", flipped.into_inner());
}

/// All bits of headers, seals, records and copies; one of each byte of a payload, which one checksum covers alike; of what
/// nobody reads one of each word. Which one changes from place to place.
fn bits(model: &Model, at: usize, every: bool) -> std::ops::Range<usize> {
    let one = (at + at / 8) % 8;
    let payload = |number: &usize| at >= model.sets[*number].offset + SET_HEADER_BYTES;
    match model.use_of(at) {
        _ if every => 0..8,
        Use::Padding | Use::Leftover if at % 8 != at / 8 % 8 => 0..0,
        Use::Padding | Use::Leftover | Use::Payload(_) => one..one + 1,
        Use::Set(number) if payload(number) => one..one + 1,
        _ => 0..8,
    }
}

pub(crate) fn on_all_cores(work: &(impl Fn() + Sync)) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
}
