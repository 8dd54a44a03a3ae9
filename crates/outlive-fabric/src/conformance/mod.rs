//! What every provider must do, as one suite that runs unchanged on all of them.
//!
//! A provider implements [`Harness`] and calls [`conformance_suite!`](crate::conformance_suite) in
//! an integration test. Each function panics with what was expected when the provider does not conform.

mod admission;

use std::io::IoSlice;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::testing::{KEY, Memory, TestTarget};
use crate::{
    CloseReason, Completion, Endpoint, FabricError, OpId, Outcome, PersistMethod, Refusal, RemoteKey, Rights,
    Ticket,
};

pub use admission::{
    a_ticket_is_good_for_one_connection, a_ticket_survives_three_wrong_answers_and_not_four,
    a_wrong_secret_lets_nobody_in, an_impostor_is_given_nothing, other_terms_let_nobody_in,
};

/// Longer than anything here takes on a healthy provider; only reached by a hang.
const PATIENCE: Duration = Duration::from_secs(30);
const MEMORY_BYTES: usize = 1 << 20;

/// How the suite reaches a provider.
pub trait Harness: Sized {
    /// The provider's endpoint.
    type Endpoint: Endpoint + 'static;

    /// Serves `target`.
    fn serve(target: Arc<TestTarget>) -> Self;

    /// Connects to it.
    ///
    /// # Errors
    /// The provider's.
    fn connect(&self, ticket: &Ticket) -> Result<Self::Endpoint, FabricError>;

    /// Connects as a hostile initiator does: gives its own proof, whatever the target's is.
    ///
    /// # Errors
    /// The provider's.
    fn connect_blindly(&self, ticket: &Ticket) -> Result<(), FabricError>;

    /// Takes the target away, as when the unit is shut down.
    fn shut_down(self);
}

/// Makes one test of each function of the suite for a [`Harness`].
#[macro_export]
macro_rules! conformance_suite {
    ($harness:ty) => {
        $crate::conformance_suite!(@each $harness:
            any_offset_and_length
            completions_come_in_the_order_of_posting
            refusals_touch_nothing_and_the_connection_goes_on
            readers_cannot_write
            a_persist_covers_what_was_posted_before_it
            a_failed_medium_refuses_and_says_so
            the_longest_operations_and_longer_ones
            parts_are_placed_side_by_side
            more_operations_than_the_window_holds
            a_read_sees_the_writes_before_it
            connections_share_memory_and_nothing_else
            nothing_lands_after_a_confirmed_stop
            an_idle_connection_learns_that_it_was_stopped
            a_ticket_is_good_for_one_connection
            a_wrong_secret_lets_nobody_in
            other_terms_let_nobody_in
            an_impostor_is_given_nothing
            a_ticket_survives_three_wrong_answers_and_not_four
            the_target_learns_that_a_connection_closed
            a_target_that_is_gone_is_an_error
            a_wait_for_nothing_ends_with_its_timeout
            the_session_tells_what_may_be_used
        );
    };
    (@each $harness:ty: $($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                $crate::conformance::$name::<$harness>();
            }
        )+
    };
}

struct Bench<H: Harness> {
    target: Arc<TestTarget>,
    harness: H,
}

impl<H: Harness> Bench<H> {
    fn new(len: usize) -> Self {
        let target = TestTarget::new(Memory::new(len, true));
        Self {
            harness: H::serve(Arc::clone(&target)),
            target,
        }
    }

    fn connect(&self, rights: Rights) -> H::Endpoint {
        self.harness
            .connect(&self.target.issue(rights))
            .expect("a valid ticket lets in")
    }

    fn placed(&self) -> Vec<u8> {
        self.target.memory().placed()
    }
}

/// Waits for `count` completions.
fn collect(endpoint: &mut impl Endpoint, count: usize) -> Vec<Completion> {
    let mut completions = Vec::new();
    while completions.len() < count {
        let arrived = endpoint
            .wait(&mut completions, PATIENCE)
            .expect("the connection lives");
        assert!(
            arrived > 0,
            "{} of {count} completions arrived",
            completions.len()
        );
    }
    assert_eq!(completions.len(), count, "each operation completes once");
    completions
}

fn only(endpoint: &mut impl Endpoint, op: OpId) -> Result<Outcome, Refusal> {
    let completion = collect(endpoint, 1).remove(0);
    assert_eq!(completion.op, op);
    completion.result
}

