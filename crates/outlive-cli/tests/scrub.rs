//! `outlive scrub` and `serve --scrub-every` beside a unit that serves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::{Process, Serve, World, find, flip, noise};

/// Nothing here takes this long; whatever does hangs.
const HANGS: Duration = Duration::from_secs(60);

fn filled() -> (World, Serve) {
    filled_by(&[])
}

fn filled_by(more: &[&str]) -> (World, Serve) {
    let world = World::new();
    let serve = world.serve_at("127.0.0.1:0", more);
    world.ok(&["region", "create", "orders", "--size", "4MiB"]);
    world.ok(&["region", "create", "other", "--size", "1MiB"]);
    world.ok(&["region", "create", "raw", "--size", "1MiB", "--raw"]);
    world.ok_with_input(&["save", "orders"], &noise(1, 300_000));
    world.ok_with_input(
        &["append", "orders", "--lines"],
        b"first update\nsecond update\nthird update\n",
    );
    world.ok_with_input(&["save", "other"], b"other");
    (world, serve)
}

/// The reports of a scrub that ended with this code: of each region by name, and the last line.
fn scrub(world: &World, arguments: &[&str], code: i32) -> (Vec<Value>, Value) {
    let arguments = [&["scrub", "--json", "--rate", "1GiB"], arguments].concat();
    let outcome = world.run(&arguments);
    assert_eq!(outcome.code, code, "{} {}", outcome.text(), outcome.stderr);
    let mut lines: Vec<Value> = outcome
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = lines.pop().unwrap();
    assert_eq!(last["event"], "scrubbed");
    (lines, last)
}

fn of<'a>(reports: &'a [Value], region: &str) -> &'a Value {
    reports.iter().find(|report| report["region"] == region).unwrap()
}

#[test]
fn a_live_unit_is_verified_and_damage_is_named_while_primaries_go_on() {
    let (world, serve) = filled();
    let (reports, last) = scrub(&world, &[], 0);
    assert_eq!(
        (last["problems"].as_u64(), last["regions"].as_u64()),
        (Some(0), Some(3)),
        "{last}"
    );
    assert!(of(&reports, "catalog")["sets"].as_u64().unwrap() > 3);
    let sets = of(&reports, "orders")["sets"].as_u64().unwrap();
    assert_eq!(sets, world.json(&["log", "orders"]).len() as u64, "{reports:?}");

    flip(&world.medium(), find(&world.medium(), b"second update"));
    let (reports, last) = scrub(&world, &[], 13);
    assert_eq!(last["problems"], 1);
    let findings = of(&reports, "orders")["findings"].as_array().unwrap();
    let sets = world.run(&["log", "orders", "--json"]);
    let corrupt = sets
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|set| set["finding"] != "verified")
        .unwrap();
    assert_eq!(findings[0]["set"]["kind"], "update");
    assert_eq!(findings[0]["set"]["sequence"], corrupt["sequence"]);
    assert!(findings[0]["set"]["generation"].as_u64().unwrap() > 0 && findings[0]["offset"].is_u64());
    assert!(
        of(&reports, "orders")["newest_good_snapshot"]["sequence"].is_u64(),
        "{reports:?}"
    );
    assert_eq!(of(&reports, "other")["findings"].as_array().unwrap().len(), 0);
    // By name only that one is read; people get it in words.
    let said = world.run(&["scrub", "orders"]);
    assert_eq!(said.code, 13);
    assert!(
        said.text()
            .contains("problem: orders: corrupt set behind sequence"),
        "{}",
        said.text()
    );
    assert!(said.text().contains("newest good snapshot"), "{}", said.text());
    scrub(&world, &["other", "raw"], 0);
    world.ok_with_input(&["append", "other"], b"goes on");
    // A copy of the superblock is looked at by the unit itself.
    flip(&world.medium(), 30);
    let (reports, last) = scrub(&world, &[], 13);
    assert_eq!(last["problems"], 2);
    assert!(
        of(&reports, "superblock")["findings"][0]["message"]
            .as_str()
            .unwrap()
            .contains("copy 0")
    );
    drop(serve);
}

