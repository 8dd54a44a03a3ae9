//! A region's life: a primary whose state is a list of numbers, steered by the input, with every state that it was ever in.

use arbitrary::{Result, Unstructured};
use outlive_layout::geometry::{BLOCK_BYTES, MIN_RING_BYTES, SEALS_OFFSET};
use outlive_layout::heartbeat::FLOOR_OFFSET;
use outlive_layout::{
    Cursor, Geometry, ReadOptions, Reader, RecoveryOptions, Set, SetKind, SetPlan, Settling, Start, Writer,
};

use super::{REGION, Region};

/// Bytes of the smallest region.
pub(in crate::targets) const SMALLEST_BYTES: u64 = SEALS_OFFSET + 4 * BLOCK_BYTES + MIN_RING_BYTES;
/// Steps of a life: enough for several laps of the smallest ring.
const MAX_STEPS: usize = 40;
/// Images of the past that are kept, for damage that brings old bytes back.
const MAX_PAST: usize = 3;

/// What a primary left, and what it may be taken for.
pub(in crate::targets) struct History {
    pub(in crate::targets) region: Region,
    /// Every state that ever was; what a reader makes of the region must be one of them.
    pub(in crate::targets) states: Vec<Vec<u32>>,
    /// Where a backup stood at some time, and what it held.
    pub(in crate::targets) backup: Option<(Cursor, Vec<u32>)>,
    /// Earlier images.
    pub(in crate::targets) past: Vec<Vec<u8>>,
    /// Region offsets at which something was written: where damage hits.
    pub(in crate::targets) places: Vec<u64>,
    writer: Writer,
    items: Vec<u32>,
    next_item: u32,
}

impl History {
    /// Lives as the input says, until it has no more to say.
    pub(in crate::targets) fn live(input: &mut Unstructured<'_>) -> Result<Self> {
        let slots = 2 + u32::from(input.arbitrary::<u8>()? % 2);
        let ring: u64 = [MIN_RING_BYTES, 17 << 10, 24 << 10][usize::from(input.arbitrary::<u8>()?) % 3];
        let size = SEALS_OFFSET + u64::from(slots) * 2 * BLOCK_BYTES + ring;
        let geometry = Geometry::new(size, slots, BLOCK_BYTES).expect("a small region");
        let mut bytes = vec![0xee; usize::try_from(size).expect("a small region")];
        for (offset, head) in geometry.format(REGION) {
            let at = usize::try_from(offset).expect("a small region");
            bytes[at..at + head.len()].copy_from_slice(&head);
        }
        let mut region = Region::new(bytes);
        let writer = take_over(&mut region, 1);
        let mut history = Self {
            region,
            states: vec![Vec::new()],
            backup: None,
            past: Vec::new(),
            places: vec![0, 4096, 8192, FLOOR_OFFSET],
            writer,
            items: Vec::new(),
            next_item: 1,
        };
        let steps = usize::from(input.arbitrary::<u8>()?) % (MAX_STEPS + 1);
        for _ in 0..steps {
            history.step(input)?;
        }
        Ok(history)
    }

    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match input.arbitrary::<u8>()? % 12 {
            0..=4 => self.append(usize::from(input.arbitrary::<u8>()?) * 16),
            5 => self.writer.journal_committed(self.writer.last_sequence()),
            6 => self.tell_floor(),
            7 => self.save(4),
            8 => self.save(input.arbitrary::<u8>()? % 4),
            9 => self.clear(),
            10 => self.be_taken_over(),
            _ => {
                if self.past.len() < MAX_PAST {
                    self.past.push(self.region.bytes.clone());
                }
                self.follow();
            }
        }
        Ok(())
    }

    fn append(&mut self, length: usize) {
        let mut payload = self.next_item.to_le_bytes().to_vec();
        payload.resize(4 + length, payload[0]);
        // A full journal is refused; the life goes on.
        let Ok(plan) = self.writer.append(&payload, 7) else {
            return;
        };
        self.post(&plan, &payload);
        self.items.push(self.next_item);
        self.next_item += 1;
        self.states.push(self.items.clone());
    }

    fn clear(&mut self) {
        let Ok(plan) = self.writer.clear(7) else { return };
        self.post(&plan, &[]);
        self.items.clear();
        self.states.push(Vec::new());
    }

    fn tell_floor(&mut self) {
        let record = self.writer.floor_record(9).encode(REGION);
        self.region.write(FLOOR_OFFSET, &record);
    }

    /// Saves, and gives up after so many phases (all are four).
    fn save(&mut self, phases: u8) {
        let payload: Vec<u8> = self.items.iter().flat_map(|item| item.to_le_bytes()).collect();
        let Ok(plan) = self.writer.begin_snapshot(payload.len() as u64, 7) else {
            return;
        };
        let (offset, zeroes) = plan.invalidate();
        self.region.write(offset, &zeroes);
        self.places.push(offset);
        if phases > 0 {
            self.region.write(plan.payload_offset(), &payload);
            self.places.push(plan.payload_offset());
        }
        let sealed = plan.seal(&plan.checksum().with(&payload));
        if phases > 1 {
            let (offset, seal) = sealed.publish();
            self.region.write(offset, &seal);
        }
        if phases > 2 {
            self.writer.snapshot_committed(&sealed);
        }
        if phases > 3 {
            self.writer.journal_committed(self.writer.last_sequence());
            self.writer.snapshot_verified(&sealed);
        } else {
            self.writer.snapshot_failed();
        }
    }

    fn be_taken_over(&mut self) {
        let generation = self.writer.generation() + 1;
        self.writer = take_over(&mut self.region, generation);
    }

    fn follow(&mut self) {
        let len = self.region.len();
        let mut reader = Reader::open(&mut self.region, REGION, len).expect("whole");
        let reading = reader
            .read(&mut self.region, &ReadOptions::default())
            .expect("whole");
        assert_eq!(state_of(reading.snapshot.as_ref(), &reading.updates), self.items);
        self.backup = Some((reading.cursor, self.items.clone()));
    }

    fn post(&mut self, plan: &SetPlan, payload: &[u8]) {
        self.places.push(plan.offset);
        post(&mut self.region, plan, payload);
    }
}

