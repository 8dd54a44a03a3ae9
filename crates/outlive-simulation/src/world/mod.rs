//! The whole system in one seeded process: the real unit on simulated persistent memory, the real manager, the real client library, a real
//! pair, over a simulated data network and control connections inside the process.
//!
//! A run lets it work while a [`Plan`] of faults happens to it, then lets it come to rest, and demands that nothing was lost, nothing was
//! done twice, nobody wrote who was fenced, and that it serves again.

mod admission;
mod bugs;
mod client;
mod follower;
mod history;
mod judge;
mod ledger;
mod link;
mod lists;
mod made;
mod manager;
mod pair;
mod pipe;
mod place;
mod plan;
mod roads;
mod script;
mod unit;
mod writer;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

pub use place::Place;
pub use plan::{Fault, Plan, Planned};

use crate::campaign::{Report, Subject};
use crate::machine;

/// Who everybody is: what an identity may do is tested elsewhere.
const ADMINISTRATOR: &str = "administrator";
const SECRET: &[u8] = b"the unit's secret";
/// No run lasts as long, in the machine's time, unless something hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// The world as campaigns run it.
pub struct World;

impl Subject for World {
    type Plan = Plan;

    fn draw(&self, seed: u64) -> Plan {
        Plan::draw(seed)
    }

    fn events(&self, plan: &Plan) -> usize {
        plan.events.len()
    }

    fn keep(&self, plan: &Plan, kept: &[bool]) -> Plan {
        plan.keep(kept)
    }

    fn shorter(&self, plan: &Plan) -> Option<Plan> {
        plan.shorter()
    }

    fn bugs(&self) -> Vec<(&'static str, &'static str)> {
        bugs::list()
    }

    fn run(&self, seed: u64, plan: &Plan, bug: Option<&str>) -> Report {
        if let Some(bug) = bug {
            bugs::switch_on(bug);
        }
        let happening = plan.clone();
        let options = machine::Options::new(seed).limit(LIMIT);
        Report::of(machine::run(options, move || script::play(seed, &happening)))
    }
}

/// A runtime for one process of the world.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be started")
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    loop_on(future, None).expect("it waits without end")
}

/// As [`block_on`], for so long at most.
fn block_on_for<T>(future: impl Future<Output = T>, timeout: Duration) -> Option<T> {
    loop_on(future, Some(machine::now() + timeout))
}

fn loop_on<T>(future: impl Future<Output = T>, deadline: Option<Duration>) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        match deadline.map(|deadline| deadline.saturating_sub(machine::now())) {
            Some(Duration::ZERO) => return None,
            Some(left) => std::thread::park_timeout(left),
            None => std::thread::park(),
        }
    }
}
