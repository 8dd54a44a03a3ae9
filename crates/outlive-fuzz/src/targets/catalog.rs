//! The catalog: a snapshot, and changes behind it. Whatever is taken in, the catalog's rules hold after each change, a
//! change that is refused changed nothing, and the snapshot that it makes is itself.

use outlive_layout::catalog::{AccessList, AccessRight, Allocator, Catalog, Extent, IdentityEntry, Record};
use outlive_layout::{RegionId, RegionKind};

use super::frames::{Frames, framed};
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "catalog",
    about: "a catalog's snapshot and changes",
    run,
    seeds,
    allowance_bytes: 256 << 10,
};

/// Where the catalog of the seeds may allocate; beyond the catalog of the smallest medium.
pub(super) const ALLOCATABLE: Extent = Extent {
    start: 2 << 20,
    len: 6 << 20,
};
/// More changes than this are not looked at one by one: the rules are checked over the whole catalog after each.
const MAX_CHANGES: usize = 64;

fn run(input: &[u8]) {
    let mut frames = Frames(input);
    let Some(first) = frames.next() else { return };
    let mut catalog = match first {
        [] => Catalog::new(ALLOCATABLE),
        snapshot => match Catalog::decode(snapshot, ALLOCATABLE) {
            Ok(catalog) => catalog,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        },
    };
    check(&catalog);
    let mut changes = 0;
    for update in frames {
        let Ok(records) = Record::decode_all(update) else {
            continue;
        };
        assert_eq!(
            Record::decode_all(&Record::encode_all(&records)).as_ref(),
            Ok(&records)
        );
        for record in &records {
            changes += 1;
            if changes > MAX_CHANGES {
                return;
            }
            change(&mut catalog, record);
        }
    }
}

fn change(catalog: &mut Catalog, record: &Record) {
    let before = catalog.encode();
    match catalog.apply(record) {
        Ok(()) => check(catalog),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_eq!(
                catalog.encode(),
                before,
                "{record:?} was refused ({error}) and changed something"
            );
        }
    }
}

fn check(catalog: &Catalog) {
    assert_eq!(catalog.check(), []);
    let encoded = catalog.encode();
    let again = Catalog::decode(&encoded, ALLOCATABLE).expect("its own snapshot");
    assert_eq!(again.encode(), encoded);
    let mut allocator = Allocator::new(catalog);
    assert_eq!(allocator.check(catalog, &[]), []);
    let free = allocator.free_bytes();
    assert_eq!(free, catalog.free_bytes());
    if let Ok(extents) = allocator.allocate(8192, 4) {
        assert_eq!(allocator.check(catalog, &extents), []);
        allocator.release(&extents);
    }
    assert_eq!(allocator.free_bytes(), free);
}

fn seeds() -> Vec<Seed> {
    let records = records();
    let mut catalog = Catalog::new(ALLOCATABLE);
    for record in &records[..5] {
        catalog.apply(record).expect("a change of the seed's");
    }
    let each: Vec<Vec<u8>> = records
        .iter()
        .map(|record| Record::encode_all(std::slice::from_ref(record)))
        .collect();
    let one_by_one: Vec<Vec<u8>> = std::iter::once(Vec::new()).chain(each.iter().cloned()).collect();
    let from_snapshot: Vec<Vec<u8>> = std::iter::once(catalog.encode())
        .chain(each[5..].iter().cloned())
        .collect();
    vec![
        ("one-by-one", framed(&one_by_one)),
        ("at-once", framed(&[Vec::new(), Record::encode_all(&records)])),
        ("from-a-snapshot", framed(&from_snapshot)),
    ]
}

/// A short life of a catalog.
pub(super) fn records() -> Vec<Record> {
    let (first, second) = (RegionId([1; 16]), RegionId([2; 16]));
    let extent = |block: u64, blocks: u64| Extent {
        start: ALLOCATABLE.start + block * 4096,
        len: blocks * 4096,
    };
    let access = || AccessList::new(vec!["alice".into()], vec!["bob".into()]).expect("a short list");
    let created = |region, name: &str, kind, size, slots, max_snapshot, extents| Record::RegionCreated {
        region,
        name: name.into(),
        kind,
        size,
        slots,
        max_snapshot,
        extents,
        created_ms: 5,
        access: access(),
    };
    let identity = IdentityEntry {
        name: "alice".into(),
        administrator: true,
        serials: vec![vec![1, 2]],
        ..IdentityEntry::default()
    };
    vec![
        Record::ManagerGeneration { generation: 1 },
        created(
            first,
            "orders",
            RegionKind::Checkpoint,
            65536,
            2,
            4096,
            vec![extent(0, 17)],
        ),
        created(
            second,
            "raw",
            RegionKind::Raw,
            8192,
            0,
            0,
            vec![extent(20, 2), extent(30, 1)],
        ),
        Record::IdentitySet { identity },
        Record::Opened {
            region: first,
            generation: 1,
            owner: "host:1".into(),
            identity: "alice".into(),
        },
        Record::AccessChanged {
            region: first,
            identity: "carol".into(),
            right: AccessRight::Reader,
            allowed: true,
        },
        Record::Closed {
            region: first,
            generation: 1,
        },
        Record::Resized {
            region: first,
            size: 69632,
            extents: vec![extent(0, 18)],
        },
        Record::Deleted { region: second },
        Record::ManagerGeneration { generation: 2 },
    ]
}
