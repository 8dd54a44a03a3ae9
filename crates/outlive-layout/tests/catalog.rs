//! The catalog against a plain model, its allocator, and hostile bytes.

use std::collections::BTreeMap;

use outlive_layout::catalog::{
    Allocator, Catalog, CatalogError, EXTENT_ALIGN, Extent, MAX_EXTENTS, NoSpace, Record, footprint,
    valid_name,
};
use outlive_layout::{RegionId, RegionKind};
use proptest::prelude::*;

const MEDIUM: Extent = Extent {
    start: 1 << 20,
    len: 64 * EXTENT_ALIGN,
};

fn id(n: u8) -> RegionId {
    RegionId([n; 16])
}

fn created(n: u8, name: &str, blocks: u64, extents: Vec<Extent>) -> Record {
    Record::RegionCreated {
        region: id(n),
        name: name.to_owned(),
        kind: RegionKind::Raw,
        size: blocks * EXTENT_ALIGN,
        slots: 0,
        max_snapshot: 0,
        extents,
        created_ms: 1,
    }
}

fn at(block: u64, blocks: u64) -> Extent {
    Extent {
        start: MEDIUM.start + block * EXTENT_ALIGN,
        len: blocks * EXTENT_ALIGN,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Create(u8, u64),
    Grow(u8, u64),
    Delete(u8),
    Open(u8),
    Close(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let region = 0u8..24;
    prop_oneof![
        4 => (region.clone(), 1u64..12).prop_map(|(region, blocks)| Step::Create(region, blocks)),
        2 => (region.clone(), 1u64..6).prop_map(|(region, blocks)| Step::Grow(region, blocks)),
        2 => region.clone().prop_map(Step::Delete),
        1 => region.clone().prop_map(Step::Open),
        1 => region.prop_map(Step::Close),
    ]
}

/// Applies a record as a manager does: through its encoding.
fn apply(catalog: &mut Catalog, record: &Record) -> Result<(), CatalogError> {
    let payload = Record::encode_all(std::slice::from_ref(record));
    let records = Record::decode_all(&payload).expect("what was encoded is decoded");
    assert_eq!(records.as_slice(), std::slice::from_ref(record));
    catalog.apply(&records[0])
}

fn grow(catalog: &mut Catalog, allocator: &mut Allocator, n: u8, blocks: u64) {
    let entry = catalog.region(id(n)).expect("it exists").clone();
    let mut extents = entry.extents;
    let last = *extents.last().expect("a region has extents");
    match allocator.extend(last, blocks * EXTENT_ALIGN) {
        Some(longer) => *extents.last_mut().expect("as before") = longer,
        None => match allocator.allocate(blocks * EXTENT_ALIGN, MAX_EXTENTS - extents.len()) {
            Ok(more) => extents.extend(more),
            Err(_) => return,
        },
    }
    let record = Record::Resized {
        region: id(n),
        size: entry.size + blocks * EXTENT_ALIGN,
        extents,
    };
    apply(catalog, &record).expect("what the allocator gave fits");
}

proptest! {
    #[test]
    fn nothing_leaks_and_nothing_is_shared(steps in prop::collection::vec(step(), 1..120)) {
        let mut catalog = Catalog::new(MEDIUM);
        let mut allocator = Allocator::new(&catalog);
        let mut model: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Create(n, blocks) => {
                    let Ok(extents) = allocator.allocate(footprint(blocks * EXTENT_ALIGN).expect("small"), MAX_EXTENTS) else {
                        let used: u64 = model.values().map(|(blocks, _)| blocks + 1).sum();
                        prop_assert!(used + blocks + 1 > 64, "refused with {} of 64 blocks in use", used);
                        continue;
                    };
                    let record = created(n, &format!("region-{n}"), blocks, extents.clone());
                    let outcome = apply(&mut catalog, &record);
                    if let std::collections::btree_map::Entry::Vacant(vacant) = model.entry(n) {
                        prop_assert_eq!(outcome, Ok(()));
                        vacant.insert((blocks, 0));
                    } else {
                        let taken = matches!(outcome, Err(CatalogError::NameTaken { .. }));
                        prop_assert!(taken);
                        prop_assert_eq!(allocator.check(&catalog, &extents), vec![]);
                        allocator.release(&extents);
                    }
                }
                Step::Grow(n, blocks) if model.contains_key(&n) => {
                    grow(&mut catalog, &mut allocator, n, blocks);
                    let size = catalog.region(id(n)).expect("it exists").size;
                    model.entry(n).and_modify(|entry| entry.0 = size / EXTENT_ALIGN);
                }
                Step::Delete(n) => {
                    let extents = catalog.region(id(n)).map(|entry| entry.extents.clone());
                    let outcome = apply(&mut catalog, &Record::Deleted { region: id(n) });
                    prop_assert_eq!(outcome.is_ok(), model.remove(&n).is_some());
                    allocator.release(&extents.unwrap_or_default());
                }
                Step::Open(n) | Step::Grow(n, _) => {
                    let generation = model.get(&n).map_or(1, |entry| entry.1 + 1);
                    let record = Record::Opened { region: id(n), generation, owner: "host:1".into() };
                    prop_assert_eq!(apply(&mut catalog, &record).is_ok(), model.contains_key(&n));
                    prop_assert!(catalog.apply(&record).is_err(), "a generation is given once");
                    model.entry(n).and_modify(|entry| entry.1 = generation);
                }
                Step::Close(n) => {
                    let generation = model.get(&n).map_or(0, |entry| entry.1);
                    let outcome = apply(&mut catalog, &Record::Closed { region: id(n), generation });
                    prop_assert_eq!(outcome.is_ok(), model.contains_key(&n));
                }
            }
            prop_assert_eq!(catalog.check(), vec![]);
            prop_assert_eq!(allocator.check(&catalog, &[]), vec![]);
        }
        let restored = Catalog::decode(&catalog.encode(), MEDIUM).expect("what was encoded is decoded");
        prop_assert_eq!(&restored, &catalog);
        for (n, (blocks, generation)) in model {
            let entry = restored.region_named(&format!("region-{n}")).expect("kept");
            prop_assert_eq!((entry.size, entry.generation), (blocks * EXTENT_ALIGN, generation));
        }
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut versioned = vec![1, 0];
        versioned.extend_from_slice(&bytes);
        for bytes in [bytes, versioned] {
            let _ = Catalog::decode(&bytes, MEDIUM);
            if let Ok(records) = Record::decode_all(&bytes) {
                let mut catalog = Catalog::new(MEDIUM);
                for record in &records {
                    let _ = catalog.apply(record);
                    prop_assert_eq!(catalog.check(), vec![]);
                }
            }
        }
    }

    #[test]
    fn changed_bytes_never_break_an_invariant(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut catalog = Catalog::new(MEDIUM);
        for n in 0..6u8 {
            let extents = vec![self::at(u64::from(n) * 8, 2), self::at(u64::from(n) * 8 + 4, 2)];
            catalog.apply(&created(n, &format!("r{n}"), 3, extents)).expect("apart");
        }
        let mut bytes = catalog.encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(catalog) = Catalog::decode(&bytes, MEDIUM) {
            prop_assert_eq!(catalog.check(), vec![]);
        }
    }
}

