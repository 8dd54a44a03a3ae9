//! The network between the hosts of a lab: a switch of our own that loses, delays, doubles and reorders
//! Ethernet frames, for each direction between two hosts apart.
//!
//! Each host has a TAP device, whose other end is here. So neither `tc` nor packet filters are needed, a kernel
//! without `netem` will do, and everything is gone with the process that made it. What the hosts run on top are the
//! kernel's own TCP stacks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tappers::Tap;

use crate::random::Random;

/// Frames of a host begin with these bytes in their addresses; the last one is the host's number.
const ADDRESS_PREFIX: [u8; 5] = [0x02, 0x6f, 0x6c, 0x00, 0x00];
/// No frame is longer: the devices' MTU is below.
const LONGEST_FRAME: usize = 16 << 10;
/// What is under way at most; a full switch drops, as real ones do. About a second of everything that a test sends.
const FRAMES_UNDER_WAY: usize = 20_000;
/// How long a port may not notice that the switch ends.
const NOTICE_END: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// What one direction between two hosts does with frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Everything is lost.
    pub cut: bool,
    /// So many frames of a thousand are lost.
    pub loss_permille: u32,
    /// So many frames of a thousand arrive twice.
    pub twice_permille: u32,
    /// Each takes at least this long.
    pub delay: Duration,
    /// And up to this much longer, each by itself: so they overtake one another.
    pub jitter: Duration,
}

impl Link {
    /// What both together do.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            cut: self.cut || other.cut,
            loss_permille: (self.loss_permille + other.loss_permille).min(1000),
            twice_permille: (self.twice_permille + other.twice_permille).min(1000),
            delay: self.delay + other.delay,
            jitter: self.jitter + other.jitter,
        }
    }
}

/// A running switch; frames stop when it is dropped.
pub(crate) struct Wire {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    ports: Vec<Tap>,
    /// From host `a` to host `b` (numbers from 0): at `a * hosts + b`.
    links: Mutex<Vec<Link>>,
    waiting: Mutex<BinaryHeap<Reverse<Waiting>>>,
    arrived: Condvar,
    ended: AtomicBool,
    order: AtomicU64,
}

/// A frame that is under way.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    order: u64,
    to: usize,
    frame: Vec<u8>,
}

/// The address of a host's device.
pub(crate) fn ethernet_address(host: usize) -> String {
    let [a, b, c, d, e] = ADDRESS_PREFIX;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{host:02x}")
}

impl Wire {
    /// Joins the other ends of the hosts' devices. `seed` decides which frames are lost or late.
    pub(crate) fn new(mut ports: Vec<Tap>, seed: u64) -> io::Result<Self> {
        for port in &mut ports {
            port.set_nonblocking(true)?;
        }
        let hosts = ports.len();
        let shared = Arc::new(Shared {
            ports,
            links: Mutex::new(vec![Link::default(); hosts * hosts]),
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            ended: AtomicBool::new(false),
            order: AtomicU64::new(0),
        });
        let mut threads = Vec::new();
        for from in 0..hosts {
            let shared = shared.clone();
            let random = Random::new(seed, from as u64);
            threads.push(std::thread::spawn(move || shared.take(from, random)));
        }
        let later = shared.clone();
        threads.push(std::thread::spawn(move || later.deliver_in_time()));
        Ok(Self { shared, threads })
    }

    /// Replaces what every link does: `of(from, to)`, numbers from 0.
    pub(crate) fn set(&self, of: impl Fn(usize, usize) -> Link) {
        let hosts = self.shared.ports.len();
        let mut links = lock(&self.shared.links);
        for from in 0..hosts {
            for to in 0..hosts {
                links[from * hosts + to] = of(from, to);
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.arrived.notify_all();
        for thread in self.threads.drain(..) {
            // One that panicked has printed why.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Takes what the host `from` sends, until the switch ends.
    fn take(&self, from: usize, mut random: Random) {
        let port = &self.ports[from];
        let mut buffer = vec![0; LONGEST_FRAME];
        while !self.ended.load(Ordering::Acquire) {
            match port.recv(&mut buffer) {
                Ok(bytes) => self.route(from, &buffer[..bytes], &mut random),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut ready = [PollFd::from_borrowed_fd(port.as_fd(), PollFlags::IN)];
                    // Whether it was a frame or the time, the next attempt tells.
                    let _ = poll(&mut ready, Some(&NOTICE_END));
                }
                // A device that is down says so for each attempt.
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn route(&self, from: usize, frame: &[u8], random: &mut Random) {
        let Some(address) = frame.get(..6) else { return };
        if address[0] & 1 == 1 {
            for to in (0..self.ports.len()).filter(|to| *to != from) {
                self.send(from, to, frame, random);
            }
        } else if address[..5] == ADDRESS_PREFIX {
            // Hosts are counted from 1 in their addresses.
            let to = usize::from(address[5]).wrapping_sub(1);
            if to < self.ports.len() {
                self.send(from, to, frame, random);
            }
        }
    }

    fn send(&self, from: usize, to: usize, frame: &[u8], random: &mut Random) {
        let link = lock(&self.links)[from * self.ports.len() + to];
        if link.cut || random.permille(link.loss_permille) {
            return;
        }
        let copies = 1 + u8::from(random.permille(link.twice_permille));
        for _ in 0..copies {
            let jitter_us = u64::try_from(link.jitter.as_micros()).unwrap_or(u64::MAX);
            let late = link.delay + Duration::from_micros(random.between(0, jitter_us));
            if late.is_zero() {
                // A host that takes nothing loses it.
                let _ = self.ports[to].send(frame);
            } else {
                self.send_later(to, frame, late);
            }
        }
    }

    fn send_later(&self, to: usize, frame: &[u8], late: Duration) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() < FRAMES_UNDER_WAY {
            waiting.push(Reverse(Waiting {
                due: Instant::now() + late,
                order: self.order.fetch_add(1, Ordering::Relaxed),
                to,
                frame: frame.to_vec(),
            }));
            self.arrived.notify_one();
        }
    }

    fn deliver_in_time(&self) {
        let mut waiting = lock(&self.waiting);
        while !self.ended.load(Ordering::Acquire) {
            let now = Instant::now();
            let wait = match waiting.peek() {
                Some(Reverse(next)) if next.due <= now => {
                    if let Some(Reverse(next)) = waiting.pop() {
                        drop(waiting);
                        let _ = self.ports[next.to].send(&next.frame);
                        waiting = lock(&self.waiting);
                    }
                    continue;
                }
                Some(Reverse(next)) => next.due - now,
                None => Duration::from_millis(50),
            };
            waiting = self
                .arrived
                .wait_timeout(waiting, wait)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every holder leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
