//! One region's life: steps of its owner, of its unit and of chance, each followed by a look at the last verified checkpoint.

use std::time::Duration;

use outlive::{Commit, Error, OpenOptions, Primary, RegionSpec, Session};
use outlive_media::Stored;
use outlive_media::simulated::{Cut, Random, SimulatedMedia, Survival};

use super::promise::{Order, Promise, Written};
use super::{MAX_SNAPSHOT, MEDIUM, REGION};
use crate::support::{Device, Server};

/// Something that takes space from the region's growth.
const HOG: &str = "hog";
/// More than the fill of the smallest journal takes.
const MOST_APPENDS: usize = 400;

/// A region, its owner, and what they were promised.
pub(crate) struct Life {
    random: Random,
    device: Device,
    server: Server,
    session: Session,
    primary: Option<Primary>,
    written: Written,
    /// By number of events on the medium: what holds from then on.
    promises: Vec<(usize, Promise)>,
    steps: Vec<String>,
    numbered: u64,
}

impl Life {
    pub(crate) fn begin(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (device, server) = Device::new(MEDIUM);
        let session = server.session();
        let slots = 2 + u32::try_from(random.below(2)).expect("small");
        let size = 64 * 1024 + u64::from(slots) * (4096 + MAX_SNAPSHOT);
        let spec = RegionSpec::checkpoint(size)
            .slots(slots)
            .max_snapshot(MAX_SNAPSHOT);
        session.create(REGION, &spec).expect("created");
        let primary = session.primary(REGION, &options(false)).expect("opened");
        device.media().forget();
        Self {
            random,
            device,
            server,
            session,
            primary: Some(primary),
            written: Written::default(),
            promises: vec![(0, Promise::default())],
            steps: Vec::new(),
            numbered: 0,
        }
    }

    /// Takes a step, and looks.
    pub(crate) fn step(&mut self) {
        match self.random.below(40) {
            0..=7 => self.append(),
            8..=13 => self.save(),
            14..=16 => self.clear(),
            17..=18 => self.resize(),
            19 => self.too_large(),
            20..=21 => self.fill_journal(),
            22 => self.fill_medium(),
            23..=25 => self.save_spoilt(),
            26..=27 => self.reopen(),
            28..=29 => self.take_over_while_saving(),
            30..=31 => self.restart_unit(),
            32 => self.restart_manager(),
            33..=37 => self.lose_power(),
            _ => self.kill_all(),
        }
        let hidden = self.look();
        // Its owner took the seal back, or whoever opened the region consented to its loss.
        assert!(
            !hidden,
            "a snapshot that was never verified hides one that was\n  {}",
            self.told()
        );
    }

    /// What was done, for who reads of a failure.
    pub(crate) fn told(&self) -> String {
        self.steps.join("\n  ")
    }

    fn append(&mut self) {
        let many = 1 + self.random.below(4);
        self.tell(format!("append {many}"));
        let mut commits = Vec::new();
        for _ in 0..many {
            let bytes = self.payload(1500);
            match self.primary().append(&bytes) {
                Ok(commit) => {
                    self.written.updates.insert(self.order(commit.sequence()), bytes);
                    commits.push(commit);
                }
                Err(Error::JournalFull { .. }) => break,
                Err(error) => panic!("append: {error}"),
            }
        }
        self.await_sets(commits);
    }

    fn save(&mut self) {
        let commit = self.begin_save();
        self.tell("save".to_owned());
        self.await_save(commit);
    }

    fn begin_save(&mut self) -> Commit {
        let bytes = self.payload(MAX_SNAPSHOT);
        let commit = self.primary().save(bytes.clone()).expect("a save begins");
        self.written
            .snapshots
            .insert(self.order(commit.sequence()), bytes);
        commit
    }

    fn await_save(&mut self, commit: Commit) {
        let receipt = commit.wait().expect("a save is committed");
        self.promise(|promise| promise.verified = Some((receipt.generation, receipt.sequence)));
    }

    fn clear(&mut self) {
        self.tell("clear".to_owned());
        match self.primary().clear() {
            Ok(commit) => self.await_sets(vec![commit]),
            Err(Error::JournalFull { .. }) => {}
            Err(error) => panic!("clear: {error}"),
        }
    }

    fn resize(&mut self) {
        let size = self.session.describe(REGION).expect("there").size + 4096 * self.random.below(5);
        let outcome = self.primary().resize(size);
        self.tell(format!("resize to {size}: {outcome:?}"));
        assert!(
            matches!(
                outcome,
                Ok(()) | Err(Error::Invalid { .. } | Error::NoSpace { .. })
            ),
            "{outcome:?}"
        );
    }

