//! Who runs next and what time it is. A pure state machine: no thread, no clock and no system call in it.

use std::collections::BTreeMap;

use super::chance::Chance;
use super::failure::Failure;
use super::process::Host;

/// What a turn takes at least, and how much more it may take.
const TURN_NS: u64 = 200;
const TURN_SPREAD_NS: u64 = 2_000;
/// What reading a clock takes at least, and how much more it may take. It is never nothing, so that whoever spins until a deadline gets there.
const READING_NS: u64 = 30;
const READING_SPREAD_NS: u64 = 60;

/// A thread's place in the run's list; never used again.
pub(super) type ThreadNumber = usize;

/// What a blocked thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// A wake at this address that shares a bit with this set.
    Wake { address: usize, bits: u32 },
    /// Only its deadline.
    Time,
    /// The end of a thread.
    Thread(ThreadNumber),
    /// The end of a process.
    Process(usize),
    /// This descriptor (of an epoll instance) is readable.
    Events { descriptor: i32 },
    /// Any input or output at all.
    AnyEvent,
}

/// Why a thread runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Woken,
    TimedOut,
}

enum State {
    Runnable,
    Blocked {
        awaits: Awaits,
        /// As its process's monotonic clock will show it.
        deadline_ns: Option<u64>,
    },
    Over,
}

pub(super) struct Thread {
    pub(super) host: usize,
    state: State,
    cause: Cause,
    /// The address whose wake it took and has not run since.
    owes_wake: Option<usize>,
    /// Depth of sections in which neither kill nor pause takes effect.
    shields: u32,
}

/// What [`Scheduler::pick`] needs to know of the world outside.
pub(super) trait Descriptors {
    /// Moves whenever a simulated thread has written to a descriptor.
    fn writes(&self) -> u64;
    /// Which of these can be read.
    fn readable(&self, descriptors: &[i32]) -> Vec<bool>;
}

pub(super) struct Scheduler {
    pub(super) chance: Chance,
    pub(super) hosts: Vec<Host>,
    threads: Vec<Thread>,
    /// Those that may run, but for the one that does.
    ready: Vec<ThreadNumber>,
    blocked: Vec<ThreadNumber>,
    waiters: BTreeMap<usize, Vec<ThreadNumber>>,
    pub(super) running: ThreadNumber,
    pub(super) now_ns: u64,
    limit_ns: u64,
    /// No deadline comes before.
    next_deadline_ns: u64,
    writes_seen: u64,
    pub(super) digest: Digest,
    pub(super) switches: u64,
    /// Moves whenever the machine is asked anything.
    pub(super) calls: u64,
    /// Every turn is printed.
    pub(super) told: bool,
}

impl Scheduler {
    /// A machine with one process and its main thread, which runs.
    pub(super) fn new(seed: u64, limit_ns: u64, name: &str) -> Self {
        let mut scheduler = Self {
            chance: Chance::new(seed),
            hosts: vec![Host::new(name.to_owned())],
            threads: Vec::new(),
            ready: Vec::new(),
            blocked: Vec::new(),
            waiters: BTreeMap::new(),
            running: 0,
            now_ns: 0,
            limit_ns,
            next_deadline_ns: u64::MAX,
            writes_seen: 0,
            digest: Digest(seed),
            switches: 0,
            calls: 0,
            told: false,
        };
        scheduler.add_thread(0);
        scheduler.ready.clear();
        scheduler
    }

    pub(super) fn add_host(&mut self, name: String) -> usize {
        self.hosts.push(Host::new(name));
        self.hosts.len() - 1
    }

    pub(super) fn add_thread(&mut self, host: usize) -> ThreadNumber {
        let number = self.threads.len();
        self.threads.push(Thread {
            host,
            state: State::Runnable,
            cause: Cause::Woken,
            owes_wake: None,
            shields: 0,
        });
        if self.may_run(number) {
            self.ready.push(number);
        }
        self.digest.add(0x7468_7265_6164 ^ number as u64);
        number
    }

