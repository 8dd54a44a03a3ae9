//! A primary whose state is a list of numbers, and what a reader may find of it.

use outlive_layout::heartbeat::FLOOR_OFFSET;
use outlive_layout::set::SET_HEADER_BYTES;
use outlive_layout::{
    Geometry, Reader, Reading, Recovery, RecoveryOptions, Set, SetKind, SetPlan, Settling, Start, WriteError,
    Writer,
};

use super::{REGION, Region};

/// Phases of a save after which a test may stop it.
pub(crate) const SAVE_PHASES: u8 = 6;

pub(crate) struct Primary {
    pub(crate) region: Region,
    pub(crate) writer: Writer,
    pub(crate) items: Vec<u32>,
    /// The state after each step of its history; what is recovered must be one of them.
    pub(crate) history: Vec<Vec<u32>>,
    /// Index into the history: everything up to here was acknowledged.
    pub(crate) acknowledged: usize,
    /// States that may still come back as long as the last takeover set is not committed: it holds the
    /// same bytes in many places as the torn set that it overwrites, and may make that whole.
    before_takeover: Vec<Vec<u32>>,
    next_item: u32,
    generation: u64,
}

impl Primary {
    pub(crate) fn create(geometry: &Geometry) -> Self {
        let mut region = Region::new(geometry);
        let (writer, _) = take_over(&mut region, 1, Start::Everything);
        region.commit();
        let mut primary = Self {
            region,
            writer,
            items: Vec::new(),
            history: vec![Vec::new()],
            acknowledged: 0,
            before_takeover: Vec::new(),
            next_item: 1,
            generation: 1,
        };
        primary.commit();
        primary
    }

    pub(crate) fn append(&mut self, length: usize) -> Result<SetPlan, WriteError> {
        let payload = update_payload(self.next_item, length);
        let plan = self.writer.append(&payload, 7)?;
        self.post(&plan, &payload);
        self.items.push(self.next_item);
        self.next_item += 1;
        self.history.push(self.items.clone());
        Ok(plan)
    }

    pub(crate) fn clear(&mut self) -> Result<(), WriteError> {
        let plan = self.writer.clear(7)?;
        self.post(&plan, &[]);
        self.items.clear();
        self.history.push(Vec::new());
        Ok(())
    }

    pub(crate) fn commit(&mut self) {
        self.land_all();
        self.writer.journal_committed(self.writer.last_sequence());
        self.acknowledged = self.history.len() - 1;
    }

    fn land_all(&mut self) {
        self.region.commit();
        self.before_takeover.clear();
    }

    pub(crate) fn beat(&mut self) {
        let record = self.writer.floor_record(9).encode(REGION);
        self.region.post(FLOOR_OFFSET, &[&record]);
    }

    /// Saves, stopping after so many phases; appends go on between them.
    pub(crate) fn save(&mut self, phases: u8, between: &mut dyn FnMut(&mut Self)) {
        let payload = snapshot_payload(&self.items);
        let covers = self.history.len() - 1;
        let plan = self
            .writer
            .begin_snapshot(payload.len() as u64, 7)
            .expect("fits, and none is under way");
        let (offset, zeroes) = plan.invalidate();
        self.region.post(offset, &[&zeroes]);
        if phases == 0 {
            return;
        }
        self.land_all();
        between(self);
        for (index, piece) in payload.chunks(1000).enumerate() {
            self.region
                .post(plan.payload_offset() + 1000 * index as u64, &[piece]);
        }
        if phases == 1 {
            return;
        }
        between(self);
        self.land_all();
        if phases == 2 {
            return;
        }
        let sealed = plan.seal(&plan.checksum().with(&payload));
        let (offset, seal) = sealed.publish();
        self.region.post(offset, &[&seal]);
        between(self);
        if phases == 3 {
            return;
        }
        self.land_all();
        self.acknowledged = self.acknowledged.max(covers);
        self.writer.snapshot_committed(&sealed);
        between(self);
        if phases == 4 {
            return;
        }
        let (from, length) = sealed.payload();
        let read = |from: u64, length: usize| {
            let from = usize::try_from(from).expect("small");
            &self.region.placed[from..from + length]
        };
        let back = sealed
            .checksum()
            .with(read(from, usize::try_from(length).expect("small")));
        assert!(sealed.verify(read(offset, 4096), &back));
        if phases == 5 {
            return;
        }
        self.writer.snapshot_verified(&sealed);
    }

