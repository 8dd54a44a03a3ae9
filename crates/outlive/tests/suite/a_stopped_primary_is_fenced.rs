//! P3: a primary stopped (SIGSTOP) in the middle of large writes for the whole takeover, and woken up while it hammers,
//! changes not one byte, and learns that it is fenced.

use std::thread;
use std::time::Duration;

use outlive::{Error, OpenOptions, RegionSpec, TakeoverOptions};

use crate::support::child;
use crate::support::{Server, whole_region};

#[test]
fn not_one_byte_lands_after_it_wakes_up() {
    let server = Server::in_memory("64MiB");
    let session = server.session();
    let spec = RegionSpec::checkpoint(16 << 20).max_snapshot(4 << 20);
    session.create("r", &spec).expect("created");
    let mut hammer = child::start("a_stopped_primary_is_fenced::hammering_process", &server, "r");
    let mut backup = session.backup("r").expect("opened");
    for round in 0..3u64 {
        // Somewhere in the middle of its writes, another place each time.
        thread::sleep(Duration::from_millis(31 + 17 * round));
        hammer.stop();
        thread::sleep(Duration::from_millis(10));
        if round < 2 {
            hammer.go_on();
        }
    }
    let mut options = TakeoverOptions::default();
    // Then whatever changes the region is the old primary's.
    options.open.heartbeat = Duration::ZERO;
    let taken = backup.takeover(&options).expect("taken over");
    let before = whole_region(&session, "r");
    hammer.go_on();
    hammer.await_line("the hammer is fenced");
    assert!(
        before == whole_region(&session, "r"),
        "a byte of the region changed"
    );
    let receipt = taken
        .primary
        .append(b"by the new one")
        .expect("appended")
        .wait()
        .expect("committed");
    assert_eq!(receipt.generation, 2);
    session.backup("r").expect("opened").read_all().expect("whole");
}

/// Not a test by itself: the process that the test above stops.
#[test]
fn hammering_process() {
    child::run(|session, region| {
        let primary = session.primary(region, &OpenOptions::default()).expect("opened");
        thread::spawn(move || {
            let error = loop {
                let done = primary
                    .append(vec![7; 1 << 20])
                    .map(drop)
                    .or_else(|error| match error {
                        Error::JournalFull { .. } => primary.save(vec![8; 3 << 20])?.wait().map(drop),
                        error => Err(error),
                    });
                if let Err(error) = done {
                    break error;
                }
            };
            assert!(error.is_fenced(), "{error}");
            for _ in 0..100 {
                assert!(
                    primary
                        .append(vec![9; 1 << 20])
                        .is_err_and(|error| error.is_fenced())
                );
            }
            println!("\nthe hammer is fenced");
        })
    });
}
