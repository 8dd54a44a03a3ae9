//! Memory.

use crate::ends_well;
use crate::support::{World, noise};

/// A set that does not fit into a process is an error of that process: it is not ended in the middle, and nothing else is.
#[test]
fn a_set_larger_than_memory_is_refused() {
    let world = World::with_media("192MiB");
    let mut serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "64MiB"]);
    let state = noise(1, 16 << 20);
    std::fs::write(world.path("state"), &state).unwrap();
    let path = world.path("state");
    let path = path.to_str().unwrap();
    world.ok(&["save", "orders", path]);
    let mut refused = 0;
    // As much address space as a process needs to get that far, and then less and less room for the set.
    for kib in [360_000, 180_000, 150_000, 130_000, 115_000] {
        let limit = format!("-v {kib}");
        let arguments = ["--retry-for", "500ms", "load", "orders"];
        let mut command = world.limited(&limit, &arguments);
        let outcome = ends_well(
            command.env("MALLOC_ARENA_MAX", "1").env("RUST_BACKTRACE", "0"),
            &[0, 1, 10],
        );
        if outcome.code == 0 {
            assert!(outcome.stdout == state, "{kib} KiB");
        } else {
            refused += 1;
            assert!(
                outcome.stdout.is_empty(),
                "nothing of a set that was not read whole"
            );
        }
    }
    println!("{refused} of 5 were refused");
    assert!(!serve.process.has_ended());
    assert!(world.ok(&["load", "orders"]) == state);
}

/// Input that grows without end stops at what the region takes, not at what memory does.
#[test]
fn endless_input_is_refused_at_what_the_region_takes() {
    let world = World::new();
    let _serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.fails(&["save", "orders", "/dev/zero"], 5, "/dev/zero holds more than");
    world.fails(&["append", "orders", "/dev/zero"], 5, "/dev/zero holds more than");
    world.fails(&["append", "orders", "/dev/zero", "--lines"], 5, "");
}