fn write(
    endpoint: &mut impl Endpoint,
    key: RemoteKey,
    offset: u64,
    bytes: &[u8],
) -> Result<Outcome, Refusal> {
    let op = endpoint
        .post_write(key, offset, &[IoSlice::new(bytes)])
        .expect("posted");
    only(endpoint, op)
}

fn read(endpoint: &mut impl Endpoint, key: RemoteKey, offset: u64, len: u32) -> Result<Outcome, Refusal> {
    let op = endpoint.post_read(key, offset, len).expect("posted");
    only(endpoint, op)
}

fn persist(endpoint: &mut impl Endpoint, key: RemoteKey, offset: u64, len: u64) -> Result<Outcome, Refusal> {
    let op = endpoint.post_persist(key, offset, len).expect("posted");
    only(endpoint, op)
}

/// Bytes that differ from place to place and from seed to seed.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(len);
    bytes
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset in memory")
}

/// U2: any offset, any length of one byte or more, nothing beside it touched.
pub fn any_offset_and_length<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let mut expected = vec![0; MEMORY_BYTES];
    let end = MEMORY_BYTES as u64;
    let lengths = [
        1, 2, 3, 7, 8, 9, 63, 4095, 4097, 16_385, 32_767, 32_768, 32_769, 131_071, 131_073, 300_001,
    ];
    for (seed, len) in (1..).zip(lengths) {
        for offset in [0, 1, 7, 4093, end - len] {
            let bytes = pattern(seed + offset, index(len));
            assert_eq!(write(&mut endpoint, KEY, offset, &bytes), Ok(Outcome::Placed));
            expected[index(offset)..index(offset + len)].copy_from_slice(&bytes);
            let asked = u32::try_from(len).expect("short");
            assert_eq!(read(&mut endpoint, KEY, offset, asked), Ok(Outcome::Read(bytes)));
        }
    }
    assert_eq!(bench.placed(), expected);
}

/// Completions arrive in the order of posting, whatever the kinds and outcomes.
pub fn completions_come_in_the_order_of_posting<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let large = pattern(3, 70_000);
    let mut posted = Vec::new();
    for round in 0..40 {
        let offset = round * 100;
        posted.push(
            endpoint
                .post_write(KEY, offset, &[IoSlice::new(b"abc")])
                .expect("posted"),
        );
        posted.push(endpoint.post_persist(KEY, offset, 3).expect("posted"));
        posted.push(endpoint.post_read(KEY, offset, 3).expect("posted"));
        posted.push(
            endpoint
                .post_write(RemoteKey(99), 0, &[IoSlice::new(b"x")])
                .expect("posted"),
        );
        posted.push(
            endpoint
                .post_write(KEY, 100_000, &[IoSlice::new(&large)])
                .expect("posted"),
        );
        posted.push(endpoint.post_read(KEY, u64::MAX, 1).expect("posted"));
    }
    assert_eq!(endpoint.outstanding(), posted.len());
    let completions = collect(&mut endpoint, posted.len());
    assert_eq!(endpoint.outstanding(), 0);
    assert!(posted.is_sorted(), "operations are numbered upwards");
    for (round, six) in completions.chunks(6).enumerate() {
        let ops: Vec<OpId> = six.iter().map(|completion| completion.op).collect();
        assert_eq!(ops, posted[round * 6..round * 6 + 6]);
        assert_eq!(six[0].result, Ok(Outcome::Placed));
        assert_eq!(six[1].result, Ok(Outcome::Persistent(PersistMethod::TargetFlush)));
        assert_eq!(six[2].result, Ok(Outcome::Read(b"abc".to_vec())));
        assert_eq!(six[3].result, Err(Refusal::UnknownKey { key: 99 }));
        assert_eq!(six[4].result, Ok(Outcome::Placed));
        assert!(matches!(
            six[5].result,
            Err(Refusal::OutOfRange {
                offset: u64::MAX,
                len: 1,
                ..
            })
        ));
    }
}

