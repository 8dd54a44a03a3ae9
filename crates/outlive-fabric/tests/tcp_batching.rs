//! What makes the TCP provider quick: little is done singly, and nothing while nobody asks.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outlive_fabric::tcp::{ConnectOptions, Limits, Listener, TcpEndpoint, connect};
use outlive_fabric::testing::{KEY, Memory, TestTarget};
use outlive_fabric::{Admission, Completion, Endpoint, Rights};

const PATIENCE: Duration = Duration::from_secs(30);

fn bench(direct: bool) -> (Arc<TestTarget>, Listener, TcpEndpoint) {
    let target = TestTarget::new(Memory::new(4 << 20, direct));
    let admission: Arc<dyn Admission> = Arc::<TestTarget>::clone(&target);
    let listener = Listener::bind("127.0.0.1:0", admission, Limits::default()).expect("loopback");
    let address = listener.local_addr().to_string();
    let endpoint = connect(
        &address,
        &target.issue(Rights::ReadWrite),
        &ConnectOptions::default(),
    );
    (target, listener, endpoint.expect("let in"))
}

fn collect(endpoint: &mut TcpEndpoint, count: usize) -> Vec<Completion> {
    let mut completions = Vec::new();
    while completions.len() < count {
        assert!(endpoint.wait(&mut completions, PATIENCE).expect("alive") > 0);
    }
    assert!(completions.iter().all(|completion| completion.result.is_ok()));
    completions
}

#[test]
fn appends_sent_together_are_placed_together_and_share_a_flush() {
    let (target, _listener, mut endpoint) = bench(true);
    for number in 0..500u64 {
        endpoint
            .post_write(KEY, number * 100, &[IoSlice::new(&[1; 100])])
            .expect("posted");
        endpoint.post_persist(KEY, number * 100, 100).expect("posted");
    }
    collect(&mut endpoint, 1000);
    let counts = target.memory().counts();
    assert!(
        counts.writes < 100,
        "500 writes side by side took {} calls",
        counts.writes
    );
    assert!(
        counts.persists < 100,
        "500 persists took {} flushes",
        counts.persists
    );
    assert_eq!(target.memory().persistent()[..50_000], [1; 50_000]);
}

#[test]
fn a_large_payload_goes_straight_into_memory() {
    for direct in [true, false] {
        let (target, _listener, mut endpoint) = bench(direct);
        let bytes: Vec<u8> = (0..3_000_000u32)
            .flat_map(|word| word.to_le_bytes())
            .take(3_000_000)
            .collect();
        endpoint
            .post_write(KEY, 77, &[IoSlice::new(&bytes)])
            .expect("posted");
        collect(&mut endpoint, 1);
        assert!(target.memory().placed()[77..3_000_077] == bytes);
        assert_eq!(target.memory().counts().receives > 0, direct);
    }
}

#[test]
fn an_idle_connection_costs_no_processor() {
    let (_target, _listener, mut endpoint) = bench(true);
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"activity")])
        .expect("posted");
    collect(&mut endpoint, 1);
    let mut completions = Vec::new();
    // The first wait may still spin for a moment.
    endpoint
        .wait(&mut completions, Duration::from_millis(10))
        .expect("alive");
    let before = serving_ticks();
    let begun = Instant::now();
    endpoint
        .wait(&mut completions, Duration::from_millis(1500))
        .expect("alive");
    let idle = begun.elapsed();
    let used = serving_ticks() - before;
    // A tick is 10 ms: a spinning thread would use all of them.
    assert!(used <= 2, "{used} ticks used in {idle:?} of idleness");
}

/// Processor time, in ticks, of this process's threads that serve connections of this test.
fn serving_ticks() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux tells");
    let of = |path: std::path::PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        let (name, fields) = stat.rsplit_once(')').unwrap_or_default();
        if !name.contains("an_idle_connect") && !name.contains("outlive-data") {
            return 0;
        }
        let ticks = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok());
        ticks.sum()
    };
    threads
        .filter_map(Result::ok)
        .map(|thread| of(thread.path()))
        .sum()
}

#[test]
fn both_sides_sending_at_once_do_not_wait_for_each_other() {
    let (_target, _listener, mut endpoint) = bench(true);
    let payload = vec![7; 1 << 20];
    for _ in 0..24 {
        endpoint.post_read(KEY, 0, 4 << 20).expect("posted");
        endpoint
            .post_write(KEY, 0, &[IoSlice::new(&payload)])
            .expect("posted");
    }
    collect(&mut endpoint, 48);
}
