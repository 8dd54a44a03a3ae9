//! The superblock survives a crash at any byte of any write.

use outlive_media::superblock::{BLOCK, BLOCK_BYTES};
use outlive_media::{Copy, Media, MediaError, Stored, Superblock, Volume};

use crate::faulty::Faulty;

const LEN: usize = 8 << 20;

fn formatted() -> Faulty {
    let faulty = Faulty::of(vec![0; LEN]);
    Volume::start(faulty.medium(), Stored::New).unwrap();
    faulty
}

fn persistent(faulty: &Faulty) -> Vec<u8> {
    faulty.state(|state| state.persistent.clone())
}

#[test]
fn an_update_torn_at_any_byte_leaves_the_old_or_the_new() {
    let faulty = formatted();
    let volume = Volume::start(faulty.medium(), Stored::Before).unwrap();
    for _ in 0..3 {
        let before = persistent(&faulty);
        faulty.state(|state| state.stores.clear());
        let generation = volume.raise_manager_generation().unwrap();
        let stores = faulty.state(|state| state.stores.clone());
        assert_eq!(stores.len(), 2, "one copy, then the other");
        let mut seen = Vec::new();
        let mut whole = before;
        for (at, bytes) in &stores {
            let at = usize::try_from(*at).unwrap();
            // Beyond the header's 120 bytes the block is zero before and after.
            for torn in (0..=128).chain([bytes.len()]) {
                let mut image = whole.clone();
                image[at..at + torn].copy_from_slice(&bytes[..torn]);
                let superblock = Superblock::read(&Faulty::of(image).medium()).unwrap();
                assert_eq!(superblock.geometry, *volume.geometry());
                assert_eq!(superblock.incarnation, volume.incarnation());
                seen.push(superblock.manager_generation);
            }
            whole[at..at + bytes.len()].copy_from_slice(bytes);
        }
        assert!(seen.is_sorted(), "{seen:?}");
        assert_eq!((seen[0], seen[seen.len() - 1]), (generation - 1, generation));
    }
}

#[test]
fn either_copy_alone_knows_the_numbers_that_were_used() {
    let faulty = formatted();
    let volume = Volume::start(faulty.medium(), Stored::Before).unwrap();
    let generation = volume.raise_manager_generation().unwrap();
    for copy in 0..2 {
        let mut image = persistent(&faulty);
        image[copy * usize::try_from(BLOCK).unwrap() + 30] ^= 0xff;
        let superblock = Superblock::read(&Faulty::of(image).medium()).unwrap();
        assert_eq!(superblock.incarnation, volume.incarnation());
        assert_eq!(superblock.manager_generation, generation);
    }
}

#[test]
fn formatting_is_never_half_believed() {
    let faulty = Faulty::of(vec![0; LEN]);
    Volume::start(faulty.medium(), Stored::New).unwrap();
    let stores = faulty.state(|state| state.stores.clone());
    let mut image = vec![0; LEN];
    let mut was_valid = false;
    for (at, bytes) in stores {
        let is_valid = Superblock::read(&Faulty::of(image.clone()).medium()).is_ok();
        assert!(is_valid || !was_valid, "once valid, always valid");
        assert!(
            !is_valid || at < 2 * BLOCK,
            "the catalog is whole before a superblock names it"
        );
        was_valid = is_valid;
        let at = usize::try_from(at).unwrap();
        image[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    assert!(was_valid);
}

#[test]
fn an_incarnation_is_persistent_before_it_is_served() {
    let faulty = formatted();
    for incarnation in 2..6 {
        let volume = Volume::start(faulty.medium(), Stored::Before).unwrap();
        assert_eq!(volume.incarnation(), incarnation);
        assert_eq!(
            Superblock::read(&Faulty::of(persistent(&faulty)).medium())
                .unwrap()
                .incarnation,
            incarnation
        );
    }
    faulty.state(|state| state.fail_flush = true);
    assert!(matches!(
        Volume::start(faulty.medium(), Stored::Before),
        Err(MediaError::Poisoned { .. })
    ));
}

#[test]
fn either_copy_alone_is_enough_and_neither_is_a_clear_error() {
    let faulty = formatted();
    let volume = Volume::start(faulty.medium(), Stored::Before).unwrap();
    volume.raise_manager_generation().unwrap();
    let image = persistent(&faulty);
    let newest = Superblock::read(&Faulty::of(image.clone()).medium()).unwrap();
    let damaged = |copies: &[usize]| {
        let mut image = image.clone();
        for copy in copies {
            image[copy * BLOCK_BYTES + 60] ^= 1;
        }
        Faulty::of(image)
    };
    for copy in [0, 1] {
        let faulty = damaged(&[copy]);
        let found = Superblock::read(&faulty.medium()).unwrap();
        assert!(newest.sequence - found.sequence <= 1);
        let copies = Superblock::read_copies(&faulty.medium());
        assert!(matches!(copies[copy], Copy::Damaged(_)));
        // The next update repairs the damaged copy or the other one; two make both whole.
        for _ in 0..2 {
            Volume::start(faulty.medium(), Stored::Before).unwrap();
        }
        assert!(
            Superblock::read_copies(&faulty.medium())
                .iter()
                .all(|copy| matches!(copy, Copy::Valid(_)))
        );
    }
    let error = Superblock::read(&damaged(&[0, 1]).medium()).unwrap_err();
    assert!(matches!(error, MediaError::Superblock { .. }), "{error}");
    assert!(error.to_string().contains("both superblock copies"));
}

#[test]
fn a_medium_of_another_length_or_owner_is_refused() {
    let mut image = persistent(&formatted());
    image.truncate(LEN - BLOCK_BYTES);
    let error = Superblock::read(&Faulty::of(image.clone()).medium()).unwrap_err();
    let (found, expected) = (LEN as u64 - BLOCK, LEN as u64);
    assert!(
        matches!(error, MediaError::WrongLength { found: f, expected: e, .. } if (f, e) == (found, expected))
    );
    image.fill(b'x');
    let foreign = Faulty::of(image);
    assert!(matches!(
        Volume::start(foreign.medium(), Stored::Before),
        Err(MediaError::NotOurs { .. })
    ));
    assert_eq!(foreign.len(), found);
    assert!(
        foreign.state(|state| state.stores.is_empty()),
        "it was left alone"
    );
}
