//! A region's metadata page: as it stands, and with a checksum that fits.

use outlive_layout::checksum::Checksum;
use outlive_layout::metadata::{AccessEntry, METADATA_PAGE_BYTES};
use outlive_layout::{MetadataPage, RegionId, RegionKind};

use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "metadata",
    about: "a region's metadata page",
    run,
    seeds,
    allowance_bytes: 64 << 10,
};

/// Where the page says its length, its checksum and its region.
const LENGTH_AT: usize = 10;
const CHECKSUM_AT: usize = 12;
const REGION_AT: usize = 16;
const BODY_AT: usize = 32;

fn run(input: &[u8]) {
    check(input);
    let mut sealed = input.to_vec();
    if let Some(region) = input.get(REGION_AT..BODY_AT).and_then(|id| id.first_chunk()) {
        let len = usize::from(u16::from_le_bytes([input[LENGTH_AT], input[LENGTH_AT + 1]]));
        let body = &input[BODY_AT..(BODY_AT + len).min(input.len())];
        let crc = Checksum::seeded(RegionId(*region), 0, 0).with(body).value();
        sealed[CHECKSUM_AT..REGION_AT].copy_from_slice(&crc.to_le_bytes());
        check(&sealed);
    }
}

fn check(bytes: &[u8]) {
    let Ok(page) = MetadataPage::decode(bytes) else {
        return;
    };
    let again = page.encode().expect("what decodes encodes");
    assert_eq!(again.len(), METADATA_PAGE_BYTES);
    assert_eq!(MetadataPage::decode(&again), Ok(page));
}

fn seeds() -> Vec<Seed> {
    let entry = |identity: &str, writable| AccessEntry {
        identity: identity.into(),
        writable,
    };
    let page = MetadataPage {
        region: RegionId([1; 16]),
        name: "orders".into(),
        kind: RegionKind::Checkpoint,
        size: 1 << 20,
        slots: 2,
        max_snapshot: 4096,
        generation: 3,
        owner: "host:1".into(),
        created_ms: 4,
        ranges: vec![(0, 4096), (4096, 8192)],
        access: vec![entry("alice", true), entry("bob", false)],
    };
    let mut bytes = page.encode().expect("a small page");
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    bytes.truncate(end.next_multiple_of(8));
    vec![("page", bytes)]
}
