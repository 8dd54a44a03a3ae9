//! The demonstration: real processes, real kills, nothing lost, nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::Process;

fn demo(folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlive"));
    command
        .arg("demo")
        .args(arguments)
        .env("TMPDIR", folder)
        .env_remove("RUST_LOG");
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped());
    command
}

#[test]
fn nothing_is_lost_and_nothing_done_twice() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--kills", "2", "--seconds", "3", "--json"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&report["lost"], &report["duplicated"]), (&0.into(), &0.into()));
    assert_eq!(report["acknowledged"], report["recovered"]);
    assert!(report["acknowledged"].as_u64().unwrap() > 0);
    let takeovers = report["takeovers"].as_array().unwrap();
    assert_eq!(takeovers.len(), 2);
    for takeover in takeovers {
        let figure = |name: &str| {
            takeover[name]
                .as_u64()
                .unwrap_or_else(|| panic!("{name} in {takeover}"))
        };
        let sum: u64 = ["detect_us", "fence_us", "read_us", "resume_us"]
            .map(figure)
            .iter()
            .sum();
        assert_eq!(figure("total_us"), sum);
        assert!(figure("fence_us") > 0);
        figure("unread_sets");
        figure("unread_bytes");
    }
    assert!(said.contains("kill 2 of 2"), "progress is visible: {said}");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "no file stays behind"
    );
}

#[test]
fn what_is_to_be_kept_is_kept_and_can_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(
        folder.path(),
        &["--kills", "1", "--seconds", "1", "--json", "--keep"],
    )
    .output()
    .unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let medium = std::path::Path::new(report["folder"].as_str().unwrap()).join("unit.media");
    assert!(medium.starts_with(folder.path()));
    let check = Command::new(env!("CARGO_BIN_EXE_outlive"))
        .arg("fsck")
        .arg(&medium)
        .output()
        .unwrap();
    assert_eq!(
        check.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
}

#[test]
fn ctrl_c_leaves_no_process_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut play = Process::start(demo(folder.path(), &["--kills", "1", "--seconds", "600"]));
    let members = await_members(play.id());
    play.signal(Signal::INT);
    assert_eq!(play.wait(), 130);
    await_gone(&members);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn members_die_with_a_demo_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let play = Process::start(demo(folder.path(), &["--kills", "1", "--seconds", "600"]));
    let members = await_members(play.id());
    play.kill();
    await_gone(&members);
}

/// The process ids of both members, once they run.
fn await_members(demo: u32) -> BTreeSet<u32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let members = children(demo);
        if members.len() == 2 {
            return members;
        }
        assert!(Instant::now() < deadline, "the members never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn await_gone(processes: &BTreeSet<u32>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while processes.iter().any(|process| is_alive(*process)) {
        assert!(Instant::now() < deadline, "a member stays behind");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(process: u32) -> bool {
    stat(process).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

fn children(parent: u32) -> BTreeSet<u32> {
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes
        .filter(|process| stat(*process).is_some_and(|(_, of)| of == parent))
        .collect()
}

/// State and parent of a process.
fn stat(process: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold blanks.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