#[test]
fn what_would_break_a_rule_is_refused_and_changes_nothing() {
    let mut catalog = Catalog::new(MEDIUM);
    catalog
        .apply(&created(1, "one", 3, vec![at(4, 4)]))
        .expect("room");
    let before = catalog.clone();
    let refused = [
        created(2, "one", 1, vec![at(20, 2)]),
        created(1, "two", 1, vec![at(20, 2)]),
        created(2, "-x", 1, vec![at(20, 2)]),
        created(2, "two", 1, vec![at(7, 2)]),
        created(2, "two", 1, vec![at(3, 2)]),
        created(2, "two", 1, vec![at(5, 2)]),
        created(2, "two", 5, vec![at(3, 6)]),
        created(2, "two", 1, vec![at(20, 1), at(20, 1)]),
        created(2, "two", 1, vec![at(63, 2)]),
        created(
            2,
            "two",
            1,
            vec![Extent {
                start: 0,
                len: 2 * EXTENT_ALIGN,
            }],
        ),
        created(
            2,
            "two",
            1,
            vec![Extent {
                start: u64::MAX - 4095,
                len: 2 * EXTENT_ALIGN,
            }],
        ),
        created(2, "two", 1, vec![at(20, 3)]),
        created(2, "two", 1, vec![]),
        Record::Resized {
            region: id(1),
            size: EXTENT_ALIGN,
            extents: vec![at(4, 2)],
        },
        Record::Resized {
            region: id(1),
            size: 4 * EXTENT_ALIGN,
            extents: vec![at(20, 5)],
        },
        Record::Closed {
            region: id(1),
            generation: 9,
        },
        Record::Deleted { region: id(7) },
        Record::ManagerGeneration { generation: 0 },
    ];
    for record in refused {
        assert!(catalog.apply(&record).is_err(), "{record:?}");
        assert_eq!(catalog, before, "{record:?}");
    }
}

#[test]
fn fragmented_space_is_given_out_in_several_extents() {
    let mut catalog = Catalog::new(MEDIUM);
    for n in 0..32u8 {
        catalog
            .apply(&created(n, &format!("r{n}"), 1, vec![at(u64::from(n) * 2, 2)]))
            .expect("room");
    }
    for n in (0..32).step_by(2) {
        catalog
            .apply(&Record::Deleted { region: id(n) })
            .expect("it exists");
    }
    let mut allocator = Allocator::new(&catalog);
    let extents = allocator
        .allocate(7 * EXTENT_ALIGN, MAX_EXTENTS)
        .expect("14 blocks are free");
    assert_eq!(extents.len(), 4);
    let refused = allocator.allocate(9 * EXTENT_ALIGN, 3);
    assert_eq!(
        refused,
        Err(NoSpace {
            asked: 9 * EXTENT_ALIGN,
            free: 25 * EXTENT_ALIGN,
            pieces: 3,
            reachable: 6 * EXTENT_ALIGN
        })
    );
    assert_eq!(
        allocator
            .allocate(2 * EXTENT_ALIGN, 1)
            .map(|extents| extents.len()),
        Ok(1)
    );
}

#[test]
fn names_are_sane() {
    for name in ["a", "kv/0", "a.b_c-d:1@host+x", &"n".repeat(200)] {
        assert!(valid_name(name), "{name}");
    }
    for name in ["", "-a", "/a", "a b", "a\n", "ä", "a\0", &"n".repeat(201)] {
        assert!(!valid_name(name), "{name:?}");
    }
}
