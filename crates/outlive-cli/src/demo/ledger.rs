//! What the clients were told, and what the service must therefore hold. Pure.
//!
//! Each client writes to keys of its own, so that every reply has exactly one right form, and all count one
//! shared counter, so that no two may get the same number. An acknowledged write is checked twice: by the
//! reply of the next write to the same place, and by reading everything after each takeover. What is found wrong is
//! counted once; the ledger then goes on from what was found.

use std::collections::{BTreeMap, HashSet};

use super::random::Random;

/// Places that a client overwrites; small enough that each is written many times in a run.
const KEYS: u64 = 512;
/// Fields of a client's hash.
const FIELDS: u64 = 256;
/// Name of the counter that all clients share.
pub(crate) const SHARED_COUNTER: &str = "demo:shared";

/// One request of the mixed load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `SET key value GET`: replies with the value before.
    Set { key: u64, value: String },
    /// `GET key`.
    Get { key: u64 },
    /// `INCR` of the client's own counter.
    Count,
    /// `INCR` of the shared counter.
    CountShared,
    /// `RPUSH` of an element that is there once only.
    Push { element: String },
    /// `HSET field value`.
    SetField { field: u64, value: String },
}

impl Operation {
    /// Whether it changes the state.
    pub(crate) fn is_write(&self) -> bool {
        !matches!(self, Self::Get { .. })
    }
}

/// A reply, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nothing,
    Integer(i64),
    Text(String),
    /// Something that none of our requests may get.
    Unexpected(String),
}

/// What was found wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Acknowledged writes whose effect is missing.
    pub(crate) lost: u64,
    /// Requests whose effect is there more than once.
    pub(crate) duplicated: u64,
    /// A few of them in words.
    pub(crate) findings: Vec<String>,
}

impl Tally {
    /// Findings in words that are kept: enough to see what happened.
    const FINDINGS: usize = 10;

    pub(crate) fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        let room = Self::FINDINGS.saturating_sub(self.findings.len());
        self.findings.extend(other.findings.into_iter().take(room));
    }

    fn lost(&mut self, count: u64, finding: impl FnOnce() -> String) {
        self.lost += count;
        self.say(finding);
    }

    fn duplicated(&mut self, count: u64, finding: impl FnOnce() -> String) {
        self.duplicated += count;
        self.say(finding);
    }

    fn say(&mut self, finding: impl FnOnce() -> String) {
        if self.findings.len() < Self::FINDINGS {
            self.findings.push(finding());
        }
    }

    /// A number that grows with each request: too small is lost, too large is done twice.
    fn number(&mut self, what: &str, expected: u64, found: u64) {
        if found < expected {
            self.lost(expected - found, || {
                format!("{what} is {found} instead of {expected}")
            });
        } else if found > expected {
            self.duplicated(found - expected, || {
                format!("{what} is {found} instead of {expected}")
            });
        }
    }
}

/// What one client knows.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    client: u64,
    random: Random,
    /// Makes every value and element unique.
    serial: u64,
    values: BTreeMap<u64, String>,
    fields: BTreeMap<u64, String>,
    elements: Vec<String>,
    count: u64,
    acknowledged: u64,
}

/// What the service holds of one client's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) values: BTreeMap<u64, String>,
    pub(crate) fields: BTreeMap<u64, String>,
    pub(crate) elements: Vec<String>,
    pub(crate) count: u64,
}

impl Ledger {
    pub(crate) fn new(client: u64, seed: u64) -> Self {
        Self {
            client,
            random: Random::new(seed.wrapping_add(client)),
            serial: 0,
            values: BTreeMap::new(),
            fields: BTreeMap::new(),
            elements: Vec::new(),
            count: 0,
            acknowledged: 0,
        }
    }

