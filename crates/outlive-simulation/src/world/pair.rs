//! The members of the pair, each a process that is started again when it ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outlive::{RegionSpec, Session, SessionOptions};
use outlive_pair::{Member, PairConfig, Role};

use super::judge::violation;
use super::lists::Lists;
use super::place::{MEMBERS, Place};
use super::roads::{Road, Roads};
use crate::machine::{self, Process};

/// The pair's region: small, so that its journal wraps and snapshots are saved.
const REGION_BYTES: u64 = 96 << 10;
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Pair {
    roads: Arc<Roads>,
    members: Vec<MemberHost>,
}

struct MemberHost {
    process: Option<Process>,
    handle: Arc<Mutex<Option<Member>>>,
}

/// The handles of the members that run, for the clients.
#[derive(Clone)]
pub(super) struct Handles(Vec<Arc<Mutex<Option<Member>>>>);

impl Handles {
    /// A member, if that one runs.
    pub(super) fn member(&self, number: usize) -> Option<Member> {
        machine::uninterrupted(|| lock(&self.0[number % self.0.len()]).clone())
    }
}

impl Pair {
    pub(super) fn new(roads: Arc<Roads>) -> Self {
        let host = |_| MemberHost {
            process: None,
            handle: Arc::default(),
        };
        Self {
            roads,
            members: (0..MEMBERS).map(host).collect(),
        }
    }

    pub(super) fn handles(&self) -> Handles {
        Handles(self.members.iter().map(|host| Arc::clone(&host.handle)).collect())
    }

    pub(super) fn start(&mut self, number: u8) {
        let host = &mut self.members[usize::from(number)];
        if host.process.is_none() {
            let (roads, handle) = (Arc::clone(&self.roads), Arc::clone(&host.handle));
            let body = move || live(number, &roads, &handle);
            host.process = Some(machine::start(&format!("member-{number}"), body));
        }
    }

    pub(super) fn kill(&mut self, number: u8) {
        let host = &mut self.members[usize::from(number)];
        if let Some(process) = host.process.take() {
            // Its handles are left to those who have them: nobody answers there.
            let handle = machine::uninterrupted(|| lock(&host.handle).take());
            machine::kill(process);
            std::mem::forget(handle);
            self.roads.cut(Place::Member(number));
        }
    }

    pub(super) fn process(&self, number: u8) -> Option<Process> {
        self.members[usize::from(number)].process
    }

    /// What each member is, for who wants to know why nothing goes on.
    pub(super) fn describe(&self) -> String {
        let views = self.members.iter().enumerate().map(|(number, host)| {
            let view = lock(&host.handle).as_ref().map(Member::role);
            format!("member {number}: {view:?}")
        });
        views.collect::<Vec<_>>().join("; ")
    }
}

fn lock(handle: &Mutex<Option<Member>>) -> std::sync::MutexGuard<'_, Option<Member>> {
    handle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs members, one after the other where one stops.
fn live(number: u8, roads: &Arc<Roads>, handle: &Mutex<Option<Member>>) {
    loop {
        let session = connect(roads, Place::Member(number));
        let member = Member::start(session, config(number), Lists::default());
        let member = member.unwrap_or_else(|error| violation("member-does-not-start", error.to_string()));
        machine::uninterrupted(|| *lock(handle) = Some(member.clone()));
        let view = super::block_on(member.wait_until(|view| view.role == Role::Stopped));
        let why = view.stopped.unwrap_or_default();
        machine::trace(|| format!("stopped: {why}"));
        let lost = ["corrupt", "damage", "does not verify", "cannot restore"];
        if lost.iter().any(|word| why.contains(word)) {
            violation("pair-lost", why);
        }
        std::thread::sleep(PAUSE);
    }
}

/// A session, however long it takes.
pub(super) fn connect(roads: &Arc<Roads>, from: Place) -> Session {
    let road = Arc::new(Road {
        from,
        roads: Arc::clone(roads),
    });
    let options = SessionOptions {
        retry_for: Duration::from_millis(800),
    };
    loop {
        match Session::connect_over(Arc::<Road>::clone(&road), "manager:7780", options) {
            Ok(session) => return session,
            Err(error) => {
                machine::trace(|| format!("no session: {error}"));
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn config(number: u8) -> PairConfig {
    let region = RegionSpec::checkpoint(REGION_BYTES);
    let mut config = PairConfig::new("pair", format!("member-{number}:7000"), Some(region));
    config.heartbeat = Duration::from_millis(10);
    config.suspect_after = Duration::from_millis(60);
    config.follow_every = Duration::from_millis(4);
    config.restart_grace = Duration::from_millis(150);
    config.snapshot_at = 0.3;
    // Members of this world fail far more often than any that is left alone should.
    config.crash_loop.takeovers = 1_000_000;
    config
}
