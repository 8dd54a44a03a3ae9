//! The superblock survives a crash at any byte of any write. (`tests/power` cuts between words, and at every event.)

use outlive_media::simulated::{FlushFault, Happened, Image, SimulatedMedia};
use outlive_media::superblock::BLOCK;
use outlive_media::{Copy, MediaError, Stored, Superblock, Volume};

const LEN: u64 = 8 << 20;

fn formatted() -> SimulatedMedia {
    let media = SimulatedMedia::new(LEN);
    Volume::start(media.medium(), Stored::New).unwrap();
    media
}

fn superblock(image: &Image) -> Result<Superblock, MediaError> {
    Superblock::read(&SimulatedMedia::of(image.clone()).medium())
}

/// The image before each store of the trace, and the store as it was placed.
fn stores(media: &SimulatedMedia) -> Vec<(Image, u64, Vec<u8>)> {
    let mut images = Vec::new();
    let seen = media.trace().each_cut(|cut| {
        images.push(cut.placed().clone());
        Ok::<_, std::convert::Infallible>(())
    });
    let Ok(()) = seen;
    let trace = media.trace();
    let events = trace.events().zip(images.windows(2));
    let stores = events.filter_map(|(event, images)| {
        let Happened::Store { at, len } = event else {
            return None;
        };
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        images[1].read(at, &mut bytes);
        Some((images[0].clone(), at, bytes))
    });
    stores.collect()
}

fn flip(image: &mut Image, at: u64) {
    let mut byte = [0];
    image.read(at, &mut byte);
    image.write(at, &[!byte[0]]);
}

#[test]
fn an_update_torn_at_any_byte_leaves_the_old_or_the_new() {
    let media = formatted();
    let volume = Volume::start(media.medium(), Stored::Before).unwrap();
    for _ in 0..3 {
        media.forget();
        let generation = volume.raise_manager_generation().unwrap();
        let stores = stores(&media);
        assert_eq!(stores.len(), 2, "one copy, then the other");
        let mut seen = Vec::new();
        for (before, at, bytes) in &stores {
            // Beyond the header's 120 bytes the block is zero before and after.
            for torn in (0..=128).chain([bytes.len()]) {
                let mut image = before.clone();
                image.write(*at, &bytes[..torn]);
                let superblock = superblock(&image).unwrap();
                assert_eq!(superblock.geometry, *volume.geometry());
                assert_eq!(superblock.incarnation, volume.incarnation());
                seen.push(superblock.manager_generation);
            }
        }
        assert!(seen.is_sorted(), "{seen:?}");
        assert_eq!((seen[0], seen[seen.len() - 1]), (generation - 1, generation));
    }
}

#[test]
fn either_copy_alone_knows_the_numbers_that_were_used() {
    let media = formatted();
    let volume = Volume::start(media.medium(), Stored::Before).unwrap();
    let generation = volume.raise_manager_generation().unwrap();
    for copy in 0..2 {
        let mut image = media.persistent();
        flip(&mut image, copy * BLOCK + 30);
        let superblock = superblock(&image).unwrap();
        assert_eq!(superblock.incarnation, volume.incarnation());
        assert_eq!(superblock.manager_generation, generation);
    }
}

#[test]
fn formatting_is_never_half_believed() {
    let media = formatted();
    let mut was_valid = false;
    for (before, at, _) in stores(&media) {
        let is_valid = superblock(&before).is_ok();
        assert!(is_valid || !was_valid, "once valid, always valid");
        assert!(
            !is_valid || at < 2 * BLOCK,
            "the catalog is whole before a superblock names it"
        );
        was_valid = is_valid;
    }
    assert!(was_valid);
}

#[test]
fn an_incarnation_is_persistent_before_it_is_served() {
    let media = formatted();
    for incarnation in 2..6 {
        let volume = Volume::start(media.medium(), Stored::Before).unwrap();
        assert_eq!(volume.incarnation(), incarnation);
        assert_eq!(superblock(&media.persistent()).unwrap().incarnation, incarnation);
    }
    media.fail_flushes(Some(FlushFault::Fails));
    assert!(matches!(
        Volume::start(media.medium(), Stored::Before),
        Err(MediaError::Poisoned { .. })
    ));
}

#[test]
fn either_copy_alone_is_enough_and_neither_is_a_clear_error() {
    let media = formatted();
    let volume = Volume::start(media.medium(), Stored::Before).unwrap();
    volume.raise_manager_generation().unwrap();
    let newest = superblock(&media.persistent()).unwrap();
    let damaged = |copies: &[u64]| {
        let mut image = media.persistent();
        for copy in copies {
            flip(&mut image, copy * BLOCK + 60);
        }
        SimulatedMedia::of(image)
    };
    for copy in [0, 1] {
        let media = damaged(&[copy]);
        let found = Superblock::read(&media.medium()).unwrap();
        assert!(newest.sequence - found.sequence <= 1);
        let copies = Superblock::read_copies(&media.medium());
        assert!(matches!(copies[usize::try_from(copy).unwrap()], Copy::Damaged(_)));
        // The next update repairs the damaged copy or the other one; two make both whole.
        for _ in 0..2 {
            Volume::start(media.medium(), Stored::Before).unwrap();
        }
        assert!(
            Superblock::read_copies(&media.medium())
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
    let mut head = vec![0; 1 << 20];
    formatted().persistent().read(0, &mut head);
    let mut shorter = Image::zeroed(LEN - BLOCK);
    shorter.write(0, &head);
    let error = superblock(&shorter).unwrap_err();
    assert!(
        matches!(error, MediaError::WrongLength { found, expected, .. } if (found, expected) == (LEN - BLOCK, LEN))
    );
    let mut image = Image::zeroed(LEN);
    image.write(0, &[b'x'; 3 << 12]);
    let foreign = SimulatedMedia::of(image);
    assert!(matches!(
        Volume::start(foreign.medium(), Stored::Before),
        Err(MediaError::NotOurs { .. })
    ));
    let stores = foreign.trace();
    let stores = stores.events().filter(|event| *event != Happened::Persist);
    assert_eq!(stores.count(), 0, "it was left alone");
}