    /// A thread that could not be started after all.
    pub(super) fn forget_thread(&mut self, number: ThreadNumber) {
        self.ready.retain(|ready| *ready != number);
        self.threads[number].state = State::Over;
    }

    pub(super) fn host_of(&self, number: ThreadNumber) -> usize {
        self.threads[number].host
    }

    /// The running thread's process.
    pub(super) fn host(&self) -> &Host {
        &self.hosts[self.threads[self.running].host]
    }

    /// What the running thread's monotonic clock shows.
    pub(super) fn monotonic_ns(&self) -> u64 {
        self.host().monotonic_ns(self.now_ns)
    }

    /// A clock is about to be read.
    pub(super) fn read_clock(&mut self) {
        self.now_ns += READING_NS + self.chance.schedule.u64(..READING_SPREAD_NS);
    }

    /// The running thread gives way, but could go on.
    pub(super) fn give_way(&mut self) {
        let running = self.running;
        if self.may_run(running) {
            self.ready.push(running);
        }
    }

    /// Whether it is worth while to give way: somebody else could run, or the time is up.
    pub(super) fn others_could_run(&self) -> bool {
        !self.ready.is_empty() || self.next_deadline_ns <= self.now_ns || self.now_ns > self.limit_ns
    }

    /// The running thread waits.
    pub(super) fn block(&mut self, awaits: Awaits, deadline_ns: Option<u64>) {
        let running = self.running;
        if let Awaits::Wake { address, .. } = awaits {
            self.waiters.entry(address).or_default().push(running);
        }
        if let Some(shown_ns) = deadline_ns {
            let at_ns = self.host().machine_ns(shown_ns);
            self.next_deadline_ns = self.next_deadline_ns.min(at_ns);
        }
        self.threads[running].state = State::Blocked { awaits, deadline_ns };
        self.blocked.push(running);
    }

    /// Wakes up to `count` threads that wait at `address`, in an order of the seed's.
    pub(super) fn wake_at(&mut self, address: usize, count: usize, bits: u32) -> usize {
        let mut woken = 0;
        while woken < count {
            let eligible: Vec<ThreadNumber> = match self.waiters.get(&address) {
                Some(waiting) => waiting
                    .iter()
                    .copied()
                    .filter(|number| self.listens(*number, bits))
                    .collect(),
                None => break,
            };
            if eligible.is_empty() {
                break;
            }
            let chosen = eligible[self.chance.schedule.usize(..eligible.len())];
            self.threads[chosen].owes_wake = Some(address);
            self.wake(chosen, Cause::Woken);
            woken += 1;
        }
        woken
    }

    fn listens(&self, number: ThreadNumber, with: u32) -> bool {
        matches!(self.threads[number].state,
            State::Blocked { awaits: Awaits::Wake { bits, .. }, .. } if bits & with != 0)
    }

    /// Takes a thread out of its wait.
    fn wake(&mut self, number: ThreadNumber, cause: Cause) {
        self.unblock(number);
        let thread = &mut self.threads[number];
        thread.state = State::Runnable;
        thread.cause = cause;
        if self.may_run(number) {
            self.ready.push(number);
        }
    }

    fn unblock(&mut self, number: ThreadNumber) {
        self.blocked.retain(|blocked| *blocked != number);
        if let State::Blocked {
            awaits: Awaits::Wake { address, .. },
            ..
        } = self.threads[number].state
            && let Some(waiting) = self.waiters.get_mut(&address)
        {
            waiting.retain(|waits| *waits != number);
            if waiting.is_empty() {
                self.waiters.remove(&address);
            }
        }
    }

    fn wake_all(&mut self, which: impl Fn(Awaits) -> bool) {
        let woken: Vec<ThreadNumber> = self
            .blocked
            .iter()
            .copied()
            .filter(|number| self.awaits(*number).is_some_and(&which))
            .collect();
        for number in woken {
            self.wake(number, Cause::Woken);
        }
    }

