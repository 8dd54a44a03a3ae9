//! The unit: what arrives on a write connection, and what power does.

use super::*;

impl World {
    /// An operation arrives, perhaps of a member that is no more.
    pub(super) fn unit(&mut self, life: Life, conn: Conn, generation: u64, op: Op) {
        if !self.region.admits(conn, generation) {
            return;
        }
        if let Op::Append { sequence, set } = &op {
            self.region.place(*sequence, generation, set.clone());
        }
        let delay = match op {
            Op::Confirm { .. } => (1, 50),
            // Disks have bad days.
            _ if self.random.chance(50) => (600, 10_000),
            _ => (50, 600),
        };
        self.after(delay, Action::Flushed(life, conn, generation, op));
    }

    pub(super) fn flushed(&mut self, life: Life, conn: Conn, generation: u64, op: Op) {
        if !self.region.admits(conn, generation) {
            return;
        }
        match &op {
            Op::Append { .. } => self.region.persist(),
            Op::Save { sequence, snapshot } => {
                let name = Name {
                    sequence: *sequence,
                    generation,
                };
                let nothing = Reader::default();
                let reader = match &self.members[life.0].link {
                    Link::Primary(tenure) if tenure.conn == conn => &tenure.reader,
                    _ => &nothing,
                };
                self.region.save(
                    Snapshot {
                        name,
                        bytes: snapshot.clone(),
                    },
                    reader,
                );
                self.summary.snapshots += 1;
            }
            Op::Confirm { .. } => {}
        }
        self.after((20, 3000), Action::Landed(life, conn, op));
    }

    /// Acknowledgements may overtake each other here: a set is committed when it and all before it are.
    pub(super) fn landed(&mut self, life: Life, conn: Conn, op: &Op) {
        let Link::Primary(tenure) = &mut self.members[life.0].link else {
            return;
        };
        if tenure.conn != conn {
            return;
        }
        tenure.unacknowledged.retain(|other| !other.is(op));
        let free = match op {
            Op::Append { sequence, .. } => {
                // Everything placed before it was flushed with it.
                tenure
                    .unacknowledged
                    .retain(|other| !matches!(other, Op::Append { sequence: s, .. } if s <= sequence));
                tenure.output.committed(*sequence)
            }
            Op::Confirm { number } => tenure.output.confirmed(*number),
            Op::Save { .. } => {
                let (generation, event) = (
                    tenure.generation,
                    Event::Saved {
                        journal: Journal::default(),
                    },
                );
                self.after((1, 100), Action::TellOwner(life, generation, event));
                vec![]
            }
        };
        self.release(life, free);
        self.drained(life);
    }

    pub(super) fn stopped(&mut self, life: Life, conn: Conn) {
        if self.members[life.0].conn() == Some(conn) {
            self.members[life.0]
                .events
                .push_back(Event::Lost { fenced: true });
            self.pump(life);
        }
    }

    pub(super) fn power_cut(&mut self) {
        self.summary.power_cuts += 1;
        self.grace_until_us = self.now_us + 20_000;
        let kept = self.random.index(4);
        self.region.lose_power(kept);
        for index in 0..MEMBERS {
            if self.members[index].conn().is_some() {
                let life = (index, self.members[index].life);
                self.after((1000, 15_000), Action::Reconnect(life));
            }
        }
    }

    /// A primary comes back after the unit did, and sends again what was not acknowledged.
    pub(super) fn reconnect(&mut self, life: Life) {
        let Some(generation) = self.members[life.0].generation() else {
            return;
        };
        if self.region.generation != generation || self.region.owner != Some(life.0) {
            self.members[life.0]
                .events
                .push_back(Event::Lost { fenced: true });
            return self.pump(life);
        }
        let conn = self.region.connect();
        let Link::Primary(tenure) = &mut self.members[life.0].link else {
            return;
        };
        tenure.conn = conn;
        for op in std::mem::take(&mut tenure.unacknowledged) {
            self.send(life, op);
        }
    }
}