    /// A snapshot that no slot takes, and an update that no journal takes.
    fn too_large(&mut self) {
        self.tell("a snapshot and an update that are too large".to_owned());
        let slot = usize::try_from(self.primary().max_snapshot()).expect("small");
        let saved = self.primary().save(vec![7; slot + 1]).map(drop);
        assert!(matches!(saved, Err(Error::TooLarge { .. })), "{saved:?}");
        let update = usize::try_from(self.primary().max_update()).expect("small");
        let appended = self.primary().append(vec![7; update + 1]).map(drop);
        assert!(matches!(appended, Err(Error::TooLarge { .. })), "{appended:?}");
    }

    fn fill_journal(&mut self) {
        self.tell("fill the journal".to_owned());
        let mut commits = Vec::new();
        for _ in 0..MOST_APPENDS {
            let bytes = self.payload(3000);
            match self.primary().append(&bytes) {
                Ok(commit) => {
                    self.written.updates.insert(self.order(commit.sequence()), bytes);
                    commits.push(commit);
                }
                Err(Error::JournalFull { .. }) => return self.await_sets(commits),
                Err(error) => panic!("append: {error}"),
            }
        }
        panic!("the journal is never full");
    }

    /// Others take every byte that the region could grow by, and the region grows in vain.
    fn fill_medium(&mut self) {
        self.tell("a full medium".to_owned());
        let mut hogs = 0;
        for shift in (12..23).rev() {
            while self
                .session
                .create(&format!("{HOG}{hogs}"), &RegionSpec::raw(1 << shift))
                .is_ok()
            {
                hogs += 1;
            }
        }
        let size = self.session.describe(REGION).expect("there").size;
        let outcome = self.primary().resize(size + (1 << 20));
        assert!(matches!(outcome, Err(Error::NoSpace { .. })), "{outcome:?}");
        self.look();
        for hog in 0..hogs {
            self.session.delete(&format!("{HOG}{hog}")).expect("deleted");
        }
    }

    /// The device writes a bit of the snapshot otherwise, before anybody has verified it.
    fn save_spoilt(&mut self) {
        self.tell("save, with a bit flipped on the way".to_owned());
        let bytes = [b"spoilt snapshot ".as_slice(), &self.payload(200)].concat();
        self.device.media().flip_in(Some(&bytes[..24]));
        let commit = self.primary().save(bytes.clone()).expect("a save begins");
        let order = self.order(commit.sequence());
        self.written.spoilt.push(order);
        self.written.snapshots.insert(order, bytes);
        let saved = commit.wait();
        assert!(!self.device.media().will_flip(), "nothing was flipped");
        assert!(
            matches!(saved, Err(Error::Corrupt { sequence, .. }) if sequence == order.1),
            "{saved:?}"
        );
    }

    fn reopen(&mut self) {
        self.tell("close and open".to_owned());
        self.primary.take().expect("open").close().expect("closed");
        self.open(false);
    }

    /// A save is on its way while somebody else takes the region over. It is committed, or fenced.
    fn take_over_while_saving(&mut self) {
        self.tell("taken over while saving".to_owned());
        let commit = self.begin_save();
        let before = self.primary.take().expect("open");
        self.open(true);
        match commit.wait() {
            Ok(receipt) => {
                self.promise(|promise| promise.verified = Some((receipt.generation, receipt.sequence)));
            }
            Err(error) => assert!(error.is_fenced(), "{error}"),
        }
        drop(before);
    }

    /// The unit is killed and comes back with everything placed, while its primary goes on.
    fn restart_unit(&mut self) {
        self.tell("the unit is killed and started".to_owned());
        let commit = self.begin_save();
        self.server.restart();
        self.await_save(commit);
    }

    fn restart_manager(&mut self) {
        self.tell("the manager is killed and started".to_owned());
        self.server.stop_manager();
        self.server.resume_manager();
    }

    /// Power goes at some event since the last start, and some of what was not persistent survives.
    fn lose_power(&mut self) {
        let sample = Survival::Sampled(self.random.next_u64());
        let choices = Survival::ADVERSARIAL;
        let choice = usize::try_from(self.random.below(2 * choices.len() as u64)).expect("small");
        let survival = choices.get(choice).copied().unwrap_or(sample);
        let (event, image) = self.cut(|cut| cut.survivors(survival));
        self.tell(format!("power goes at event {event}, leaving {survival:?}"));
        self.start_on(event, SimulatedMedia::of(image));
    }

