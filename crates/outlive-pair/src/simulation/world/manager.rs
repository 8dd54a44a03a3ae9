//! The manager: who is granted the region.

use super::*;

impl World {
    pub(super) fn ask_manager(&mut self, life: Life, ask: Ask) {
        self.members[life.0].blocked = true;
        if self.faulty() && self.random.chance(40) {
            let failed = Self::failed(ask);
            return self.after((10_000, 20_000), Action::Granted(life, Grant::Event(failed)));
        }
        self.after((100, 1500), Action::Manager(life, ask));
    }

    pub(super) fn failed(ask: Ask) -> Event {
        let why = "the manager did not answer".to_owned();
        match ask {
            Ask::Open | Ask::OpenBackup => Event::OpenFailed { why, fatal: false },
            Ask::TakeOver { .. } => Event::TakeoverFailed { why, fatal: false },
            Ask::Close { .. } => Event::Closed,
        }
    }

    pub(super) fn manager(&mut self, life: Life, ask: Ask) {
        let grant = match ask {
            Ask::Open if self.region.owner.is_some() && self.region.writer.is_some() => {
                Grant::Event(Event::Owned)
            }
            Ask::Open => {
                let conn = self.grant(life);
                Grant::Opened(conn, self.region.generation)
            }
            Ask::OpenBackup => Grant::Backup,
            Ask::TakeOver { expected } if expected != self.region.generation => Grant::Event(Event::LostRace),
            Ask::TakeOver { .. } => {
                let conn = self.grant(life);
                Grant::TookOver(conn, self.region.generation)
            }
            Ask::Close { generation } => {
                if self.region.generation == generation {
                    self.region.owner = None;
                    self.region.writer = None;
                }
                Grant::Event(Event::Closed)
            }
        };
        if self.faulty() && self.random.chance(30) {
            // The answer is lost, and with it the ticket: nobody ever connects.
            if let Grant::Opened(conn, _) | Grant::TookOver(conn, _) = grant {
                self.after((0, 10), Action::Gone(conn));
            }
            return self.after(
                (10_000, 20_000),
                Action::Granted(life, Grant::Event(Self::failed(ask))),
            );
        }
        self.after((100, 1500), Action::Granted(life, grant));
    }

    pub(super) fn grant(&mut self, life: Life) -> Conn {
        let (conn, Fenced(before)) = self.region.grant(life.0);
        if let Some(before) = before {
            let owner = (0..MEMBERS).find(|index| self.members[*index].conn() == Some(before));
            if let Some(owner) = owner {
                let life = (owner, self.members[owner].life);
                self.after((50, 30_000), Action::Stopped(life, before));
            }
        }
        conn
    }

    pub(super) fn granted(&mut self, life: Life, grant: Grant) {
        self.members[life.0].blocked = false;
        let event = match grant {
            Grant::Event(event) => event,
            Grant::Backup => {
                self.drop_link(life);
                self.members[life.0].link = Link::Backup(Reader::default(), self.region.generation);
                self.after((10, 500), Action::Poll(life));
                Event::Following
            }
            Grant::Opened(conn, generation) if self.region.writer == Some(conn) => {
                let mut reader = Reader::default();
                let sets = self.region.read(&mut reader).fed;
                self.own(life, conn, generation, reader);
                Event::Opened {
                    generation,
                    sets,
                    journal: self.journal(),
                }
            }
            Grant::TookOver(conn, generation) if self.region.writer == Some(conn) => {
                let Link::Backup(reader, _) = &mut self.members[life.0].link else {
                    return;
                };
                let mut reader = std::mem::take(reader);
                let reading = self.region.read(&mut reader);
                self.summary.ahead += u64::from(reading.ahead);
                self.own(life, conn, generation, reader);
                Event::TookOver {
                    generation,
                    unread: reading.fed,
                    ahead: reading.ahead,
                    journal: self.journal(),
                }
            }
            // Fenced, or the unit gone, before it could read.
            Grant::Opened(..) => Self::failed(Ask::Open),
            Grant::TookOver(..) => Self::failed(Ask::TakeOver { expected: 0 }),
        };
        self.members[life.0].events.push_front(event);
        self.pump(life);
    }

    pub(super) fn own(&mut self, life: Life, conn: Conn, generation: u64, reader: Reader) {
        let next_sequence = self.region.last_sequence().max(reader.last.sequence) + 1;
        self.members[life.0].link = Link::Primary(Tenure {
            generation,
            conn,
            next_sequence,
            output: Output::default(),
            unacknowledged: VecDeque::new(),
            reader,
            draining: false,
            last_arrival_us: self.now_us,
        });
    }
}
