//! What only the simulated fabric in real time can do.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outlive_fabric::sim::{Network, SimEndpoint, SimOptions, Stray, Way};
use outlive_fabric::testing::{KEY, Memory, TestTarget};
use outlive_fabric::{Endpoint, FabricError, Refusal, Rights};

/// Bounds every wait; only a failing one takes as long.
const LONG: Duration = Duration::from_secs(30);

fn bench(options: SimOptions) -> (Network, Arc<TestTarget>, SimEndpoint) {
    let target = TestTarget::new(Memory::new(64 << 10, false));
    let network = Network::in_real_time(options);
    let address = network.serve(Arc::<TestTarget>::clone(&target));
    let endpoint = network.connect(address, &target.issue(Rights::ReadWrite));
    (network, target, endpoint.expect("a valid ticket lets in"))
}

#[test]
fn an_answer_takes_as_long_as_its_messages_travel() {
    let travel = Duration::from_millis(3);
    let (_, _, mut endpoint) = bench(SimOptions {
        latency: travel..=travel,
        ..SimOptions::default()
    });
    let began = Instant::now();
    endpoint.post_read(KEY, 0, 8).expect("posted");
    assert_eq!(endpoint.wait(&mut Vec::new(), LONG).expect("an answer"), 1);
    assert!(began.elapsed() >= 2 * travel);
}

#[test]
fn what_nobody_waits_for_lands_all_the_same() {
    let (network, target, mut endpoint) = bench(SimOptions::default());
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"landed")])
        .expect("posted");
    let began = Instant::now();
    while target.memory().placed()[..6] != *b"landed" {
        assert!(began.elapsed() < LONG);
        network.catch_up();
    }
}

#[test]
fn a_stop_wakes_who_waits() {
    let far = Duration::from_secs(3600);
    let (network, target, mut endpoint) = bench(SimOptions {
        stray: None,
        op_timeout: far,
        ..SimOptions::default()
    });
    network.hold(endpoint.connection(), Way::ToTarget);
    endpoint.post_read(KEY, 0, 8).expect("posted");
    let connection = target.newest();
    let waiting = std::thread::spawn(move || endpoint.wait(&mut Vec::new(), LONG));
    connection.stop(Refusal::Fenced { generation: 2 });
    let error = waiting.join().expect("no panic").expect_err("it is stopped");
    assert!(
        matches!(error, FabricError::Stopped(Refusal::Fenced { generation: 2 })),
        "{error:?}"
    );
}

#[test]
fn held_answers_leave_what_was_asked_done() {
    let (network, target, mut endpoint) = bench(SimOptions {
        stray: Some(Stray {
            one_in: 2,
            latency: Duration::from_micros(100)..=Duration::from_micros(300),
        }),
        op_timeout: Duration::from_millis(30),
        ..SimOptions::default()
    });
    network.hold(endpoint.connection(), Way::ToInitiator);
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"done")])
        .expect("posted");
    let error = endpoint.wait(&mut Vec::new(), LONG).expect_err("nobody answers");
    assert!(matches!(error, FabricError::TimedOut { ms: 30 }), "{error:?}");
    assert_eq!(target.memory().placed()[..4], *b"done");
}

#[test]
fn who_is_gone_leaves_a_part_of_what_it_sent() {
    let (network, target, mut endpoint) = bench(SimOptions::default());
    for at in 0..4 {
        endpoint
            .post_write(KEY, at * 8, &[IoSlice::new(&[0xee; 8])])
            .expect("posted");
    }
    let connection = endpoint.connection();
    network.abandon(connection);
    let began = Instant::now();
    // What is on its way arrives first.
    while target.await_closed(connection, Duration::ZERO).is_none() {
        assert!(began.elapsed() < LONG);
        network.catch_up();
    }
    let placed = target.memory().placed();
    let sent = placed[..32].iter().take_while(|byte| **byte == 0xee).count();
    assert!(sent % 8 == 0 && placed[sent..].iter().all(|byte| *byte == 0));
}