    /// Everybody is killed at some event since the last start; what was placed is still there, and not persistent.
    fn kill_all(&mut self) {
        let (event, images) = self.cut(|cut| (cut.persistent().clone(), cut.placed().clone()));
        self.tell(format!("everybody is killed at event {event}"));
        self.start_on(event, SimulatedMedia::left(images.0, images.1));
    }

    /// A point in time since the medium was last started, more often one with a save under way.
    fn cut<T>(&mut self, make: impl Fn(&Cut<'_>) -> T) -> (usize, T) {
        if self.random.below(2) == 0 {
            // Never awaited: the owner dies with it.
            drop(self.begin_save());
        }
        let trace = self.device.media().trace();
        let events = trace.events().len() as u64;
        let at = match self.random.below(4) {
            0 => events - self.random.below(events.min(12) + 1),
            // Right after somebody was told something.
            1 | 2 => {
                let told = usize::try_from(self.random.below(self.promises.len() as u64)).expect("small");
                self.promises[told].0 as u64
            }
            _ => self.random.below(events + 1),
        };
        let mut made = None;
        let _ = trace.each_cut(|cut| {
            if (cut.event() as u64) < at {
                return Ok(());
            }
            made = Some((cut.event(), make(cut)));
            Err(())
        });
        made.expect("within the trace")
    }

    fn start_on(&mut self, event: usize, media: SimulatedMedia) {
        let at = self.promises.partition_point(|(from, _)| *from <= event);
        let promise = self.promises[at - 1].1;
        self.written.committed.retain(|_, from| *from <= event);
        self.written.committed.values_mut().for_each(|from| *from = 0);
        self.primary = None;
        self.server.stop();
        (self.device, self.server) = Device::serve(media, Stored::Before);
        self.session = self.server.session();
        self.promises = vec![(0, promise)];
        let hidden = self.look();
        self.leave_no_hogs();
        self.open_with(OpenOptions {
            accept_loss: hidden,
            ..options(true)
        });
        self.look();
        self.device.media().forget();
        self.promises = vec![(0, self.promised())];
    }

    fn leave_no_hogs(&self) {
        for region in self.session.regions().expect("listed") {
            if region.name.starts_with(HOG) {
                self.session.delete(&region.name).expect("deleted");
            }
        }
    }

    fn open(&mut self, take_over: bool) {
        self.open_with(options(take_over));
    }

    fn open_with(&mut self, options: OpenOptions) {
        self.primary = Some(self.session.primary(REGION, &options).expect("opened"));
    }

    /// The last verified checkpoint is there, whatever happened.
    fn look(&mut self) -> bool {
        let promise = self.promised();
        let found = self.written.check(&self.session, &promise);
        let found = found.unwrap_or_else(|what| panic!("{what}; promised {promise:?}\n  {}", self.told()));
        // What a reader has verified is verified: nothing may take that back.
        if found.checkpoint > promise.verified {
            self.promise(|promise| promise.verified = found.checkpoint);
        }
        found.hidden
    }

    fn promised(&self) -> Promise {
        self.promises.last().expect("one at least").1
    }

    fn promise(&mut self, change: impl FnOnce(&mut Promise)) {
        let mut next = self.promised();
        change(&mut next);
        let before = self.promised();
        next.verified = next.verified.max(before.verified);
        self.promises.push((self.device.media().events(), next));
    }

    fn await_sets(&mut self, commits: Vec<Commit>) {
        for commit in commits {
            let receipt = commit.wait().expect("committed");
            let event = self.device.media().events();
            self.written
                .committed
                .insert((receipt.generation, receipt.sequence), event);
        }
    }

    fn primary(&self) -> &Primary {
        self.primary.as_ref().expect("open")
    }

    fn order(&self, sequence: u64) -> Order {
        (self.primary().generation(), sequence)
    }

    /// Bytes that no other set has.
    fn payload(&mut self, most: u64) -> Vec<u8> {
        self.numbered += 1;
        let length = usize::try_from(8 + self.random.below(most - 8)).expect("small");
        let word = (self.numbered << 32 | 0x5e7_5e75).to_le_bytes();
        word.into_iter().cycle().take(length).collect()
    }

    fn tell(&mut self, step: String) {
        self.steps.push(step);
    }
}

fn options(take_over: bool) -> OpenOptions {
    OpenOptions {
        take_over,
        heartbeat: Duration::from_millis(20),
        ..OpenOptions::default()
    }
}
