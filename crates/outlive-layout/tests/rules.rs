//! Rules of the design that need an adversary of their own: seeds, the order of snapshots, laps, retries, taken back seals.

mod region;

use std::convert::Infallible;

use outlive_layout::seal::{SEAL_BYTES, SealState};
use outlive_layout::set::SET_HEADER_BYTES;
use outlive_layout::{
    Fresh, Geometry, HeaderFault, ReadError, ReadOptions, Reader, RecoveryOptions, RegionId, Seal, SetHeader,
    SetKind, Source, Start, Writer,
};
use region::REGION;
use region::primary::{Primary, SAVE_PHASES, snapshot_payload, state_of};

const OTHER: RegionId = RegionId([0x5b; 16]);

fn geometry() -> Geometry {
    Geometry::new(64 * 1024, 2, 8192).expect("fits")
}

fn reader(primary: &mut Primary) -> Reader {
    let length = primary.region.placed.len() as u64;
    Reader::open(&mut primary.region, REGION, length).expect("formatted")
}

fn bytes_at(primary: &Primary, offset: u64, len: usize) -> Vec<u8> {
    let at = usize::try_from(offset).expect("small");
    primary.region.placed[at..at + len].to_vec()
}

fn put(primary: &mut Primary, offset: u64, bytes: &[u8]) {
    let at = usize::try_from(offset).expect("small");
    primary.region.placed[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Whole and intact, and yet not what belongs there.
#[test]
fn a_header_of_another_region_lap_or_place_never_verifies() {
    let logical = 8 * 1024;
    let header = SetHeader {
        kind: SetKind::Update,
        generation: 3,
        sequence: 9,
        logical,
        time_ns: 0,
        length: 10,
        stride: 128,
        floor: 8,
        continues: 0,
        predecessor: 3,
        payload_crc: 0,
    };
    let bytes = header.encode(REGION);
    assert_eq!(SetHeader::decode_at(REGION, logical, &bytes), Ok(header));
    SetHeader::decode_at(OTHER, logical, &bytes).expect_err("another region's");
    let ring = geometry().ring_len;
    for elsewhere in [logical + ring, logical + 7 * ring, logical + 8, logical - 8] {
        let found = SetHeader::decode_at(REGION, elsewhere, &bytes);
        assert!(matches!(found, Err(HeaderFault::OtherLap { .. })), "{found:?}");
    }
    // A logical offset that somebody wrote over with the wanted one does not help.
    let mut forged = bytes;
    forged[48..56].copy_from_slice(&(logical + ring).to_le_bytes());
    SetHeader::decode_at(REGION, logical + ring, &forged).expect_err("of another lap");
}

/// A payload may be whole and the same, and belong to another set.
#[test]
fn a_payload_of_another_region_generation_lap_or_snapshot_never_verifies() {
    let payload = b"the same bytes everywhere";
    let of = |region, generation, place| {
        let journal = SetHeader::payload_checksum(region, generation, place).with(payload);
        let slot = Seal::payload_checksum(region, generation, place).with(payload);
        [journal.value(), slot.value()]
    };
    let own = of(REGION, 3, 4096);
    for (region, generation, place) in [(OTHER, 3, 4096), (REGION, 4, 4096), (REGION, 3, 4096 + 28672)] {
        let other = of(region, generation, place);
        assert!(
            own[0] != other[0] && own[1] != other[1],
            "{region:?} {generation} {place}"
        );
    }
}

/// A slot's seal is of its region and its slot only.
#[test]
fn a_seal_of_another_region_or_slot_is_broken() {
    let seal = Seal {
        slot: 1,
        generation: 1,
        sequence: 2,
        time_ns: 0,
        length: 0,
        journal_start: 0,
        floor: 0,
        payload_crc: 0,
    };
    let bytes = seal.encode(REGION);
    let decode = |region, slot| Seal::decode(region, &geometry(), slot, &bytes);
    assert_eq!(decode(REGION, 1), SealState::Sealed(seal));
    assert_eq!(decode(REGION, 0), SealState::Broken);
    assert_eq!(decode(OTHER, 1), SealState::Broken);
}

/// What an earlier lap left in a place is whole; put back there, it is not served but called damage.
#[test]
fn a_set_of_an_earlier_lap_is_never_served() {
    let mut primary = Primary::create(&geometry());
    // Behind the takeover set, so that every further set begins at a multiple of 512 bytes, and so does every lap.
    primary.append(284).expect("room");
    let old = primary.append(396).expect("room");
    primary.commit();
    let bytes = bytes_at(&primary, old.offset, SET_HEADER_BYTES + 400);
    // A lap, in which each set is as long as that one.
    let new = loop {
        primary.save(SAVE_PHASES, &mut |_| {});
        let plan = primary.append(396).expect("room");
        if plan.offset == old.offset {
            break plan;
        }
    };
    primary.append(10).expect("room");
    primary.commit();
    primary.beat();
    primary.commit();
    assert!(new.sequence > old.sequence);
    put(&mut primary, old.offset, &bytes);
    let found = reader(&mut primary).read(&mut primary.region, &ReadOptions::default());
    assert!(matches!(found, Err(ReadError::Corrupt { .. })), "{found:?}");
}

/// Sequences of a generation whose sets were lost are given again: the generation comes first.
#[test]
fn a_snapshot_of_a_newer_generation_is_newer_whatever_its_sequence() {
    let mut primary = Primary::create(&geometry());
    let payloads = [snapshot_payload(&[1, 2, 3]), snapshot_payload(&[4])];
    for (slot, (generation, sequence)) in [(1, 50), (2, 40)].into_iter().enumerate() {
        let payload = &payloads[slot];
        let slot = u32::try_from(slot).expect("small");
        let checksum = Seal::payload_checksum(REGION, generation, sequence).with(payload);
        let seal = Seal {
            slot,
            generation,
            sequence,
            time_ns: 0,
            length: payload.len() as u64,
            journal_start: 4096,
            floor: 0,
            payload_crc: checksum.value(),
        };
        put(&mut primary, geometry().slot_offset(slot), payload);
        put(&mut primary, geometry().seal_offset(slot), &seal.encode(REGION));
    }
    let reading = primary.read();
    assert_eq!(
        reading.snapshot.map(|set| (set.generation, set.sequence)),
        Some((2, 40))
    );
    let recovery = reader(&mut primary)
        .recover(
            &mut primary.region,
            Start::Everything,
            &RecoveryOptions::default(),
        )
        .expect("whole");
    let (mut writer, _) = Writer::resume(REGION, &recovery.point, 3, 0).expect("room");
    let plan = writer.begin_snapshot(4, 0).expect("a slot");
    assert_eq!(plan.slot(), 0, "the older one is overwritten");
    assert!(plan.sequence() > 50, "above every sequence found");
}

/// The follower stands where the writer comes by again and again: the bytes before it are whole sets, of other laps.
#[test]
fn a_follower_that_was_lapped_once_exactly_once_or_many_times_is_told() {
    const STRIDE: u64 = 512;
    let per_lap = geometry().ring_len / STRIDE;
    // With the last set: one lap to the byte, one set more, two more, and several laps.
    for sets in [
        per_lap - 1,
        per_lap,
        per_lap + 1,
        2 * per_lap,
        5 * per_lap,
        5 * per_lap + 1,
    ] {
        let mut primary = Primary::create(&geometry());
        // Behind the takeover set, so that every further set begins at a multiple of the stride.
        primary.append(284).expect("room");
        primary.commit();
        let mut reader = reader(&mut primary);
        let read = reader.read(&mut primary.region, &ReadOptions::default());
        let mut cursor = read.expect("whole").cursor;
        assert_eq!(cursor.logical(), STRIDE);
        let seen = cursor.sequence();
        for set in 0..sets {
            if set % (per_lap / 2) == 0 {
                primary.save(SAVE_PHASES, &mut |_| {});
            }
            primary.append(396).expect("room");
        }
        primary.save(SAVE_PHASES, &mut |_| {});
        primary.append(396).expect("room");
        primary.commit();
        let to = primary.writer.floor_record(0).snapshot;
        let fresh = reader.follow(&mut primary.region, &mut cursor).expect("no error");
        if sets + 1 == per_lap {
            // The writer stands where the follower does, and has overwritten nothing that it has not read.
            let Fresh::Sets { sets, .. } = fresh else {
                panic!("nothing was overwritten")
            };
            assert_eq!(sets.len() as u64, per_lap);
            continue;
        }
        assert!(fresh == Fresh::Overrun { from: seen, to }, "{sets} sets");
        assert_eq!(cursor.sequence(), seen, "it stays where it was");
    }
}

/// Saves twice, so that every slot is overwritten, at each look at the region.
struct Restless {
    primary: Primary,
    looks: u32,
}

impl Source for Restless {
    type Error = Infallible;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        self.primary.region.read_at(offset, into)?;
        self.looks += 1;
        for _ in 0..2 {
            // Else the old payload would be a part of the new one.
            self.primary.clear().expect("room");
            self.primary.append(1).expect("room");
            self.primary.save(SAVE_PHASES, &mut |_| {});
        }
        Ok(())
    }
}

#[test]
fn a_reader_of_a_region_that_changes_at_every_look_gives_up() {
    let mut primary = Primary::create(&geometry());
    primary.append(1).expect("room");
    primary.save(SAVE_PHASES, &mut |_| {});
    let length = geometry().size;
    let mut restless = Restless { primary, looks: 0 };
    let mut reader = Reader::open(&mut restless, REGION, length).expect("formatted");
    let read = reader.read(&mut restless, &ReadOptions::default()).map(|_| ());
    assert!(
        matches!(read, Err(ReadError::Busy { attempts }) if attempts > 0),
        "{read:?}"
    );
    assert!(restless.looks < 200, "{} looks", restless.looks);
}

/// A snapshot that does not verify is no loss: nothing before it was reclaimed, and its seal is taken back.
#[test]
fn a_snapshot_that_was_taken_back_leaves_the_one_before_it() {
    let mut primary = Primary::create(&geometry());
    primary.append(10).expect("room");
    primary.save(SAVE_PHASES, &mut |_| {});
    primary.append(11).expect("room");
    primary.commit();
    let payload = snapshot_payload(&primary.items);
    let plan = primary
        .writer
        .begin_snapshot(payload.len() as u64, 0)
        .expect("a slot");
    let sealed = plan.seal(&plan.checksum().with(&payload));
    put(&mut primary, plan.payload_offset(), &vec![0xee; payload.len()]);
    put(&mut primary, sealed.publish().0, &sealed.publish().1);
    let tail = primary.writer.tail();
    primary.writer.snapshot_committed(&sealed);
    let seal = bytes_at(&primary, sealed.publish().0, SEAL_BYTES);
    assert!(!sealed.verify(&seal, &sealed.checksum().with(&vec![0xee; payload.len()])));
    let damaged = reader(&mut primary).read(&mut primary.region, &ReadOptions::default());
    assert!(matches!(damaged, Err(ReadError::Corrupt { .. })), "{damaged:?}");

    put(&mut primary, sealed.withdraw().0, &sealed.withdraw().1);
    primary.writer.snapshot_failed();
    assert_eq!(primary.writer.tail(), tail, "nothing was reclaimed");
    let reading = primary.read();
    assert_eq!(
        state_of(reading.snapshot.as_ref(), &reading.updates),
        primary.items
    );
    let again = primary.writer.begin_snapshot(4, 0).expect("a slot");
    assert_eq!(again.slot(), plan.slot(), "the next to be overwritten");
}

/// What lay behind a torn set was never acknowledged, but somebody may have seen its numbers: they are not given again.
#[test]
fn sequences_of_void_sets_are_not_given_again() {
    let mut primary = Primary::create(&geometry());
    primary.append(10).expect("room");
    primary.commit();
    let plans: Vec<_> = (0..4).map(|_| primary.append(10).expect("room")).collect();
    primary.region.commit();
    put(&mut primary, plans[0].offset, &[0; SET_HEADER_BYTES]);
    let recovery = reader(&mut primary)
        .recover(
            &mut primary.region,
            Start::Everything,
            &RecoveryOptions::default(),
        )
        .expect("torn is not corrupt");
    assert_eq!(recovery.void_sets, 3);
    let (_, takeover) = Writer::resume(REGION, &recovery.point, 2, 0).expect("room");
    assert_eq!(takeover.sequence, plans[3].sequence + 1);
    assert_eq!(takeover.offset, plans[0].offset, "it goes where the walk ended");
}
