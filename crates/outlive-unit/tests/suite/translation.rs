//! Regions of several extents look like one range (U2, U4).

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::rig::{BLOCK, Rig};

/// Out of physical order, with gaps that belong to others.
const FRAGMENTS: [(u64, u64); 4] = [(40, 2), (7, 1), (90, 3), (20, 1)];
const NEIGHBOURS: [(u64, u64); 5] = [(5, 2), (8, 4), (38, 2), (42, 4), (93, 2)];

#[derive(Clone, Debug)]
enum Action {
    Write(u64, Vec<u8>),
    Read(u64, usize),
}

/// Anything from one byte to all of it; often right at a border between extents.
fn action(len: u64) -> impl Strategy<Value = Action> {
    let border =
        (1..len / BLOCK, -3..=3_i64).prop_map(|(block, near)| (block * BLOCK).saturating_add_signed(near));
    let offset = prop_oneof![0..len, border];
    let length = prop_oneof![1..20_u64, 1..len, BLOCK - 2..BLOCK + 3];
    (offset, length, any::<u8>(), any::<bool>()).prop_map(move |(offset, length, seed, write)| {
        let length = usize::try_from(length.min(len - offset)).unwrap();
        if write {
            Action::Write(
                offset,
                (0..=250)
                    .cycle()
                    .map(|byte: u8| byte.wrapping_add(seed))
                    .take(length)
                    .collect(),
            )
        } else {
            Action::Read(offset, length)
        }
    })
}

#[test]
fn a_fragmented_region_behaves_as_one_array() {
    let rig = Rig::memory();
    let region = rig.region(1, &FRAGMENTS);
    let around = rig.region(2, &NEIGHBOURS);
    let mut neighbour = rig.open(around, true, 1);
    let filler = vec![0xEE; usize::try_from(neighbour.data_len).unwrap()];
    neighbour.write(neighbour.data, 0, &filler).unwrap();

    let mut client = rig.open(region, true, 1);
    let len = client.data_len;
    assert_eq!(len, 6 * BLOCK, "seven blocks, one of them the metadata page");
    let mut model = vec![0; usize::try_from(len).unwrap()];
    let actions = prop::collection::vec(action(len), 1..30);
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let (client, model) = (
        std::cell::RefCell::new(&mut client),
        std::cell::RefCell::new(&mut model),
    );
    let outcome = runner.run(&actions, |actions| {
        let (mut client, mut model) = (client.borrow_mut(), model.borrow_mut());
        let key = client.data;
        for action in actions {
            match action {
                Action::Write(offset, bytes) => {
                    client.write(key, offset, &bytes).unwrap();
                    let at = usize::try_from(offset).unwrap();
                    model[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                Action::Read(offset, length) => {
                    let at = usize::try_from(offset).unwrap();
                    prop_assert_eq!(
                        &client.read(key, offset, length).unwrap(),
                        &model[at..at + length]
                    );
                }
            }
        }
        prop_assert_eq!(&client.all(), &**model);
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(neighbour.all(), filler, "a neighbour's bytes were touched");
}

#[test]
fn prepared_extents_are_zero_but_for_what_was_written_across_their_borders() {
    let rig = Rig::memory();
    let region = rig.region(1, &FRAGMENTS);
    let mut client = rig.open(region, true, 1);
    let dirty = vec![0xFF; usize::try_from(client.data_len).unwrap()];
    client.write(client.data, 0, &dirty).unwrap();
    assert_eq!(rig.withdraw(region).unwrap(), 1);

    // The first extent holds the metadata page and a block of data; the border lies at BLOCK.
    let writes = vec![(2 * BLOCK - 3, b"across".to_vec()), (0, b"page".to_vec())];
    rig.prepare(rig.extents(&FRAGMENTS), writes).unwrap();
    rig.program(region, rig.extents(&FRAGMENTS), 0).unwrap();
    let mut client = rig.open(region, false, 1);
    let mut expected = vec![0; dirty.len()];
    let border = usize::try_from(BLOCK).unwrap();
    expected[border - 3..border + 3].copy_from_slice(b"across");
    assert_eq!(client.all(), expected);
    assert_eq!(client.read(client.metadata, 0, 5).unwrap(), b"page\0");
}

#[test]
fn a_grown_region_keeps_its_bytes_and_old_connections_their_range() {
    let rig = Rig::memory();
    let region = rig.region(1, &FRAGMENTS[..2]);
    let mut old = rig.open(region, true, 1);
    old.write(old.data, BLOCK - 1, b"kept").unwrap();
    rig.prepare(rig.extents(&FRAGMENTS[2..]), Vec::new()).unwrap();
    rig.program(region, rig.extents(&FRAGMENTS), 0).unwrap();
    let mut new = rig.open(region, false, 1);
    assert_eq!((old.data_len, new.data_len), (2 * BLOCK, 6 * BLOCK));
    assert_eq!(new.read(new.data, BLOCK - 1, 4).unwrap(), b"kept");
    old.write(old.data, 0, b"still").unwrap();
    assert_eq!(new.read(new.data, 0, 5).unwrap(), b"still");
    assert!(old.write(old.data, 2 * BLOCK - 1, b"ab").is_err());
}