    /// Writes that were acknowledged to this client.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Keys that this client has written.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> {
        self.values.keys().copied()
    }

    pub(crate) fn key(&self, key: u64) -> String {
        format!("demo:{}:key:{key}", self.client)
    }

    pub(crate) fn counter(&self) -> String {
        format!("demo:{}:counter", self.client)
    }

    pub(crate) fn list(&self) -> String {
        format!("demo:{}:list", self.client)
    }

    pub(crate) fn hash(&self) -> String {
        format!("demo:{}:hash", self.client)
    }

    /// The next request.
    pub(crate) fn next(&mut self) -> Operation {
        self.serial += 1;
        let unique = format!("{}-{}", self.client, self.serial);
        match self.random.below(10) {
            0..3 => Operation::Set {
                key: self.random.below(KEYS),
                value: unique,
            },
            3 => Operation::Get {
                key: self.random.below(KEYS),
            },
            4 | 5 => Operation::Count,
            6 => Operation::CountShared,
            7 => Operation::Push { element: unique },
            _ => Operation::SetField {
                field: self.random.below(FIELDS),
                value: unique,
            },
        }
    }

    /// Enters the reply to a request, once it is there, and says whether it is right.
    pub(crate) fn settle(
        &mut self,
        operation: Operation,
        reply: &Reply,
        shared: &mut SharedCounter,
    ) -> Tally {
        if operation.is_write() {
            self.acknowledged += 1;
        }
        let mut tally = Tally::default();
        match operation {
            Operation::Set { key, value } => {
                let before = self.values.insert(key, value);
                check_value(&mut tally, &self.key(key), before.as_ref(), reply);
            }
            Operation::Get { key } => {
                let expected = self.values.get(&key).cloned();
                check_value(&mut tally, &self.key(key), expected.as_ref(), reply);
            }
            Operation::Count => {
                self.count += 1;
                self.count = check_number(&mut tally, &self.counter(), self.count, reply);
            }
            Operation::CountShared => shared.enter(&mut tally, reply),
            Operation::Push { element } => {
                self.elements.push(element);
                // Which elements are there too often or not at all is found by reading the list.
                let expected = self.elements.len() as u64;
                check_number(&mut tally, &self.list(), expected, reply);
            }
            Operation::SetField { field, value } => {
                let is_new = self.fields.insert(field, value).is_none();
                let name = format!("{} field {field}", self.hash());
                if *reply != Reply::Integer(i64::from(is_new)) {
                    tally.lost(1, || {
                        format!(
                            "HSET of {name} replied {reply:?}, the field was {}there",
                            if is_new { "not " } else { "" }
                        )
                    });
                }
            }
        }
        tally
    }

    /// Compares with what the service holds while this client waits, and goes on from that.
    pub(crate) fn audit(&mut self, held: Held) -> Tally {
        let mut tally = Tally::default();
        compare(&mut tally, |key| self.key(key), &self.values, &held.values);
        let hash = self.hash();
        compare(
            &mut tally,
            |field| format!("{hash} field {field}"),
            &self.fields,
            &held.fields,
        );
        tally.number(&self.counter(), self.count, held.count);
        compare_elements(&mut tally, &self.list(), &self.elements, &held.elements);
        self.values = held.values;
        self.fields = held.fields;
        self.elements = held.elements;
        self.count = held.count;
        tally
    }
}

/// The counter that all clients count.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedCounter {
    /// What it must be: as many as were acknowledged.
    expected: u64,
    replies: HashSet<i64>,
    /// Numbers given twice since the last audit: each means that a count was taken back.
    repeated: u64,
}

impl SharedCounter {
    fn enter(&mut self, tally: &mut Tally, reply: &Reply) {
        self.expected += 1;
        match reply {
            Reply::Integer(number) => self.repeated += u64::from(!self.replies.insert(*number)),
            other => tally.lost(1, || format!("INCR of {SHARED_COUNTER} replied {other:?}")),
        }
    }

    /// Compares with what the service holds while every client waits.
    pub(crate) fn audit(&mut self, held: u64) -> Tally {
        let mut tally = Tally::default();
        let repeated = std::mem::take(&mut self.repeated);
        tally.number(SHARED_COUNTER, self.expected, held);
        if repeated > tally.lost {
            let missing = repeated - tally.lost;
            tally.lost(missing, || {
                format!("{SHARED_COUNTER} gave {repeated} numbers twice")
            });
        }
        self.expected = held;
        tally
    }
}

fn check_value(tally: &mut Tally, key: &str, expected: Option<&String>, reply: &Reply) {
    let right = match (expected, reply) {
        (None, Reply::Nothing) => true,
        (Some(expected), Reply::Text(found)) => expected == found,
        _ => false,
    };
    if !right {
        tally.lost(1, || format!("{key} was {reply:?} instead of {expected:?}"));
    }
}

/// Returns the number to go on from.
fn check_number(tally: &mut Tally, what: &str, expected: u64, reply: &Reply) -> u64 {
    let Reply::Integer(found) = reply else {
        tally.lost(1, || format!("{what} replied {reply:?} instead of {expected}"));
        return expected;
    };
    let found = u64::try_from(*found).unwrap_or(0);
    tally.number(what, expected, found);
    found
}

fn compare(
    tally: &mut Tally,
    name: impl Fn(u64) -> String,
    expected: &BTreeMap<u64, String>,
    held: &BTreeMap<u64, String>,
) {
    for (key, value) in expected {
        let found = held.get(key);
        if found != Some(value) {
            tally.lost(1, || format!("{} is {found:?} instead of {value:?}", name(*key)));
        }
    }
}