#[test]
fn whoever_asks_gets_what_he_may_read() {
    let (world, _serve) = filled();
    world.fails(&["scrub", "nothing"], 3, "nothing");
    world.fails(&["scrub", "orders", "--all"], 2, "--all");
    world.fails(&["scrub", "--rate", "0"], 2, "rate");
    scrub(&world, &["--all"], 0);
    let context = world.path("bob.json");
    world.ok(&["access", "issue", "bob", "--output", context.to_str().unwrap()]);
    world.ok(&["region", "create", "bobs", "--size", "1MiB", "--owner", "bob"]);
    let bob = ["--context", context.to_str().unwrap()];
    let (reports, last) = scrub(&world, &bob, 0);
    assert_eq!(
        (reports.len(), last["regions"].as_u64()),
        (1, Some(1)),
        "{reports:?}"
    );
    let refused = [&["scrub", "--all"], &bob[..]].concat();
    world.fails(&refused, 9, "administrator");
    // The administrator may not read it, and is told.
    let (_, last) = scrub(&world, &[], 0);
    assert_eq!(last["skipped"][0], "bobs");
    let outcome = world.run(&["scrub", "--all"]);
    assert_eq!(outcome.code, 9, "{}", outcome.stderr);
}

#[test]
fn ctrl_c_ends_it_with_what_it_has() {
    let (world, _serve) = filled();
    let mut scrub = Process::start(world.command(["scrub", "other", "orders", "--json", "--rate", "64KiB"]));
    assert_eq!(scrub.json_line()["region"], "other");
    scrub.signal(Signal::INT);
    let last = scrub.json_line();
    assert_eq!(
        (&last["event"], &last["interrupted"]),
        (&Value::from("scrubbed"), &Value::from(true))
    );
    assert_eq!(scrub.wait(), 130);
}

#[test]
fn rounds_follow_each_other_and_survive_a_restart() {
    let (world, serve) = filled();
    let mut scrub = Process::start(world.command([
        "scrub",
        "other",
        "--every",
        "10ms",
        "--json",
        "--retry-for",
        "30s",
    ]));
    assert_eq!(scrub.json_line()["region"], "other");
    let before = serve.kill();
    let _serve = world.serve_again(&before);
    // Whatever was in between, rounds come to an end again.
    let began = Instant::now();
    let mut rounds = 0;
    while rounds < 5 {
        assert!(began.elapsed() < HANGS, "no rounds any more");
        let line = scrub.json_line();
        rounds += u32::from(line["event"] == "scrubbed" && line["regions"] == 1);
    }
    scrub.signal(Signal::TERM);
    assert_eq!(scrub.wait(), 130);
}

#[test]
fn a_server_scrubs_in_the_background_and_tells() {
    let (world, serve) = filled_by(&["--scrub-every", "20ms", "--scrub-rate", "1GiB"]);
    await_metric(&serve, "outlive_scrub_rounds_total", |rounds| rounds >= 2);
    assert_eq!(metric(&serve, "outlive_scrub_problems"), 0);
    flip(&world.medium(), find(&world.medium(), b"second update"));
    await_metric(&serve, "outlive_scrub_problems", |problems| problems == 1);
    let status = &world.json(&["status"])[0]["units"][0]["scrub"];
    assert_eq!(status["found"], 1);
    let told = status["findings"][0].as_str().unwrap();
    assert!(
        told.contains("orders: corrupt set behind sequence") && told.contains("offset"),
        "{told}"
    );
    assert!(world.run(&["status"]).text().contains("DAMAGED"));
    // Regions that come and go meanwhile are no damage.
    for round in 0..20 {
        let name = format!("passing{round}");
        world.ok(&["region", "create", &name, "--size", "1MiB"]);
        world.ok_with_input(&["save", &name], &noise(round, 50_000));
        world.ok(&["region", "rm", &name, "--yes"]);
        assert_eq!(metric(&serve, "outlive_scrub_problems"), 1);
    }
    serve.stop();
}

fn metric(serve: &Serve, name: &str) -> u64 {
    let scraped = serve.scrape();
    let line = scraped
        .lines()
        .find(|line| line.starts_with(&format!("{name}{{")));
    line.and_then(|line| line.rsplit(' ').next())
        .map_or(0, |value| value.parse().unwrap())
}

fn await_metric(serve: &Serve, name: &str, wanted: impl Fn(u64) -> bool) {
    let began = Instant::now();
    while !wanted(metric(serve, name)) {
        assert!(began.elapsed() < HANGS, "{name} stays at {}", metric(serve, name));
        std::thread::sleep(Duration::from_millis(5));
    }
}