    fn awaits(&self, number: ThreadNumber) -> Option<Awaits> {
        match self.threads[number].state {
            State::Blocked { awaits, .. } => Some(awaits),
            State::Runnable | State::Over => None,
        }
    }

    fn may_run(&self, number: ThreadNumber) -> bool {
        let thread = &self.threads[number];
        let host = &self.hosts[thread.host];
        matches!(thread.state, State::Runnable) && (thread.shields > 0 || !(host.paused || host.ended))
    }

    /// Chooses who runs next, and moves the time to where somebody can.
    pub(super) fn pick(&mut self, outside: &impl Descriptors) -> Result<(ThreadNumber, Cause), Failure> {
        self.now_ns += TURN_NS + self.chance.schedule.u64(..TURN_SPREAD_NS);
        loop {
            if self.now_ns > self.limit_ns {
                return Err(Failure::TimeLimit {
                    threads: self.described(),
                });
            }
            if self.next_deadline_ns <= self.now_ns {
                self.expire();
            }
            self.notice_writes(outside);
            if !self.ready.is_empty() {
                return Ok(self.choose());
            }
            self.next_deadline_ns = self.earliest_deadline_ns();
            if self.next_deadline_ns == u64::MAX {
                return Err(Failure::Deadlock {
                    threads: self.described(),
                });
            }
            self.now_ns = self.now_ns.max(self.next_deadline_ns);
        }
    }

    fn choose(&mut self) -> (ThreadNumber, Cause) {
        let place = self.chance.schedule.usize(..self.ready.len());
        let chosen = self.ready.swap_remove(place);
        if chosen != self.running {
            self.switches += 1;
        }
        self.running = chosen;
        self.digest.add(self.now_ns);
        self.digest.add(chosen as u64);
        if self.told {
            let host = &self.hosts[self.threads[chosen].host].name;
            eprintln!(
                "{} ns: thread {chosen} of {host}, of {} that could, {:016x}",
                self.now_ns,
                self.ready.len() + 1,
                self.digest.value()
            );
        }
        let thread = &mut self.threads[chosen];
        thread.owes_wake = None;
        (chosen, std::mem::replace(&mut thread.cause, Cause::Woken))
    }

    /// Wakes everyone whose deadline has come.
    fn expire(&mut self) {
        let due: Vec<ThreadNumber> = self
            .blocked
            .iter()
            .copied()
            .filter(|number| self.deadline_ns(*number) <= self.now_ns)
            .collect();
        for number in due {
            self.wake(number, Cause::TimedOut);
        }
        self.next_deadline_ns = self.earliest_deadline_ns();
    }

    /// When the thread's wait ends, in the machine's time; never while its process is stopped.
    fn deadline_ns(&self, number: ThreadNumber) -> u64 {
        let thread = &self.threads[number];
        let host = &self.hosts[thread.host];
        match thread.state {
            State::Blocked {
                deadline_ns: Some(shown_ns),
                ..
            } if thread.shields > 0 || !host.paused => host.machine_ns(shown_ns),
            _ => u64::MAX,
        }
    }

    fn earliest_deadline_ns(&self) -> u64 {
        let deadlines = self.blocked.iter().map(|number| self.deadline_ns(*number));
        deadlines.min().unwrap_or(u64::MAX)
    }

    /// Lets those who wait for descriptors look again once somebody has written to one.
    fn notice_writes(&mut self, outside: &impl Descriptors) {
        let writes = outside.writes();
        if writes == self.writes_seen {
            return;
        }
        self.writes_seen = writes;
        let (mut polling, mut descriptors) = (Vec::new(), Vec::new());
        for number in &self.blocked {
            if let Some(Awaits::Events { descriptor }) = self.awaits(*number) {
                polling.push(*number);
                descriptors.push(descriptor);
            }
        }
        if !polling.is_empty() {
            for (number, readable) in polling.into_iter().zip(outside.readable(&descriptors)) {
                if readable {
                    self.wake(number, Cause::Woken);
                }
            }
        }
        self.wake_all(|awaits| awaits == Awaits::AnyEvent);
    }