fn compare_elements(tally: &mut Tally, list: &str, expected: &[String], held: &[String]) {
    if expected == held {
        return;
    }
    let mut copies: BTreeMap<&str, u64> = BTreeMap::new();
    for element in held {
        *copies.entry(element).or_default() += 1;
    }
    let mut wrong = false;
    for element in expected {
        let found = copies.get(element.as_str()).copied().unwrap_or(0);
        match found {
            1 => {}
            0 => tally.lost(1, || format!("{list} lacks {element}")),
            more => tally.duplicated(more - 1, || format!("{list} holds {element} {more} times")),
        }
        wrong |= found != 1;
    }
    if !wrong {
        tally.lost(1, || {
            format!("{list} is in another order than it was acknowledged")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that does what it should.
    #[derive(Clone, Default)]
    struct Service {
        held: Held,
        shared: u64,
    }

    impl Service {
        fn carry_out(&mut self, operation: &Operation) -> Reply {
            let text = |found: Option<String>| found.map_or(Reply::Nothing, Reply::Text);
            match operation.clone() {
                Operation::Set { key, value } => text(self.held.values.insert(key, value)),
                Operation::Get { key } => text(self.held.values.get(&key).cloned()),
                Operation::Count => {
                    self.held.count += 1;
                    Reply::Integer(self.held.count.try_into().unwrap())
                }
                Operation::CountShared => {
                    self.shared += 1;
                    Reply::Integer(self.shared.try_into().unwrap())
                }
                Operation::Push { element } => {
                    self.held.elements.push(element);
                    Reply::Integer(self.held.elements.len().try_into().unwrap())
                }
                Operation::SetField { field, value } => {
                    Reply::Integer(i64::from(self.held.fields.insert(field, value).is_none()))
                }
            }
        }
    }

    fn run(
        requests: usize,
        mut fault: impl FnMut(usize, &Operation, &mut Service),
    ) -> (Tally, Ledger, Service) {
        let (mut ledger, mut shared, mut service) =
            (Ledger::new(1, 42), SharedCounter::default(), Service::default());
        let mut tally = Tally::default();
        for number in 0..requests {
            let operation = ledger.next();
            let reply = service.carry_out(&operation);
            fault(number, &operation, &mut service);
            tally.add(ledger.settle(operation, &reply, &mut shared));
        }
        tally.add(ledger.audit(service.held.clone()));
        tally.add(shared.audit(service.shared));
        (tally, ledger, service)
    }

    #[test]
    fn a_service_that_keeps_its_word_is_clean() {
        let (tally, mut ledger, service) = run(5000, |_, _, _| {});
        assert_eq!(tally, Tally::default());
        assert!(ledger.acknowledged() > 4000 && ledger.acknowledged() < 5000);
        assert!(ledger.audit(service.held).is_clean());
    }

    #[test]
    fn every_kind_of_loss_is_found_once() {
        let mut lost = 0;
        let (tally, mut ledger, service) = run(400, |number, operation, service| {
            // The last write of each kind is taken back right after it was acknowledged.
            if number < 390 {
                return;
            }
            match operation {
                Operation::Set { key, .. } => {
                    service.held.values.insert(*key, "older".to_owned());
                }
                Operation::Push { .. } => {
                    service.held.elements.pop();
                }
                Operation::SetField { field, .. } => {
                    service.held.fields.insert(*field, "older".to_owned());
                }
                Operation::Count => service.held.count -= 1,
                Operation::CountShared => service.shared -= 1,
                Operation::Get { .. } => return,
            }
            lost += 1;
        });
        assert!(lost > 0);
        assert_eq!((tally.lost, tally.duplicated), (lost, 0), "{:?}", tally.findings);
        assert!(
            ledger.audit(service.held).is_clean(),
            "what was found is not found again"
        );
    }

    #[test]
    fn requests_done_twice_are_found() {
        let mut twice = 0;
        let (tally, ..) = run(300, |number, operation, service| {
            if number % 50 == 49
                && matches!(
                    operation,
                    Operation::Push { .. } | Operation::Count | Operation::CountShared
                )
            {
                service.carry_out(operation);
                twice += 1;
            }
        });
        assert!(twice > 0);
        assert!(tally.duplicated >= twice && tally.lost == 0, "{tally:?}");
    }

    #[test]
    fn a_number_given_twice_is_a_loss() {
        let mut shared = SharedCounter::default();
        let mut tally = Tally::default();
        for number in [1, 2, 2] {
            shared.enter(&mut tally, &Reply::Integer(number));
        }
        assert_eq!(shared.audit(2).lost, 1);
        assert!(shared.audit(2).is_clean());
    }

    #[test]
    fn another_order_is_no_good() {
        let list = |elements: &[&str]| {
            elements
                .iter()
                .map(|&element| element.to_owned())
                .collect::<Vec<_>>()
        };
        let mut tally = Tally::default();
        compare_elements(&mut tally, "list", &list(&["a", "b"]), &list(&["b", "a"]));
        assert_eq!((tally.lost, tally.duplicated), (1, 0));
    }

    #[test]
    fn an_error_instead_of_a_reply_is_a_loss() {
        let (mut ledger, mut shared) = (Ledger::new(1, 1), SharedCounter::default());
        for _ in 0..20 {
            let operation = ledger.next();
            let tally = ledger.settle(operation, &Reply::Unexpected("ERR".to_owned()), &mut shared);
            assert_eq!(tally.lost, 1, "{tally:?}");
        }
    }
}
