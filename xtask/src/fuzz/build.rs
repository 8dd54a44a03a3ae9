//! Builds libFuzzer's binary of all targets.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::step::{Failure, captured, cargo, describe, root};

/// Coverage and compared values, as libFuzzer reads them, by the compiler that every toolchain has. Optimised as what users
/// run; `fuzz/Cargo.toml` keeps debug assertions and overflow checks on.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

/// What is missing here to fuzz, and what to do about it.
pub(super) fn missing() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("libFuzzer is run on Linux only".to_owned());
    }
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let mut probe = Command::new(&compiler);
    probe
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let found = probe.status().is_ok_and(|status| status.success());
    (!found).then(|| {
        format!(
            "libFuzzer needs a C++ compiler, and `{compiler}` does not run: install g++ or clang, or name one in CXX. \
             `cargo test -p outlive-fuzz` replays the corpus without it"
        )
    })
}

/// Builds it, and says where it is.
pub(super) fn binary() -> Result<PathBuf, Failure> {
    let host = host()?;
    let manifest = root().join("fuzz/Cargo.toml").display().to_string();
    let folder = target_folder();
    // Without --locked: its lock file follows the workspace's crates, which know nothing of it.
    let mut build = cargo(&[
        "build",
        "--release",
        "--manifest-path",
        &manifest,
        "--target",
        &host,
    ]);
    // A named target keeps the instrumentation out of build scripts.
    build
        .env("RUSTFLAGS", INSTRUMENTATION)
        .env("CARGO_TARGET_DIR", &folder);
    // Standard output may be somebody's JSON.
    build.stdout(std::io::stderr());
    let name = describe(&build);
    eprintln!("$ {name}");
    match build.status() {
        Ok(status) if status.success() => {}
        Ok(status) => {
            return Err(Failure::Command {
                command: name,
                status,
            });
        }
        Err(source) => {
            return Err(Failure::Start {
                command: name,
                source,
            });
        }
    }
    Ok(folder.join(host).join("release/outlive-libfuzzer"))
}

/// Apart from the workspace's own: it is built with other options.
pub(super) fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder).join("fuzz"),
        None => root().join("target/fuzz"),
    }
}

fn host() -> Result<String, Failure> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let version = captured(rustc.arg("-vV").current_dir(root()))?;
    let version = String::from_utf8_lossy(&version).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Failure::check("rustc -vV", "it does not name its host"))?;
    Ok(host.to_owned())
}
