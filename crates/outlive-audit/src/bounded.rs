//! Refusals are bounded per source, so that nobody fills the log, or hides in it what others did.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use crate::Entry;

/// How many refusals get lines of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalBounds {
    /// Of one source at once.
    pub burst: u32,
    /// Time after which a source may have one more.
    pub every: Duration,
    /// Sources that are told apart. All beyond share one allowance.
    pub max_sources: usize,
}

impl Default for RefusalBounds {
    /// Enough to see what somebody tries; 3600 lines of one source in an hour; about a megabyte of sources.
    fn default() -> Self {
        Self {
            burst: 20,
            every: Duration::from_secs(1),
            max_sources: 1024,
        }
    }
}

/// A refusal that is to be written, and how many before it got no line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) entry: Entry,
    pub(crate) at: SystemTime,
    pub(crate) suppressed: u64,
}

/// What each source is still allowed.
#[derive(Debug)]
pub(crate) struct Allowances {
    bounds: RefusalBounds,
    of: HashMap<Source, Allowance>,
    /// Of all sources that have none of their own.
    others: Allowance,
    swept: Instant,
}

/// A host: who can use one port can use another, and who has one address of an IPv6 network has them all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Source {
    Inside,
    Host(IpAddr),
    Named(String),
}

#[derive(Debug)]
struct Allowance {
    /// Lines that it may have now.
    left: u32,
    /// Since when the next one is growing.
    since: Instant,
    left_out: Option<Suppressed>,
}

/// Refusals without a line; the newest of them is kept.
#[derive(Debug)]
struct Suppressed {
    newest: Entry,
    at: SystemTime,
    count: u64,
}

impl Allowances {
    pub(crate) fn new(bounds: RefusalBounds, now: Instant) -> Self {
        Self {
            others: Allowance::full(&bounds, now),
            bounds,
            of: HashMap::new(),
            swept: now,
        }
    }

    /// Takes a refusal in. Returns it with the number of those before it that were left out, or nothing where it is to be
    /// left out itself.
    pub(crate) fn take(&mut self, entry: Entry, at: SystemTime, now: Instant) -> Option<Due> {
        let source = Source::of(entry.source.as_deref());
        if !self.of.contains_key(&source) && self.of.len() >= self.bounds.max_sources {
            let bounds = &self.bounds;
            self.of.retain(|_, allowance| !allowance.is_idle(bounds, now));
        }
        let allowance = if self.of.contains_key(&source) || self.of.len() < self.bounds.max_sources {
            self.of
                .entry(source)
                .or_insert_with(|| Allowance::full(&self.bounds, now))
        } else {
            &mut self.others
        };
        if allowance.spend(&self.bounds, now) {
            let suppressed = allowance.left_out.take().map_or(0, |left_out| left_out.count);
            return Some(Due {
                entry,
                at,
                suppressed,
            });
        }
        let count = allowance.left_out.take().map_or(0, |left_out| left_out.count);
        allowance.left_out = Some(Suppressed {
            newest: entry,
            at,
            count: count + 1,
        });
        None
    }

    /// What was left out of sources that fell silent since and may have a line again. Looks once in `every`.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<Due> {
        if now.saturating_duration_since(self.swept) < self.bounds.every {
            return Vec::new();
        }
        self.swept = now;
        let bounds = &self.bounds;
        let mut due = Vec::new();
        for allowance in self.of.values_mut().chain([&mut self.others]) {
            if allowance.left_out.is_some() && allowance.spend(bounds, now) {
                due.extend(allowance.left_out.take().map(Suppressed::into_due));
            }
        }
        due
    }

    /// All that was left out and not told yet, for the end of the log.
    pub(crate) fn finish(&mut self) -> Vec<Due> {
        let all = self.of.values_mut().chain([&mut self.others]);
        all.filter_map(|allowance| allowance.left_out.take())
            .map(Suppressed::into_due)
            .collect()
    }
}

impl Suppressed {
    /// The newest gets a line after all.
    fn into_due(self) -> Due {
        Due {
            entry: self.newest,
            at: self.at,
            suppressed: self.count - 1,
        }
    }
}

impl Source {
    fn of(source: Option<&str>) -> Self {
        let Some(text) = source else {
            return Self::Inside;
        };
        let address = text.parse::<SocketAddr>().map(|address| address.ip());
        match address
            .or_else(|_| text.parse::<IpAddr>())
            .map(|ip| ip.to_canonical())
        {
            Ok(IpAddr::V6(ip)) => Self::Host(network(ip).into()),
            Ok(ip) => Self::Host(ip),
            Err(_) => Self::Named(text.chars().take(64).collect()),
        }
    }
}

fn network(ip: Ipv6Addr) -> Ipv6Addr {
    let [a, b, c, d, ..] = ip.segments();
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
}

