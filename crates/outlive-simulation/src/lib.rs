//! The whole of Outlive in one seeded process: the code that is shipped, on a machine that decides everything that is
//! left to chance. `docs/testing.md` says what it proves and what it cannot. Nothing in the product depends on this crate.
//!
//! It needs Linux with glibc on x86_64 or aarch64 ([`SUPPORTED`]); elsewhere it is empty.

/// Whether the machine exists here.
pub const SUPPORTED: bool = cfg!(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
));

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub mod campaign;
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub mod machine;
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub mod world;