/// Hostile ranges are refused with the reason and the range asked for; nothing is touched and the
/// connection goes on.
pub fn refusals_touch_nothing_and_the_connection_goes_on<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let limit = MEMORY_BYTES as u64;
    for len in [1, 9, 40_000, 400_000] {
        let bytes = vec![0xff; index(len)];
        for offset in [
            limit - len + 1,
            limit,
            limit + 1,
            u64::MAX - len + 1,
            u64::MAX - 1,
            u64::MAX,
        ] {
            let refusal = Refusal::OutOfRange { offset, len, limit };
            assert_eq!(write(&mut endpoint, KEY, offset, &bytes), Err(refusal.clone()));
            assert_eq!(persist(&mut endpoint, KEY, offset, len), Err(refusal.clone()));
            let asked = u32::try_from(len).expect("short");
            assert_eq!(read(&mut endpoint, KEY, offset, asked), Err(refusal));
        }
        assert_eq!(
            write(&mut endpoint, RemoteKey(1), 0, &bytes),
            Err(Refusal::UnknownKey { key: 1 })
        );
    }
    let whole = Refusal::OutOfRange {
        offset: 1,
        len: u64::MAX,
        limit,
    };
    assert_eq!(persist(&mut endpoint, KEY, 1, u64::MAX), Err(whole));
    assert_eq!(
        read(&mut endpoint, RemoteKey(u64::MAX), 0, 1),
        Err(Refusal::UnknownKey { key: u64::MAX })
    );
    assert_eq!(
        bench.placed(),
        vec![0; MEMORY_BYTES],
        "refused operations touch nothing"
    );
    assert_eq!(bench.target.memory().counts().persists, 0);
    assert_eq!(write(&mut endpoint, KEY, limit - 1, b"!"), Ok(Outcome::Placed));
    assert_eq!(bench.placed()[MEMORY_BYTES - 1], b'!');
}

/// A backup's rights: reads only.
pub fn readers_cannot_write<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::Read);
    assert_eq!(write(&mut endpoint, KEY, 0, b"x"), Err(Refusal::ReadOnly));
    assert_eq!(persist(&mut endpoint, KEY, 0, 1), Err(Refusal::ReadOnly));
    assert_eq!(read(&mut endpoint, KEY, 0, 2), Ok(Outcome::Read(vec![0, 0])));
    assert_eq!(bench.placed(), vec![0; 4096]);
}

/// A persist's completion means that every write posted before it in its range is persistent, also
/// when all of it was on its way at once.
pub fn a_persist_covers_what_was_posted_before_it<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    for round in 1..=20u8 {
        let bytes = vec![round; 50_000];
        endpoint
            .post_write(KEY, 0, &[IoSlice::new(&[round; 100])])
            .expect("posted");
        endpoint
            .post_write(KEY, 100, &[IoSlice::new(&[round; 28])])
            .expect("posted");
        endpoint
            .post_write(KEY, 9001, &[IoSlice::new(&bytes)])
            .expect("posted");
        let first = endpoint.post_persist(KEY, 0, 128).expect("posted");
        endpoint
            .post_write(KEY, 200_000, &[IoSlice::new(&[round])])
            .expect("posted");
        let second = endpoint.post_persist(KEY, 9001, 190_999 + 1).expect("posted");
        let completions = collect(&mut endpoint, 6);
        let persistent = bench.target.memory().persistent();
        assert_eq!((completions[3].op, completions[5].op), (first, second));
        for completion in [&completions[3], &completions[5]] {
            assert_eq!(
                completion.result,
                Ok(Outcome::Persistent(PersistMethod::TargetFlush))
            );
        }
        assert!(persistent[..128].iter().all(|byte| *byte == round));
        assert!(persistent[9001..59_001].iter().all(|byte| *byte == round));
        assert_eq!(persistent[200_000], round);
    }
}

/// A medium that fails refuses operations with that reason; reads and the connection go on.
pub fn a_failed_medium_refuses_and_says_so<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    assert_eq!(write(&mut endpoint, KEY, 0, b"before"), Ok(Outcome::Placed));
    bench.target.memory().fail();
    for offset in [0, 6, 12] {
        endpoint
            .post_write(KEY, offset, &[IoSlice::new(b"after!")])
            .expect("posted");
    }
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(&vec![1; 100_000])])
        .expect("posted");
    endpoint.post_persist(KEY, 0, 6).expect("posted");
    for completion in collect(&mut endpoint, 5) {
        assert!(
            matches!(completion.result, Err(Refusal::Media(_))),
            "{completion:?}"
        );
    }
    assert_eq!(
        read(&mut endpoint, KEY, 0, 6),
        Ok(Outcome::Read(b"before".to_vec()))
    );
}

