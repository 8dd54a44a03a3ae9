//! The catalog against a plain model, its allocator, and hostile bytes.

use std::collections::{BTreeMap, BTreeSet};

use outlive_layout::catalog::{
    AccessList, AccessRight, Allocator, Catalog, CatalogError, EXTENT_ALIGN, Extent, IdentityEntry,
    MAX_EXTENTS, MAX_IDENTITIES, NoSpace, Owner, Record, footprint, valid_identity, valid_name,
};
use outlive_layout::metadata::MAX_ACCESS_ENTRIES;
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
        access: AccessList::new([format!("owner-{n}")], []).expect("a name"),
    }
}

fn opened(n: u8, generation: u64) -> Record {
    Record::Opened {
        region: id(n),
        generation,
        owner: "host:1".into(),
        identity: "primary".into(),
    }
}

fn changed(n: u8, identity: &str, right: AccessRight, allowed: bool) -> Record {
    Record::AccessChanged {
        region: id(n),
        identity: identity.to_owned(),
        right,
        allowed,
    }
}

fn identity(name: &str) -> IdentityEntry {
    IdentityEntry {
        name: name.to_owned(),
        administrator: true,
        revoked: false,
        serials: vec![vec![7; 20], vec![1]],
        issued_ms: 3,
        expires_ms: 9,
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
    Change(u8, u8, AccessRight, bool),
    Know(u8, bool, bool, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let region = 0u8..24;
    prop_oneof![
        4 => (region.clone(), 1u64..12).prop_map(|(region, blocks)| Step::Create(region, blocks)),
        2 => (region.clone(), 1u64..6).prop_map(|(region, blocks)| Step::Grow(region, blocks)),
        2 => region.clone().prop_map(Step::Delete),
        1 => region.clone().prop_map(Step::Open),
        1 => region.clone().prop_map(Step::Close),
        3 => (region, 0u8..20, any::<bool>(), any::<bool>()).prop_map(|(region, who, owner, allowed)| {
            let right = if owner { AccessRight::Owner } else { AccessRight::Reader };
            Step::Change(region, who, right, allowed)
        }),
        1 => (0u8..4, any::<bool>(), any::<bool>(), 0usize..6)
            .prop_map(|(who, administrator, revoked, serials)| Step::Know(who, administrator, revoked, serials)),
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
        let mut access: BTreeMap<u8, BTreeSet<(String, bool)>> = BTreeMap::new();
        let mut known: BTreeMap<String, IdentityEntry> = BTreeMap::new();
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
                        access.insert(n, [(format!("owner-{n}"), true)].into());
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
                    access.remove(&n);
                    allocator.release(&extents.unwrap_or_default());
                }
                Step::Open(n) | Step::Grow(n, _) => {
                    let generation = model.get(&n).map_or(1, |entry| entry.1 + 1);
                    let record = opened(n, generation);
                    prop_assert_eq!(apply(&mut catalog, &record).is_ok(), model.contains_key(&n));
                    prop_assert!(catalog.apply(&record).is_err(), "a generation is given once");
                    model.entry(n).and_modify(|entry| entry.1 = generation);
                }
                Step::Close(n) => {
                    let generation = model.get(&n).map_or(0, |entry| entry.1);
                    let outcome = apply(&mut catalog, &Record::Closed { region: id(n), generation });
                    prop_assert_eq!(outcome.is_ok(), model.contains_key(&n));
                }
                Step::Change(n, who, right, allowed) => {
                    let who = format!("who-{who}");
                    let outcome = apply(&mut catalog, &changed(n, &who, right, allowed));
                    let entry = (who, right == AccessRight::Owner);
                    let Some(list) = access.get_mut(&n) else {
                        prop_assert_eq!(outcome, Err(CatalogError::NoSuchRegion { region: id(n) }));
                        continue;
                    };
                    let is_full = allowed && !list.contains(&entry) && list.len() == MAX_ACCESS_ENTRIES;
                    prop_assert_eq!(outcome, if is_full { Err(CatalogError::AccessFull) } else { Ok(()) });
                    match (allowed, is_full) {
                        (true, false) => drop(list.insert(entry)),
                        (false, _) => drop(list.remove(&entry)),
                        (true, true) => {}
                    }
                }
                Step::Know(who, administrator, revoked, serials) => {
                    let entry = IdentityEntry {
                        administrator,
                        revoked,
                        serials: (0..serials).map(|n| vec![u8::try_from(n).expect("few"); n + 1]).collect(),
                        ..identity(&format!("known-{who}"))
                    };
                    let record = Record::IdentitySet { identity: entry.clone() };
                    if serials > 4 {
                        let encoded = Record::encode_all(std::slice::from_ref(&record));
                        prop_assert!(Record::decode_all(&encoded).is_err() && catalog.apply(&record).is_err());
                    } else {
                        prop_assert_eq!(apply(&mut catalog, &record), Ok(()));
                        known.insert(entry.name.clone(), entry);
                    }
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
            let owners = entry.access.owners().map(|name| (name.to_owned(), true));
            let listed: BTreeSet<_> = owners.chain(entry.access.readers().map(|name| (name.to_owned(), false))).collect();
            prop_assert_eq!(&listed, &access[&n]);
        }
        prop_assert!(restored.identities().eq(known.values()));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut versioned = vec![2, 0];
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
            catalog.apply(&opened(n, 1)).expect("the first generation");
            let identity = identity(&format!("i{n}"));
            catalog.apply(&Record::IdentitySet { identity }).expect("a name");
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
        Record::Opened {
            region: id(1),
            generation: 1,
            owner: "host:1".into(),
            identity: String::new(),
        },
        changed(7, "someone", AccessRight::Owner, true),
        changed(1, "no name", AccessRight::Owner, true),
        changed(1, "", AccessRight::Reader, false),
        Record::IdentitySet {
            identity: identity("no name"),
        },
        Record::IdentitySet {
            identity: IdentityEntry {
                serials: vec![vec![1]; 2],
                ..identity("twice")
            },
        },
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

#[test]
fn identities_are_named_more_briefly_than_regions() {
    assert!(valid_identity(&"n".repeat(64)) && valid_identity("system/manager"));
    assert!(!valid_identity(&"n".repeat(65)) && !valid_identity("") && !valid_identity("a b"));
}

#[test]
fn identities_are_bounded_and_those_that_are_known_can_still_be_changed() {
    let mut catalog = Catalog::new(MEDIUM);
    for n in 0..MAX_IDENTITIES {
        let identity = identity(&format!("i{n}"));
        catalog
            .apply(&Record::IdentitySet { identity })
            .expect("within the bound");
    }
    let one_more = Record::IdentitySet {
        identity: identity("beyond"),
    };
    assert_eq!(catalog.apply(&one_more), Err(CatalogError::IdentitiesFull));
    let revoked = IdentityEntry {
        revoked: true,
        ..identity("i7")
    };
    catalog
        .apply(&Record::IdentitySet {
            identity: revoked.clone(),
        })
        .expect("it is known");
    let restored = Catalog::decode(&catalog.encode(), MEDIUM).expect("what was encoded is decoded");
    assert_eq!(restored.identity("i7"), Some(&revoked));
    assert_eq!(restored, catalog);
}

#[test]
fn the_owner_of_a_generation_is_kept_with_its_identity() {
    let mut catalog = Catalog::new(MEDIUM);
    catalog
        .apply(&created(1, "one", 3, vec![at(4, 4)]))
        .expect("room");
    catalog.apply(&opened(1, 1)).expect("the first generation");
    let restored = Catalog::decode(&catalog.encode(), MEDIUM).expect("what was encoded is decoded");
    let owner = Owner {
        label: "host:1".into(),
        identity: "primary".into(),
    };
    assert_eq!(restored.region(id(1)).expect("kept").owner, Some(owner));
}

/// What is on media must stay readable: a change here needs another version.
#[test]
fn the_bytes_of_records_are_those_of_version_2() {
    let records = [
        Record::IdentitySet {
            identity: identity("ann"),
        },
        changed(5, "bob", AccessRight::Owner, true),
        opened(5, 6),
        Record::Closed {
            region: id(5),
            generation: 6,
        },
    ];
    let mut bytes = vec![2, 0, 4, 0, 0, 0];
    bytes.extend([7, 3, 0, b'a', b'n', b'n', 1, 2, 20]);
    bytes.extend([7; 20]);
    bytes.extend([1, 1, 3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    bytes.push(8);
    bytes.extend([5; 16]);
    bytes.extend([3, 0, b'b', b'o', b'b', 2, 1]);
    bytes.push(3);
    bytes.extend([5; 16]);
    bytes.extend([6, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(b"\x06\0host:1\x07\0primary");
    bytes.push(4);
    bytes.extend([5; 16]);
    bytes.extend([6, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Record::encode_all(&records), bytes);
    assert_eq!(Record::decode_all(&bytes).as_deref(), Ok(records.as_slice()));
}
