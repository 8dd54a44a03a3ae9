//! One target of `outlive-fuzz` under libFuzzer: which one, `OUTLIVE_FUZZ_TARGET` says. `cargo xtask fuzz` starts it.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use outlive_fuzz::{Target, harness, target};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("OUTLIVE_FUZZ_TARGET").expect("OUTLIVE_FUZZ_TARGET names a target");
        let target = target(&name).expect("OUTLIVE_FUZZ_TARGET names a target of outlive-fuzz");
        harness::prepare(target).expect("this binary counts what it allocates");
        let _ = TARGET.set(target);
    },
    |input: &[u8]| {
        let target = TARGET.get().expect("set before the first input");
        if let Err(excess) = harness::run(target, input) {
            panic!("{excess}");
        }
    }
);