/// The longest operation works in both directions, a longer one is refused and nothing is lost.
pub fn the_longest_operations_and_longer_ones<H: Harness>() {
    let bench = Bench::<H>::new(17 << 20);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let max = endpoint.max_op_bytes();
    let bytes = pattern(5, max as usize);
    assert_eq!(write(&mut endpoint, KEY, 3, &bytes), Ok(Outcome::Placed));
    let longer = vec![0; max as usize + 1];
    let first = endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"abc")])
        .expect("posted");
    let second = endpoint
        .post_write(KEY, 0, &[IoSlice::new(&longer)])
        .expect("posted");
    let third = endpoint.post_read(KEY, 0, max + 1).expect("posted");
    let fourth = endpoint.post_read(KEY, 3, max).expect("posted");
    let completions = collect(&mut endpoint, 4);
    let ops: Vec<OpId> = completions.iter().map(|completion| completion.op).collect();
    assert_eq!(ops, [first, second, third, fourth]);
    assert_eq!(completions[0].result, Ok(Outcome::Placed));
    for refused in &completions[1..3] {
        assert!(matches!(&refused.result, Err(Refusal::Limit { limit, .. }) if *limit == u64::from(max)));
    }
    assert!(
        completions[3].result == Ok(Outcome::Read(bytes)),
        "the longest read returns what was written"
    );
}

/// The parts of a gathered write are one range.
pub fn parts_are_placed_side_by_side<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    for (offset, lengths) in [
        (10, [3, 0, 5]),
        (1000, [64, 100_000, 1]),
        (300_000, [20_000, 20_000, 20_000]),
    ] {
        let whole = pattern(offset, lengths.iter().sum());
        let (first, rest) = whole.split_at(lengths[0]);
        let (second, third) = rest.split_at(lengths[1]);
        let parts = [first, second, third].map(IoSlice::new);
        let op = endpoint.post_write(KEY, offset, &parts).expect("posted");
        assert_eq!(only(&mut endpoint, op), Ok(Outcome::Placed));
        assert_eq!(bench.placed()[index(offset)..index(offset) + whole.len()], whole);
    }
}

/// Posting more than the window holds waits for room and loses nothing, though nobody polls.
pub fn more_operations_than_the_window_holds<H: Harness>() {
    const OPS: u64 = 20_000;
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let mut last = OpId(0);
    for number in 0..OPS {
        let op = endpoint.post_write(KEY, number * 8, &[IoSlice::new(&number.to_le_bytes())]);
        let op = op.expect("posted");
        assert!(op > last);
        last = op;
    }
    let completions = collect(&mut endpoint, index(OPS));
    assert!(
        completions
            .iter()
            .all(|completion| completion.result == Ok(Outcome::Placed))
    );
    assert!(completions.is_sorted_by_key(|completion| completion.op));
    let placed = bench.placed();
    for (number, bytes) in (0..OPS).zip(placed.chunks(8)) {
        assert_eq!(bytes, number.to_le_bytes());
    }
}

/// On one connection a read posted after a write returns that write's bytes.
pub fn a_read_sees_the_writes_before_it<H: Harness>() {
    let bench = Bench::<H>::new(MEMORY_BYTES);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    for round in 0..200u64 {
        endpoint
            .post_write(KEY, 13, &[IoSlice::new(&round.to_le_bytes())])
            .expect("posted");
        endpoint.post_read(KEY, 13, 8).expect("posted");
    }
    let completions = collect(&mut endpoint, 400);
    for (round, pair) in (0..200u64).zip(completions.chunks(2)) {
        assert_eq!(pair[1].result, Ok(Outcome::Read(round.to_le_bytes().to_vec())));
    }
}

/// One connection's refusals and end do not touch another's work.
pub fn connections_share_memory_and_nothing_else<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut writer = bench.connect(Rights::ReadWrite);
    let mut reader = bench.connect(Rights::Read);
    assert_eq!(write(&mut writer, KEY, 5, b"shared"), Ok(Outcome::Placed));
    assert_eq!(
        read(&mut reader, KEY, 5, 6),
        Ok(Outcome::Read(b"shared".to_vec()))
    );
    assert_eq!(write(&mut reader, KEY, 5, b"SHARED"), Err(Refusal::ReadOnly));
    bench.target.connections()[0].stop(Refusal::Fenced { generation: 2 });
    assert!(bench.target.connections()[0].await_stopped(PATIENCE));
    assert_eq!(
        read(&mut reader, KEY, 5, 6),
        Ok(Outcome::Read(b"shared".to_vec()))
    );
}