/// Recovers a whole region and begins a new generation in it.
fn take_over(region: &mut Region, generation: u64) -> Writer {
    let len = region.len();
    let mut reader = Reader::open(region, REGION, len).expect("whole");
    let recovery = reader
        .recover(region, Start::Everything, &RecoveryOptions::default())
        .expect("whole");
    for step in recovery.settling() {
        if let Settling::Write(offset, bytes) = step {
            region.write(offset, bytes);
        }
    }
    let (writer, plan) =
        Writer::resume_owing(REGION, &recovery.point, generation, 7).expect("a higher generation");
    if let Some(plan) = plan {
        post(region, &plan, &[]);
    }
    writer
}

pub(in crate::targets) fn post(region: &mut Region, plan: &SetPlan, payload: &[u8]) {
    if let Some(wrap) = &plan.wrap {
        region.write(wrap.offset, &wrap.header);
    }
    region.write(plan.offset, &[&plan.header, payload].concat());
}

/// The state that sets describe.
pub(super) fn state_of(snapshot: Option<&Set>, updates: &[Set]) -> Vec<u32> {
    let words = |set: &Set| -> Vec<u32> {
        let words = set.payload.chunks(4);
        words
            .map(|word| u32::from_le_bytes(word.try_into().expect("a snapshot that was written")))
            .collect()
    };
    let mut items = snapshot.map_or_else(Vec::new, words);
    apply(&mut items, updates);
    items
}

/// Applies updates and clear marks to a state.
pub(super) fn apply(items: &mut Vec<u32>, sets: &[Set]) {
    for set in sets {
        match set.kind {
            SetKind::Clear => items.clear(),
            SetKind::Update => {
                let (item, rest) = set
                    .payload
                    .split_first_chunk()
                    .expect("an update that was written");
                assert!(
                    rest.iter().all(|byte| *byte == item[0]),
                    "no update has this payload"
                );
                items.push(u32::from_le_bytes(*item));
            }
            SetKind::Snapshot | SetKind::Takeover | SetKind::Wrap => {}
        }
    }
}