    /// Whether a thread has come to its end.
    pub(super) fn thread_is_over(&self, number: ThreadNumber) -> bool {
        matches!(self.threads[number].state, State::Over)
    }

    /// The running thread has come to its end.
    pub(super) fn end_thread(&mut self) {
        let running = self.running;
        self.threads[running].state = State::Over;
        self.wake_all(|awaits| awaits == Awaits::Thread(running));
    }

    /// None of the process's threads runs again; those inside a shield do so at its end.
    pub(super) fn end_host(&mut self, host: usize) {
        if self.hosts[host].ended {
            return;
        }
        self.hosts[host].ended = true;
        self.digest.add(0x6b69_6c6c ^ host as u64);
        for number in 0..self.threads.len() {
            if self.threads[number].host == host && self.threads[number].shields == 0 {
                self.end_killed(number);
            }
        }
        self.next_deadline_ns = self.earliest_deadline_ns();
        self.wake_all(|awaits| awaits == Awaits::Process(host));
    }

    fn end_killed(&mut self, number: ThreadNumber) {
        if self.thread_is_over(number) {
            return;
        }
        self.unblock(number);
        self.ready.retain(|ready| *ready != number);
        let thread = &mut self.threads[number];
        thread.state = State::Over;
        // A wake that it took to the grave belongs to the next who waits there.
        if let Some(address) = thread.owes_wake.take() {
            self.wake_at(address, 1, u32::MAX);
        }
    }

    pub(super) fn pause(&mut self, host: usize, paused: bool) {
        if self.hosts[host].paused == paused || self.hosts[host].ended {
            return;
        }
        self.hosts[host].paused = paused;
        self.digest
            .add(0x7061_7573 ^ (host as u64) << 1 ^ u64::from(paused));
        self.ready.clear();
        for number in 0..self.threads.len() {
            if number != self.running && self.may_run(number) {
                self.ready.push(number);
            }
        }
        self.next_deadline_ns = self.earliest_deadline_ns();
    }

    pub(super) fn set_rate_ppm(&mut self, host: usize, ppm: i64) {
        self.hosts[host].set_rate_ppm(self.now_ns, ppm);
        self.next_deadline_ns = self.earliest_deadline_ns();
    }

    /// The running thread enters a section in which neither kill nor pause takes effect.
    pub(super) fn shield(&mut self) {
        self.threads[self.running].shields += 1;
    }

    /// It leaves that section. `false` when it may not go on now.
    pub(super) fn unshield(&mut self) -> bool {
        let running = self.running;
        let thread = &mut self.threads[running];
        thread.shields -= 1;
        if thread.shields == 0 && self.hosts[thread.host].ended {
            thread.state = State::Over;
        }
        self.may_run(running)
    }

    /// Whether the running thread may go on.
    pub(super) fn may_go_on(&self) -> bool {
        self.may_run(self.running)
    }