/// P3: once a stop is confirmed, not one byte lands, though the initiator hammers on; it learns why.
pub fn nothing_lands_after_a_confirmed_stop<H: Harness>()
where
    H::Endpoint: Send,
{
    for round in 0..10 {
        let bench = Bench::<H>::new(MEMORY_BYTES);
        let mut endpoint = bench.connect(Rights::ReadWrite);
        let hammer = thread::spawn(move || hammer(&mut endpoint));
        while bench.target.memory().counts().writes < 20 + round * 7 {
            thread::yield_now();
        }
        let connection = bench.target.newest();
        let reason = Refusal::Fenced { generation: 2 };
        connection.stop(reason.clone());
        assert!(connection.await_stopped(PATIENCE), "the stop is confirmed");
        let confirmed = bench.placed();
        let error = hammer.join().expect("hammering does not panic");
        assert!(
            matches!(&error, FabricError::Stopped(told) if *told == reason),
            "the initiator learns why: {error:?}"
        );
        assert!(
            bench.placed() == confirmed,
            "not one byte lands after the stop is confirmed"
        );
        let reason = bench.target.await_closed(connection.id(), Duration::ZERO);
        assert!(matches!(reason, None | Some(CloseReason::Stopped(_))));
    }
}

/// Writes, small and large, each time other bytes, until the connection ends.
fn hammer(endpoint: &mut impl Endpoint) -> FabricError {
    let mut completions = Vec::new();
    let bytes = pattern(11, 150_256);
    for round in 0.. {
        let shifted = &bytes[index(round % 256)..];
        let step = (|| {
            for offset in [0, 200, 400, 5000] {
                endpoint.post_write(KEY, offset, &[IoSlice::new(&shifted[..200])])?;
            }
            let offset = 10_000 + (round % 5) * 150_000;
            endpoint.post_write(KEY, offset, &[IoSlice::new(&shifted[..150_000])])?;
            completions.clear();
            endpoint.poll(&mut completions)
        })();
        if let Err(error) = step {
            return error;
        }
    }
    unreachable!("the rounds do not end")
}

/// A connection with nothing in flight learns of its stop too.
pub fn an_idle_connection_learns_that_it_was_stopped<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let connection = bench.target.newest();
    connection.stop(Refusal::Fenced { generation: 9 });
    connection.stop(Refusal::ShuttingDown);
    assert!(connection.await_stopped(PATIENCE));
    let error = endpoint
        .wait(&mut Vec::new(), PATIENCE)
        .expect_err("it was stopped");
    assert!(
        matches!(error, FabricError::Stopped(Refusal::Fenced { generation: 9 })),
        "{error:?}"
    );
    let again = endpoint.post_read(KEY, 0, 1).expect_err("it stays stopped");
    assert!(matches!(again, FabricError::Stopped(_)), "{again:?}");
}

/// The target is told when an initiator closes, at once.
pub fn the_target_learns_that_a_connection_closed<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    assert_eq!(write(&mut endpoint, KEY, 0, b"x"), Ok(Outcome::Placed));
    let connection = bench.target.newest();
    drop(endpoint);
    assert!(connection.await_stopped(PATIENCE));
    let reason = bench.target.await_closed(connection.id(), PATIENCE);
    assert_eq!(reason, Some(CloseReason::Closed));
}

/// A target that goes away is an error, not a hang; what had completed is delivered before it.
pub fn a_target_that_is_gone_is_an_error<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    assert_eq!(write(&mut endpoint, KEY, 0, b"x"), Ok(Outcome::Placed));
    bench.harness.shut_down();
    let mut completions = Vec::new();
    let error = endpoint
        .wait(&mut completions, PATIENCE)
        .expect_err("the target is gone");
    assert!(
        matches!(error, FabricError::Stopped(Refusal::ShuttingDown)),
        "{error:?}"
    );
    assert!(completions.is_empty());
}

/// Nothing outstanding, nothing arriving: 0 after the timeout, and the endpoint still works.
pub fn a_wait_for_nothing_ends_with_its_timeout<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let mut endpoint = bench.connect(Rights::ReadWrite);
    let mut completions = Vec::new();
    for timeout_ms in [0, 1, 20] {
        let arrived = endpoint.wait(&mut completions, Duration::from_millis(timeout_ms));
        assert_eq!(arrived.expect("the connection lives"), 0);
    }
    assert_eq!(endpoint.poll(&mut completions).expect("the connection lives"), 0);
    assert_eq!(write(&mut endpoint, KEY, 0, b"x"), Ok(Outcome::Placed));
}

/// What the target told at admission arrives whole.
pub fn the_session_tells_what_may_be_used<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let endpoint = bench.connect(Rights::Read);
    let session = endpoint.session();
    assert_eq!(session.incarnation, 1);
    assert_eq!(session.persist, Some(PersistMethod::TargetFlush));
    let [info] = session.access.as_slice() else {
        panic!("one range is exposed: {session:?}");
    };
    assert_eq!((info.key, info.len, info.rights), (KEY, 4096, Rights::Read));
}
