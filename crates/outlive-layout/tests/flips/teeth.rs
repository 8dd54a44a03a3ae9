//! What a reader would do that left a check out: it takes the damaged bytes for good, as every reader takes bytes that
//! were sealed anew. The tests beside this must notice.

use outlive_layout::seal::SealState;
use outlive_layout::set::SET_HEADER_BYTES;
use outlive_layout::{Seal, SetHeader, SetKind};

use crate::damaged::Damaged;
use crate::judge::{Outcome, judge, served};
use crate::model::{Model, index};
use crate::region::REGION;
use crate::region::primary::update_payload;

#[test]
fn a_payload_that_is_not_checked_is_noticed() {
    let model = Model::new();
    let mut noticed = 0;
    for set in model
        .sets
        .iter()
        .filter(|set| set.current && set.header.kind == SetKind::Update)
    {
        let payload = set.offset + SET_HEADER_BYTES;
        for at in payload..payload + index(set.header.length) {
            let mut source = Damaged::of(&model.bytes);
            source.bytes[at] ^= 1;
            let sum = SetHeader::payload_checksum(REGION, set.header.generation, set.header.logical);
            let sealed = SetHeader {
                payload_crc: sum
                    .with(&source.bytes[payload..][..index(set.header.length)])
                    .value(),
                ..set.header.clone()
            };
            source.write(set.offset as u64, &sealed.encode(REGION));
            let outcome = Outcome::of(&mut source).expect("opened");
            assert!(served(&model, &outcome).is_err(), "byte {at} is served as it is");
            noticed += 1;
        }
    }
    assert!(noticed > 100);
}

#[test]
fn a_seal_that_is_not_checked_is_noticed() {
    let model = Model::new();
    let of_newest = &model.newest;
    for bit in 0..64 {
        let flipped = |number: u64| number ^ 1 << bit;
        let seals = [
            Seal {
                generation: flipped(of_newest.generation),
                ..of_newest.clone()
            },
            Seal {
                sequence: flipped(of_newest.sequence),
                ..of_newest.clone()
            },
            Seal {
                length: flipped(of_newest.length),
                ..of_newest.clone()
            },
            Seal {
                journal_start: flipped(of_newest.journal_start),
                ..of_newest.clone()
            },
            Seal {
                floor: flipped(of_newest.floor),
                ..of_newest.clone()
            },
        ];
        for seal in seals {
            // What cannot be is refused for itself.
            let sealed = seal.encode(REGION);
            if Seal::decode(REGION, &model.geometry, seal.slot, &sealed) == SealState::Broken {
                continue;
            }
            let at = model.geometry.seal_offset(seal.slot);
            let mut source = Damaged::of(&model.bytes);
            source.write(at, &sealed);
            assert!(judge(&model, &mut source, &[index(at)]).is_err(), "{seal:?}");
        }
    }
}

#[test]
fn a_generation_that_is_not_checked_is_noticed() {
    let model = Model::new();
    let (logical, offset) = model.end();
    let last = &model.sets.last().expect("sets").header;
    let payload = update_payload(99, 8);
    let set = |generation: u64| {
        let sum = SetHeader::payload_checksum(REGION, generation, logical).with(&payload);
        let header = SetHeader {
            kind: SetKind::Update,
            generation,
            sequence: last.sequence + 1,
            logical,
            time_ns: 0,
            length: payload.len() as u64,
            stride: SetHeader::least_stride(payload.len() as u64).expect("small"),
            floor: 0,
            continues: 0,
            predecessor: generation,
            payload_crc: sum.value(),
        };
        let mut source = Damaged::of(&model.bytes);
        source.write(offset as u64, &[&header.encode(REGION)[..], &payload].concat());
        served(&model, &Outcome::of(&mut source).expect("opened"))
    };
    // A predecessor's set that lies exactly where the journal goes on is void; were it followed, it would be served.
    assert_eq!(set(last.generation - 1), Ok(()));
    assert!(set(last.generation).is_err());
}