    /// What each thread that is left does: its number, its process, and what it waits for.
    fn described(&self) -> Vec<(ThreadNumber, String)> {
        let mut lines = Vec::new();
        for (number, thread) in self.threads.iter().enumerate() {
            let host = &self.hosts[thread.host];
            let what = match thread.state {
                State::Over => continue,
                State::Runnable => "could run".to_owned(),
                State::Blocked { awaits, .. } => {
                    let what = match awaits {
                        Awaits::Wake { address, .. } => {
                            format!("waits for a lock, a condition or a message ({address:#x})")
                        }
                        Awaits::Time => "sleeps".to_owned(),
                        Awaits::Thread(other) => format!("joins thread {other}"),
                        Awaits::Process(other) => {
                            format!("waits for the end of process {}", self.hosts[other].name)
                        }
                        Awaits::Events { descriptor } => {
                            format!("waits for events of descriptor {descriptor}")
                        }
                        Awaits::AnyEvent => "polls descriptors".to_owned(),
                    };
                    match self.deadline_ns(number) {
                        u64::MAX => what,
                        at_ns => format!("{what}, until {:?}", super::process::duration(at_ns)),
                    }
                }
            };
            let stopped = if host.paused { ", stopped" } else { "" };
            lines.push((number, format!("in {}{stopped}: {what}", host.name)));
        }
        lines
    }
}

/// Everything that happened, in 64 bits.
pub(super) struct Digest(u64);

impl Digest {
    pub(super) fn add(&mut self, value: u64) {
        self.0 = (self.0 ^ value)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
    }

    pub(super) fn add_text(&mut self, text: &str) {
        self.add(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    pub(super) fn value(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: Awaits = Awaits::Wake { address: 8, bits: 1 };

    struct Nothing;

    impl Descriptors for Nothing {
        fn writes(&self) -> u64 {
            0
        }

        fn readable(&self, _: &[i32]) -> Vec<bool> {
            unreachable!("nobody waits for descriptors")
        }
    }

    /// A machine in which `waiting` threads of a process each wait at [`WORD`], and the first thread runs.
    fn waiting(seed: u64, waiting: usize) -> (Scheduler, Vec<usize>) {
        let mut scheduler = Scheduler::new(seed, 1 << 40, "main");
        let mut hosts = Vec::new();
        for number in 0..waiting {
            hosts.push(scheduler.add_host(format!("host {number}")));
            scheduler.add_thread(hosts[number]);
            scheduler.block(Awaits::Time, Some(u64::MAX));
            scheduler.pick(&Nothing).expect("it can run");
            scheduler.block(WORD, None);
            scheduler.running = 0;
            scheduler.wake(0, Cause::Woken);
            scheduler.ready.clear();
        }
        (scheduler, hosts)
    }

    #[test]
    fn a_wake_that_a_killed_thread_took_goes_to_the_next_who_waits() {
        let (mut scheduler, hosts) = waiting(1, 2);
        assert_eq!(scheduler.wake_at(8, 1, 1), 1);
        let woken = scheduler.host_of(scheduler.ready[0]);
        scheduler.end_host(woken);
        scheduler.block(Awaits::Process(woken), None);
        let (next, _) = scheduler.pick(&Nothing).expect("the other one can run");
        assert!(scheduler.host_of(next) != woken && hosts.contains(&scheduler.host_of(next)));
    }

    #[test]
    fn a_killed_thread_takes_no_wake() {
        let (mut scheduler, hosts) = waiting(2, 3);
        scheduler.end_host(hosts[1]);
        assert_eq!(scheduler.wake_at(8, 9, 1), 2);
    }

    #[test]
    fn a_wake_reaches_only_those_who_listen_for_it() {
        let (mut scheduler, _) = waiting(3, 2);
        assert_eq!(scheduler.wake_at(8, 9, 2), 0);
        assert_eq!(scheduler.wake_at(16, 9, 1), 0);
        assert_eq!(scheduler.wake_at(8, 9, 3), 2);
    }

    #[test]
    fn who_is_woken_first_is_the_seeds_choice() {
        let first = |seed| {
            let (mut scheduler, _) = waiting(seed, 4);
            scheduler.wake_at(8, 1, 1);
            scheduler.ready[0]
        };
        let woken: std::collections::BTreeSet<_> = (0..64).map(first).collect();
        assert_eq!(woken.len(), 4);
        assert_eq!(
            (0..64).map(first).collect::<Vec<_>>(),
            (0..64).map(first).collect::<Vec<_>>()
        );
    }
}
