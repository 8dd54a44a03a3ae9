//! What only the simulator can do: faults at chosen moments, and the same run again.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use outlive_fabric::sim::{Network, SimAddress, SimEndpoint, SimOptions};
use outlive_fabric::testing::{KEY, Memory, TestTarget};
use outlive_fabric::{CloseReason, Completion, Endpoint, FabricError, Outcome, Refusal, Rights};

struct Bench {
    network: Network,
    address: SimAddress,
    target: Arc<TestTarget>,
}

impl Bench {
    fn new(options: SimOptions) -> Self {
        let target = TestTarget::new(Memory::new(64 << 10, false));
        let network = Network::new(options);
        let admission: Arc<dyn outlive_fabric::Admission> = Arc::<TestTarget>::clone(&target);
        let address = network.serve(admission);
        Self {
            network,
            address,
            target,
        }
    }

    fn connect(&self) -> SimEndpoint {
        let ticket = self.target.issue(Rights::ReadWrite);
        self.network
            .connect(self.address, &ticket)
            .expect("a valid ticket lets in")
    }
}

fn seeded(seed: u64) -> SimOptions {
    SimOptions {
        seed,
        piece_bytes: 256,
        ..SimOptions::default()
    }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_lost_connection_leaves_a_prefix_at_an_eight_byte_border() {
    let mut seen = Vec::new();
    for seed in 0..200 {
        let bench = Bench::new(seeded(seed));
        let mut endpoint = bench.connect();
        bench.network.lose_after(endpoint.connection(), seed * 19);
        endpoint
            .post_write(KEY, 3, &[IoSlice::new(&[0xee; 4000])])
            .expect("posted");
        let error = endpoint.wait(&mut Vec::new(), LONG).expect_err("it is lost");
        assert!(matches!(error, FabricError::Lost(_)), "{error:?}");
        let placed = bench.target.memory().placed();
        let end = 3 + placed[3..].iter().take_while(|byte| **byte == 0xee).count();
        assert!(
            placed[end..].iter().all(|byte| *byte == 0),
            "seed {seed}: only a prefix is placed"
        );
        assert!(end == 3 || end % 8 == 0, "seed {seed}: it ends at {end}");
        assert!(end < 4003, "seed {seed}: not the whole of it");
        assert!(
            end as u64 <= 3 + seed * 19 + 8,
            "seed {seed}: no more than was said"
        );
        seen.push(end);
        let reason = bench.target.await_closed(endpoint.connection(), Duration::ZERO);
        assert!(matches!(reason, Some(CloseReason::Broken(_))), "{reason:?}");
    }
    seen.dedup();
    assert!(seen.len() > 50, "the border moves with the fault");
}

#[test]
fn a_stop_can_fall_into_the_middle_of_a_write() {
    let mut torn = 0;
    for seed in 0..100 {
        let bench = Bench::new(seeded(seed));
        let mut endpoint = bench.connect();
        endpoint
            .post_write(KEY, 0, &[IoSlice::new(&[0xee; 4000])])
            .expect("posted");
        bench.network.advance(Duration::from_nanos(15_000 + seed * 100));
        let connection = bench.target.newest();
        connection.stop(Refusal::Fenced { generation: 2 });
        assert!(connection.await_stopped(Duration::ZERO));
        let confirmed = bench.target.memory().placed();
        let placed = confirmed.iter().filter(|byte| **byte == 0xee).count();
        torn += usize::from(placed > 0 && placed < 4000);
        let mut completions = Vec::new();
        let ended = loop {
            if let Err(error) = endpoint.wait(&mut completions, LONG) {
                break error;
            }
        };
        assert!(
            matches!(ended, FabricError::Stopped(Refusal::Fenced { generation: 2 })),
            "{ended:?}"
        );
        bench.network.advance(LONG);
        assert!(bench.target.memory().placed() == confirmed);
    }
    assert!(torn > 10, "only {torn} of 100 stops fell into the write");
}

#[test]
fn a_partition_is_silent_until_the_time_out() {
    let bench = Bench::new(SimOptions {
        op_timeout: Duration::from_secs(3),
        ..seeded(4)
    });
    let mut endpoint = bench.connect();
    bench.network.partition(endpoint.connection());
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"never")])
        .expect("posted");
    let mut completions = Vec::new();
    assert_eq!(
        endpoint
            .wait(&mut completions, Duration::from_secs(2))
            .expect("not yet"),
        0
    );
    let error = endpoint.wait(&mut completions, LONG).expect_err("it gives up");
    assert!(matches!(error, FabricError::TimedOut { ms: 3000 }), "{error:?}");
    assert_eq!(bench.network.now().as_secs(), 3);
    assert_eq!(bench.target.memory().placed()[..5], [0; 5]);
}

#[test]
fn a_fence_holds_behind_a_partition_too() {
    let bench = Bench::new(seeded(5));
    let mut endpoint = bench.connect();
    bench.network.partition(endpoint.connection());
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"late")])
        .expect("posted");
    bench.target.newest().stop(Refusal::Fenced { generation: 2 });
    assert!(bench.target.newest().await_stopped(Duration::ZERO));
    bench.network.heal(endpoint.connection());
    let error = endpoint.wait(&mut Vec::new(), LONG).expect_err("it was stopped");
    assert!(
        matches!(error, FabricError::Stopped(Refusal::Fenced { generation: 2 })),
        "{error:?}"
    );
    assert_eq!(bench.target.memory().placed()[..4], [0; 4]);
}

#[test]
fn a_healed_partition_delivers_what_was_held_up() {
    let bench = Bench::new(seeded(6));
    let mut endpoint = bench.connect();
    bench.network.partition(endpoint.connection());
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"held")])
        .expect("posted");
    bench.network.advance(Duration::from_secs(1));
    bench.network.heal(endpoint.connection());
    let mut completions = Vec::new();
    assert_eq!(endpoint.wait(&mut completions, LONG).expect("alive"), 1);
    assert_eq!(completions[0].result, Ok(Outcome::Placed));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let bench = Bench::new(seeded(seed));
        let mut writers = [bench.connect(), bench.connect(), bench.connect()];
        let mut trace: Vec<(Duration, usize, Vec<Completion>)> = Vec::new();
        for round in 0..30u8 {
            for (number, writer) in writers.iter_mut().enumerate() {
                writer
                    .post_write(KEY, 5, &[IoSlice::new(&[round * 3; 900])])
                    .expect("posted");
                writer.post_read(KEY, 0, 1000).expect("posted");
                let mut completions = Vec::new();
                writer
                    .wait(&mut completions, Duration::from_micros(7))
                    .expect("alive");
                trace.push((bench.network.now(), number, completions));
            }
        }
        trace
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
