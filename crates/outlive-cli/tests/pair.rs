//! A key-value pair as one runs it by hand: two members, status, a planned hand-over, a kill.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::{Duration, Instant};

use outlive_kv::client::{SessionClient, SessionOptions};
use redis::cmd;
use rustix::process::Signal;
use serde_json::Value;
use support::{Process, Serve, World};

struct Pair {
    world: World,
    serve: Serve,
    addresses: Vec<String>,
}

impl Pair {
    fn new() -> (Self, Process, Process) {
        let world = World::with_media("128MiB");
        let serve = world.serve();
        let mut pair = Self {
            world,
            serve,
            addresses: Vec::new(),
        };
        let primary = pair.member("primary");
        let backup = pair.member("backup");
        (pair, primary, backup)
    }

    /// Starts a member and waits until it has this role.
    fn member(&mut self, role: &str) -> Process {
        let arguments = [
            "kv",
            "--json",
            "--pair",
            "cache",
            "--size",
            "64MiB",
            "--listen",
            "127.0.0.1:0",
        ];
        let process = Process::start(self.world.command(arguments));
        let listening = process.json_line();
        assert_eq!(listening["event"], "listening");
        self.addresses
            .push(listening["address"].as_str().unwrap().to_owned());
        await_role(&process, role);
        process
    }

    fn client(&self) -> SessionClient {
        SessionClient::connect(self.addresses.clone(), SessionOptions::default()).unwrap()
    }

    /// What status says about the pair, once it is what is awaited.
    fn status(&self, awaited: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let status = self.world.json(&["status"]).remove(0);
            if status["pairs"]
                .as_array()
                .is_some_and(|pairs| pairs.iter().any(&awaited))
            {
                return status["pairs"][0].clone();
            }
            assert!(Instant::now() < deadline, "the status never came: {status}");
        }
    }
}

fn await_role(process: &Process, role: &str) -> Value {
    loop {
        let event = process.json_line();
        assert!(event["stopped"].is_null(), "{event}");
        if event["role"] == role {
            return event;
        }
    }
}

fn roles(pair: &Value) -> Vec<(&str, &str)> {
    let members = pair["members"].as_array().unwrap();
    members
        .iter()
        .map(|member| {
            (
                member["address"].as_str().unwrap(),
                member["role"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn status_shows_both_members_and_a_hand_over_changes_their_roles() {
    let (pair, primary, backup) = Pair::new();
    let mut client = pair.client();
    for expected in 1..=50_i64 {
        assert_eq!(client.request::<i64>(cmd("INCR").arg("n")).unwrap(), expected);
    }
    let before = pair.status(|pair| pair["lag_sets"] == 0);
    let (first, second) = (pair.addresses[0].as_str(), pair.addresses[1].as_str());
    assert!(
        roles(&before).contains(&(first, "primary")) && roles(&before).contains(&(second, "backup")),
        "{before}"
    );

    let done = &pair.world.json(&["switchover", "cache"])[0];
    assert_eq!(
        (&done["old_primary"], &done["new_primary"]),
        (&first.into(), &second.into())
    );
    await_role(&backup, "primary");
    await_role(&primary, "backup");
    assert_eq!(
        client.request::<i64>(cmd("INCR").arg("n")).unwrap(),
        51,
        "no request was lost or done twice"
    );
    pair.status(|pair| {
        roles(pair).contains(&(second, "primary")) && roles(pair).contains(&(first, "backup"))
    });
    assert!(!pair.serve.ready["metrics"].is_null());
}

#[test]
fn a_killed_primary_is_followed_and_status_tells_of_the_takeover() {
    let (mut pair, primary, backup) = Pair::new();
    let mut client = pair.client();
    assert_eq!(
        client
            .request::<i64>(cmd("RPUSH").arg("list").arg("a").arg("b"))
            .unwrap(),
        2
    );
    primary.kill();
    let event = await_role(&backup, "primary");
    assert!(event["takeover"]["fence_us"].as_u64().unwrap() > 0, "{event}");
    assert_eq!(
        client.request::<i64>(cmd("RPUSH").arg("list").arg("c")).unwrap(),
        3
    );
    let _third = pair.member("backup");
    let takeover =
        pair.status(|pair| !pair["last_takeover"].is_null() && pair["lag_sets"] == 0)["last_takeover"]
            .clone();
    assert_eq!(takeover["member"], pair.addresses[1].as_str());
    assert_eq!(takeover["generation"], event["takeover"]["generation"]);
}

#[test]
fn sigterm_hands_over_as_planned() {
    let (pair, mut primary, backup) = Pair::new();
    let mut client = pair.client();
    assert_eq!(client.request::<i64>(cmd("INCR").arg("n")).unwrap(), 1);
    primary.signal(Signal::TERM);
    assert_eq!(primary.wait(), 0);
    await_role(&backup, "primary");
    assert_eq!(client.request::<i64>(cmd("INCR").arg("n")).unwrap(), 2);
}

#[test]
fn outside_addresses_need_consent() {
    let world = World::new();
    let _serve = world.serve();
    world.fails(
        &["kv", "--pair", "cache", "--listen", "0.0.0.0:0"],
        2,
        "--insecure",
    );
}

#[test]
fn a_member_is_a_sentinel_at_an_address_of_its_own() {
    use std::io::{Read, Write};
    let world = World::with_media("128MiB");
    let _serve = world.serve();
    let arguments = [
        "kv",
        "--json",
        "--pair",
        "cache",
        "--size",
        "64MiB",
        "--listen",
        "127.0.0.1:0",
    ];
    let member = Process::start(world.command([&arguments[..], &["--sentinel", "127.0.0.1:0"]].concat()));
    let listening = member.json_line();
    let says = |address: &Value| {
        let mut client = std::net::TcpStream::connect(address.as_str().expect("an address")).unwrap();
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(30)))
            .unwrap();
        client.write_all(b"*1\r\n$4\r\nROLE\r\n").unwrap();
        let mut reply = [0; 18];
        client.read_exact(&mut reply).unwrap();
        String::from_utf8_lossy(&reply).into_owned()
    };
    await_role(&member, "primary");
    assert!(says(&listening["sentinel"]).contains("sentinel"));
    assert!(says(&listening["address"]).contains("master"));
}