impl Allowance {
    fn full(bounds: &RefusalBounds, now: Instant) -> Self {
        Self {
            left: bounds.burst,
            since: now,
            left_out: None,
        }
    }

    fn grow(&mut self, bounds: &RefusalBounds, now: Instant) {
        let every = bounds.every.as_nanos().max(1);
        let grown = now.saturating_duration_since(self.since).as_nanos() / every;
        match u32::try_from(grown) {
            Ok(grown) if grown < bounds.burst.saturating_sub(self.left) => {
                self.left += grown;
                self.since += bounds.every * grown;
            }
            _ => (self.left, self.since) = (bounds.burst, now),
        }
    }

    fn spend(&mut self, bounds: &RefusalBounds, now: Instant) -> bool {
        self.grow(bounds, now);
        let spent = self.left > 0;
        self.left = self.left.saturating_sub(1);
        spent
    }

    /// Whether forgetting it changes nothing.
    fn is_idle(&mut self, bounds: &RefusalBounds, now: Instant) -> bool {
        self.grow(bounds, now);
        self.left >= bounds.burst && self.left_out.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Act;

    fn bounds(burst: u32, max_sources: usize) -> RefusalBounds {
        RefusalBounds {
            burst,
            every: Duration::from_secs(1),
            max_sources,
        }
    }

    fn refusal(source: &str) -> Entry {
        Entry::refused(Act::Connect, "no").from(source)
    }

    /// How many were left out before it, where it gets a line.
    fn take(allowances: &mut Allowances, source: &str, now: Instant) -> Option<u64> {
        let due = allowances.take(refusal(source), SystemTime::UNIX_EPOCH, now);
        due.map(|due| due.suppressed)
    }

    #[test]
    fn a_source_that_is_refused_often_is_counted_and_others_are_not_touched() {
        let now = Instant::now();
        let mut allowances = Allowances::new(bounds(2, 8), now);
        // Ports do not make another source.
        assert_eq!(take(&mut allowances, "10.0.0.1:1", now), Some(0));
        assert_eq!(take(&mut allowances, "10.0.0.1:2", now), Some(0));
        for port in 3..10 {
            assert_eq!(take(&mut allowances, &format!("10.0.0.1:{port}"), now), None);
        }
        assert_eq!(take(&mut allowances, "10.0.0.2:1", now), Some(0));
        let later = now + Duration::from_secs(1);
        assert_eq!(take(&mut allowances, "10.0.0.1:1", later), Some(7));
        assert_eq!(take(&mut allowances, "10.0.0.1:1", later), None);
        // An hour of silence gives no more than a burst.
        let later = now + Duration::from_secs(3600);
        assert_eq!(take(&mut allowances, "10.0.0.1:1", later), Some(1));
        assert_eq!(take(&mut allowances, "10.0.0.1:1", later), Some(0));
        assert_eq!(take(&mut allowances, "10.0.0.1:1", later), None);
    }

    #[test]
    fn what_was_left_out_of_a_source_that_fell_silent_is_told() {
        let now = Instant::now();
        let mut allowances = Allowances::new(bounds(1, 8), now);
        for _ in 0..5 {
            take(&mut allowances, "10.0.0.1:1", now);
        }
        assert_eq!(allowances.sweep(now + Duration::from_millis(999)), []);
        let told = allowances.sweep(now + Duration::from_secs(1));
        let expected = Due {
            entry: refusal("10.0.0.1:1"),
            at: SystemTime::UNIX_EPOCH,
            suppressed: 3,
        };
        assert_eq!(told, [expected]);
        assert_eq!(allowances.sweep(now + Duration::from_secs(9)), []);
        assert_eq!(allowances.finish(), []);
    }

    #[test]
    fn sources_are_bounded_and_those_beyond_share_an_allowance() {
        let now = Instant::now();
        let mut allowances = Allowances::new(bounds(1, 2), now);
        for source in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            assert_eq!(take(&mut allowances, source, now), Some(0));
        }
        for host in 4..100 {
            assert_eq!(take(&mut allowances, &format!("10.0.0.{host}"), now), None);
        }
        assert_eq!(allowances.of.len(), 2);
        // Those that were quiet make room.
        let later = now + Duration::from_secs(1);
        assert_eq!(take(&mut allowances, "10.0.1.1", later), Some(0));
        assert_eq!(allowances.of.len(), 1);
        assert_eq!(allowances.finish().len(), 1, "the others' are told at the end");
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let of = |text| Source::of(Some(text));
        assert_eq!(of("[2001:db8::1]:5"), of("[2001:db8::ffff:1]:6"));
        assert_ne!(of("[2001:db8::1]:5"), of("[2001:db8:0:1::1]:5"));
        assert_eq!(of("[::ffff:10.0.0.1]:5"), of("10.0.0.1:7"));
        assert_ne!(of("10.0.0.1:7"), Source::of(None));
    }
}
