//! Another tenant, who commits and reads while somebody attacks, and must not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use outlive::{Level, OpenOptions, RegionSpec, Session};

/// A set that is not committed, or not read, within this time was held up.
const HELD_UP: Duration = Duration::from_secs(10);
/// The bystander's region.
const REGION: &str = "bystander";

/// A primary and its backup at work on a thread of their own.
pub(crate) struct Bystander {
    sets: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    work: Option<JoinHandle<()>>,
}

impl Bystander {
    /// Makes its region, and begins once the first set has arrived.
    pub(crate) fn start(session: Session) -> Self {
        session.create(REGION, &RegionSpec::checkpoint(4 << 20)).unwrap();
        let (sets, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let work = thread::spawn({
            let (sets, ended) = (Arc::clone(&sets), Arc::clone(&ended));
            move || work(&session, &sets, &ended)
        });
        let bystander = Self {
            sets,
            ended,
            work: Some(work),
        };
        bystander.assert_served();
        bystander
    }

    /// That more of its sets arrive, now.
    pub(crate) fn assert_served(&self) {
        let (seen, deadline) = (self.sets.load(Ordering::Acquire), Instant::now() + HELD_UP);
        while self.sets.load(Ordering::Acquire) < seen + 3 {
            assert!(!self.work.as_ref().unwrap().is_finished(), "its work ended");
            assert!(Instant::now() < deadline, "no set arrives any more");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it: every set that it committed is there, whole, in order, and nothing else.
    pub(crate) fn finish(mut self) {
        self.assert_served();
        self.ended.store(true, Ordering::Release);
        if let Err(panic) = self.work.take().unwrap().join() {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

fn work(session: &Session, sets: &AtomicU64, ended: &AtomicBool) {
    let options = OpenOptions {
        level: Some(Level::Placed),
        ..OpenOptions::default()
    };
    let primary = session.primary(REGION, &options).unwrap();
    primary.save(b"begin").unwrap().wait().unwrap();
    let mut backup = session.backup(REGION).unwrap();
    let mut number = 0_u64;
    while !ended.load(Ordering::Acquire) {
        let commit = primary.append(payload(number)).unwrap();
        let receipt = commit.wait_for(HELD_UP).unwrap();
        assert!(receipt.is_some(), "set {number} is not committed");
        let deadline = Instant::now() + HELD_UP;
        let mut read = Vec::new();
        while read.is_empty() {
            read = backup.read_new().unwrap().sets;
            read.retain(|set| set.bytes != b"begin");
            assert!(Instant::now() < deadline, "set {number} does not arrive");
        }
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].bytes, payload(number), "set {number} as it was committed");
        number += 1;
        sets.store(number, Ordering::Release);
        if number.is_multiple_of(1000) {
            primary.save(b"begin").unwrap().wait().unwrap();
        }
        thread::sleep(Duration::from_millis(1));
    }
    let held = session.backup(REGION).unwrap().read_all().unwrap();
    let from = number - number % 1000;
    let bytes: Vec<_> = held.updates.into_iter().map(|set| set.bytes).collect();
    assert_eq!(bytes, (from..number).map(payload).collect::<Vec<_>>());
}

fn payload(number: u64) -> Vec<u8> {
    crate::support::noise(number + 1, 100)
}
