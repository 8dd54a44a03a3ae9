//! Campaigns of the simulated whole system: `--help` says how, `docs/testing.md` what it proves.

use std::process::ExitCode;

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
fn main() -> ExitCode {
    eprintln!("error: the simulation needs Linux with glibc on x86_64 or aarch64");
    ExitCode::from(2)
}

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn main() -> ExitCode {
    outlive_simulation::campaign::main(&outlive_simulation::world::World)
}
