//! A region in which a primary lived as the input says, then damaged as the input says.
//!
//! Without forged checksums nothing is served that never was: every state that is read, followed or recovered is one that
//! the primary was in, though bits flipped, ranges were zeroed or filled, parts were copied over others and old bytes came
//! back. With forged ones anything may be read, but nothing is read or written outside of the region, and everything ends.

use arbitrary::{Result, Unstructured};

use super::region::examine::{Expected, examine};
use super::region::history::History;
use super::region::reseal::reseal;
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "region_damage",
    about: "a checkpoint region that was written, and then damaged",
    run,
    seeds,
    allowance_bytes: 8 << 20,
};

/// Places that one input damages.
const MAX_DAMAGES: usize = 12;
/// Bytes that one damage covers.
const MAX_DAMAGE_BYTES: usize = 512;

fn run(input: &[u8]) {
    // An input that ends early says nothing more.
    let _ = damaged(&mut Unstructured::new(input));
}

fn damaged(input: &mut Unstructured<'_>) -> Result<()> {
    let forging = input.arbitrary::<bool>()?;
    let mut history = History::live(input)?;
    let damages = usize::from(input.arbitrary::<u8>()?) % (MAX_DAMAGES + 1);
    for _ in 0..damages {
        if forging {
            forge(&mut history, input)?;
        } else {
            damage(&mut history, input)?;
        }
    }
    let states = (!forging).then_some(history.states.as_slice());
    examine(&mut history.region, Expected(states), history.backup.as_ref());
    Ok(())
}

/// A place near something that was written, or anywhere.
fn place(history: &History, input: &mut Unstructured<'_>) -> Result<usize> {
    let len = history.region.bytes.len();
    let (near, offset): (u8, u16) = (input.arbitrary()?, input.arbitrary()?);
    let at = match history.places.get(usize::from(near)) {
        Some(place) => usize::try_from(*place).expect("inside the region") + usize::from(offset) % 256,
        None => usize::from(offset) * 8,
    };
    Ok(at % len)
}

fn damage(history: &mut History, input: &mut Unstructured<'_>) -> Result<()> {
    let at = place(history, input)?;
    let len = 1 + usize::from(input.arbitrary::<u16>()?) % MAX_DAMAGE_BYTES;
    let end = (at + len).min(history.region.bytes.len());
    let seed: u16 = input.arbitrary()?;
    let bytes = &mut history.region.bytes;
    match input.arbitrary::<u8>()? % 5 {
        0 => bytes[at] ^= 1 << (seed % 8),
        1 => bytes[at..end].fill(0),
        // What the input says goes through a mixer, so that no input can say a checksum.
        2 => bytes[at..end].fill(mixed(seed)),
        3 => {
            let from = usize::from(seed) * 8 % (bytes.len() - (end - at) + 1);
            bytes.copy_within(from..from + (end - at), at);
        }
        _ => {
            if let Some(past) = history.past.get(usize::from(seed) % history.past.len().max(1)) {
                bytes[at..end].copy_from_slice(&past[at..end]);
            }
        }
    }
    Ok(())
}

fn mixed(seed: u16) -> u8 {
    u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[6]
}

/// Puts a number of the input's into a field, and makes the whole verify.
fn forge(history: &mut History, input: &mut Unstructured<'_>) -> Result<()> {
    let (near, field): (u8, u8) = (input.arbitrary()?, input.arbitrary()?);
    let number: u64 = input.arbitrary()?;
    let place = history.places[usize::from(near) % history.places.len()];
    let at = usize::try_from(place).expect("inside the region") + usize::from(field) % 112;
    let number = number.to_le_bytes();
    let width = [1, 2, 4, 8][usize::from(input.arbitrary::<u8>()?) % 4];
    if let Some(into) = history.region.bytes.get_mut(at..at + width) {
        into.copy_from_slice(&number[..width]);
    }
    reseal(&mut history.region.bytes, place);
    Ok(())
}

fn seeds() -> Vec<Seed> {
    // Shape, steps, then damages: see `History::live` and `damage`.
    let life = [
        0, 0, 24, // two slots, the smallest ring, 24 steps
        0, 10, 0, 200, 5, 6, 7, 0, 30, 11, 0, 255, 1, 255, 2, 255, 7, 9, 0, 3, 10, 0, 77, 0, 255, 0, 255, 0,
        255, 7, 11, 0, 1, 8, 2, 0, 9,
    ];
    let with = |forging: u8, damages: &[u8]| [&[forging][..], &life, damages].concat();
    vec![
        ("whole", with(0, &[0])),
        (
            "flipped",
            with(0, &[2, 5, 3, 0, 0, 0, 3, 0, 0, 9, 90, 0, 0, 0, 1, 0, 0]),
        ),
        (
            "zeroed",
            with(0, &[2, 7, 0, 0, 64, 0, 0, 0, 1, 255, 0, 8, 200, 1, 0, 0, 1]),
        ),
        ("old-bytes", with(0, &[1, 6, 0, 0, 0, 2, 1, 0, 4])),
        ("copied", with(0, &[1, 8, 0, 0, 112, 0, 40, 5, 3])),
        (
            "forged-length",
            with(1, &[1, 5, 64, 255, 255, 255, 255, 255, 255, 255, 127, 3]),
        ),
        ("forged-stride", with(1, &[1, 6, 72, 8, 0, 0, 0, 0, 0, 0, 0, 3])),
        (
            "forged-geometry",
            with(1, &[1, 0, 64, 0, 64, 0, 0, 0, 0, 0, 0, 3]),
        ),
    ]
}