    /// Somebody takes over what is placed now. Checks what was recovered, and goes on from it.
    pub(crate) fn taken_over(&mut self, start: Start<'_>) -> Recovery {
        self.generation += 1;
        let (writer, recovery) = take_over(&mut self.region, self.generation, start);
        self.writer = writer;
        if matches!(start, Start::Everything) {
            let found = state_of(recovery.snapshot.as_ref(), &recovery.updates);
            self.assert_allowed(&found);
            self.continue_from(found);
        }
        recovery
    }

    /// Everything acknowledged is there, in order, and nothing that never was.
    pub(crate) fn assert_allowed(&self, found: &[u32]) {
        let allowed = &self.history[self.acknowledged..];
        assert!(
            allowed
                .iter()
                .chain(&self.before_takeover)
                .any(|state| state == found),
            "found {found:?}; allowed from {:?} to {:?}",
            allowed.first(),
            allowed.last()
        );
    }

    pub(crate) fn continue_from(&mut self, found: Vec<u32>) {
        self.items.clone_from(&found);
        self.before_takeover
            .extend_from_slice(&self.history[self.acknowledged..]);
        self.history = vec![found];
        self.acknowledged = 0;
    }

    pub(crate) fn read(&mut self) -> Reading {
        let length = self.region.placed.len() as u64;
        let mut reader = Reader::open(&mut self.region, REGION, length).expect("formatted");
        reader
            .read(&mut self.region, &outlive_layout::ReadOptions::default())
            .expect("not damaged")
    }

    fn post(&mut self, plan: &SetPlan, payload: &[u8]) {
        if let Some(wrap) = &plan.wrap {
            self.region.post(wrap.offset, &[&wrap.header]);
        }
        assert_eq!(plan.length, payload.len() as u64);
        let end = plan.offset + (SET_HEADER_BYTES + payload.len()) as u64;
        assert!(end <= self.writer.geometry().ring_start + self.writer.geometry().ring_len);
        self.region.post(plan.offset, &[&plan.header, payload]);
    }
}

fn take_over(region: &mut Region, generation: u64, start: Start<'_>) -> (Writer, Recovery) {
    region.fence();
    let length = region.placed.len() as u64;
    let mut reader = Reader::open(region, REGION, length).expect("formatted");
    let recovery = reader
        .recover(region, start, &RecoveryOptions::default())
        .expect("nothing is damaged");
    assert!(
        !recovery
            .findings
            .iter()
            .any(outlive_layout::Finding::is_corruption),
        "{:?}",
        recovery.findings
    );
    let (writer, plan) = Writer::resume(REGION, &recovery.point, generation, 7).expect("room in the reserve");
    region.post(FLOOR_OFFSET, &[&writer.floor_record(7).encode(REGION)]);
    recovery.settling().for_each(|step| match step {
        Settling::Persist => region.commit(),
        Settling::Write(offset, bytes) => region.post(offset, &[bytes]),
    });
    if let Some(wrap) = &plan.wrap {
        region.post(wrap.offset, &[&wrap.header]);
    }
    region.post(plan.offset, &[&plan.header]);
    (writer, recovery)
}

pub(crate) fn update_payload(item: u32, length: usize) -> Vec<u8> {
    let mut payload = item.to_le_bytes().to_vec();
    payload.resize(4 + length, item.to_le_bytes()[0]);
    payload
}

pub(crate) fn snapshot_payload(items: &[u32]) -> Vec<u8> {
    items.iter().flat_map(|item| item.to_le_bytes()).collect()
}

/// The state that sets describe; fails where a payload is not one that was written.
pub(crate) fn state_of(snapshot: Option<&Set>, updates: &[Set]) -> Vec<u32> {
    let mut items: Vec<u32> = snapshot.map_or_else(Vec::new, |set| {
        let words = set.payload.chunks(4);
        words
            .map(|word| u32::from_le_bytes(word.try_into().expect("whole words")))
            .collect()
    });
    apply(&mut items, updates);
    items
}

pub(crate) fn apply(items: &mut Vec<u32>, sets: &[Set]) {
    for set in sets {
        match set.kind {
            SetKind::Clear => items.clear(),
            SetKind::Update => {
                let item = u32::from_le_bytes(set.payload[..4].try_into().expect("an item"));
                assert_eq!(
                    set.payload,
                    update_payload(item, set.payload.len() - 4),
                    "a torn set was served"
                );
                items.push(item);
            }
            SetKind::Snapshot | SetKind::Takeover | SetKind::Wrap => {}
        }
    }
}
