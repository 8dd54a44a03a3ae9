//! A pair whose members, unit and clients are hosts of their own: network namespaces joined by a switch.
//! Proves P1 (on another host), P2 (a silent host), P3 and P4 (a partitioned primary neither changes
//! anything nor answers from the past).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use outlive_chaos::lab::{Host, Lab};
use outlive_kv::client::{SessionClient, SessionOptions};
use redis::cmd;
use rustix::process::Signal;
use serde_json::Value;
use support::{Process, World};

const SERVICE_PORT: u16 = 6379;

/// Unit, two members and a client, each on its own host.
struct Hosts {
    lab: Lab,
    world: World,
    unit: Host,
    members: [Host; 2],
    client: Host,
}

#[test]
fn a_backup_on_another_host_takes_over_from_a_killed_primary() {
    let Some(hosts) = Hosts::new() else { return };
    let _serve = hosts.serve();
    let first = hosts.member(0, "primary");
    let second = hosts.member(1, "backup");

    let addresses = hosts.addresses();
    hosts.client.run(|| {
        let mut client = SessionClient::connect(addresses, SessionOptions::default()).unwrap();
        for expected in 1..=100_i64 {
            assert_eq!(client.request::<i64>(cmd("INCR").arg("n")).unwrap(), expected);
        }
        first.kill();
        for expected in 101..=200_i64 {
            assert_eq!(client.request::<i64>(cmd("INCR").arg("n")).unwrap(), expected);
        }
    });
    let event = await_role(&second, "primary");
    assert_eq!(
        event["takeover"]["fenced_generation"]
            .as_u64()
            .map(|fenced| fenced + 1),
        event["generation"].as_u64()
    );
}

#[test]
fn a_partitioned_primary_is_taken_over_and_answers_nothing_from_the_past() {
    let Some(hosts) = Hosts::new() else { return };
    let _serve = hosts.serve();
    let first = hosts.member(0, "primary");
    let second = hosts.member(1, "backup");
    let [first_host, second_host] = &hosts.members;

    let addresses = hosts.addresses();
    hosts.client.run(|| {
        let mut client = SessionClient::connect(addresses.clone(), SessionOptions::default()).unwrap();
        client.request::<()>(cmd("SET").arg("who").arg("first")).unwrap();
    });

    hosts.lab.set_silent(first_host, true);
    // A client of the old primary that shares its fate, on its host: it must not be told what may be past.
    let asked = first_host.run(|| plain_get(first_host));
    await_role(&second, "primary");
    hosts.client.run(|| {
        let only_second = [format!("{}:{SERVICE_PORT}", second_host.address())];
        let mut client = SessionClient::connect(only_second, SessionOptions::default()).unwrap();
        assert_eq!(client.request::<String>(cmd("GET").arg("who")).unwrap(), "first");
        client.request::<()>(cmd("SET").arg("who").arg("second")).unwrap();
    });
    assert!(asked.is_err(), "a partitioned primary answered a read: {asked:?}");
    let asked = first_host.run(|| plain_get(first_host));
    assert!(
        asked.is_err(),
        "a primary that was taken over from answered a read: {asked:?}"
    );

    // Back on the network it learns that it was fenced, and follows.
    hosts.lab.set_silent(first_host, false);
    await_role(&first, "backup");
    hosts.client.run(|| {
        let mut client = SessionClient::connect(addresses, SessionOptions::default()).unwrap();
        assert_eq!(client.request::<String>(cmd("GET").arg("who")).unwrap(), "second");
    });
}

#[test]
fn a_backup_that_is_cut_off_does_not_take_over_and_follows_again() {
    let Some(hosts) = Hosts::new() else { return };
    let _serve = hosts.serve();
    let _first = hosts.member(0, "primary");
    let second = hosts.member(1, "backup");
    hosts.lab.set_silent(&hosts.members[1], true);

    let addresses = hosts.addresses();
    hosts.client.run(|| {
        let only_first = [format!("{}:{SERVICE_PORT}", hosts.members[0].address())];
        let mut client = SessionClient::connect(only_first, SessionOptions::default()).unwrap();
        // Longer than the silence after which a backup suspects, in requests that the primary answers.
        let begun = std::time::Instant::now();
        let mut count = 0_i64;
        while begun.elapsed() < Duration::from_secs(1) {
            count += 1;
            assert_eq!(client.request::<i64>(cmd("INCR").arg("n")).unwrap(), count);
        }
        hosts.lab.set_silent(&hosts.members[1], false);
        let mut both = SessionClient::connect(addresses, SessionOptions::default()).unwrap();
        assert_eq!(both.request::<i64>(cmd("INCR").arg("n")).unwrap(), count + 1);
    });
    hosts.await_backup();
    let switched = hosts.outlive(&["switchover", "cache", "--json"]);
    assert_eq!(
        switched["old_primary"],
        format!("{}:{SERVICE_PORT}", hosts.members[0].address())
    );
    await_role(&second, "primary");
}

#[test]
fn a_stopped_primary_is_fenced_and_answers_nothing_from_the_past() {
    let Some(hosts) = Hosts::new() else { return };
    let _serve = hosts.serve();
    let first = hosts.member(0, "primary");
    let second = hosts.member(1, "backup");
    let [first_host, second_host] = &hosts.members;
    let only_second = [format!("{}:{SERVICE_PORT}", second_host.address())];
    hosts.client.run(|| {
        let mut client = SessionClient::connect(hosts.addresses(), SessionOptions::default()).unwrap();
        client.request::<()>(cmd("SET").arg("who").arg("first")).unwrap();
    });

    let mut plain = hosts
        .client
        .run(|| TcpStream::connect(format!("{}:{SERVICE_PORT}", first_host.address())).unwrap());
    first.signal(Signal::STOP);
    // They wait in its socket until it wakes up.
    plain
        .write_all(b"*2\r\n$3\r\nGET\r\n$3\r\nwho\r\n*3\r\n$3\r\nSET\r\n$3\r\nwho\r\n$5\r\nstale\r\n")
        .unwrap();
    await_role(&second, "primary");
    hosts.client.run(|| {
        let mut client = SessionClient::connect(only_second.clone(), SessionOptions::default()).unwrap();
        assert_eq!(client.request::<String>(cmd("GET").arg("who")).unwrap(), "first");
        client.request::<()>(cmd("SET").arg("who").arg("second")).unwrap();
    });

    first.signal(Signal::CONT);
    plain.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answers = BufReader::new(plain).lines();
    for asked in ["GET", "SET"] {
        // Either it is told that this one is not primary, or the connection ends.
        let answer = answers.next().and_then(Result::ok).unwrap_or_default();
        assert!(answer.is_empty() || answer.starts_with('-'), "{asked}: {answer}");
    }
    await_role(&first, "backup");
    hosts.client.run(|| {
        let mut client = SessionClient::connect(only_second, SessionOptions::default()).unwrap();
        assert_eq!(client.request::<String>(cmd("GET").arg("who")).unwrap(), "second");
    });
}

#[test]
fn every_host_dies_and_comes_back_with_everything_that_was_acknowledged() {
    let Some(hosts) = Hosts::new() else { return };
    let serve = hosts.serve();
    let members = [hosts.member(0, "primary"), hosts.member(1, "backup")];
    let count = |from: i64, to: i64| {
        hosts.client.run(|| {
            let mut client = SessionClient::connect(hosts.addresses(), SessionOptions::default()).unwrap();
            for expected in from..=to {
                assert_eq!(client.request::<i64>(cmd("INCR").arg("n")).unwrap(), expected);
            }
        });
    };
    count(1, 100);
    members.into_iter().for_each(Process::kill);
    serve.kill();
    let _serve = hosts.serve();
    let _members = [hosts.member(1, "primary"), hosts.member(0, "backup")];
    count(101, 200);
}

impl Hosts {
    /// `None`, with a printed reason, where namespaces cannot be had.
    fn new() -> Option<Self> {
        match Lab::new(4, 1) {
            Ok(lab) => {
                let [unit, first, second, client] = <[Host; 4]>::try_from(lab.hosts().to_vec()).ok()?;
                Some(Self {
                    lab,
                    world: World::new(),
                    unit,
                    members: [first, second],
                    client,
                })
            }
            Err(why) => {
                eprintln!("SKIPPED: {why}");
                None
            }
        }
    }

    fn serve(&self) -> Process {
        let media = format!("file:{},size=256MiB", self.world.medium().display());
        let control = format!("{}:7780", self.unit.address());
        let data = format!("{}:7781", self.unit.address());
        let arguments = [
            "serve",
            "--json",
            "--media",
            &media,
            "--control",
            &control,
            "--data",
            &data,
        ];
        let process = self.start(&self.unit, &arguments);
        assert_eq!(process.json_line()["event"], "ready");
        process
    }

    /// Starts a member and waits for its role.
    fn member(&self, number: usize, role: &str) -> Process {
        let host = &self.members[number];
        let listen = format!("{}:{SERVICE_PORT}", host.address());
        let arguments = [
            "kv",
            "--json",
            "--insecure",
            "--pair",
            "cache",
            "--listen",
            &listen,
            "--size",
            "64MiB",
        ];
        let process = self.start(host, &arguments);
        await_role(&process, role);
        process
    }

    fn start(&self, host: &Host, arguments: &[&str]) -> Process {
        Process::start(
            self.world
                .on(host.command(Path::new(env!("CARGO_BIN_EXE_outlive"))), arguments),
        )
    }

    /// Runs a command on the client's host; its JSON.
    fn outlive(&self, arguments: &[&str]) -> Value {
        let mut command = self.world.on(
            self.client.command(Path::new(env!("CARGO_BIN_EXE_outlive"))),
            arguments,
        );
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the manager has heard from a backup a moment ago: only then is there somebody to hand over to.
    fn await_backup(&self) {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.outlive(&["status", "--json"]);
            let members = status["pairs"][0]["members"].as_array();
            let heard_of_backup = members.into_iter().flatten().any(|member| {
                member["role"] == "backup" && member["silent_ms"].as_u64().is_some_and(|silent| silent < 1000)
            });
            if heard_of_backup {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "no backup reports: {status}"
            );
        }
    }

    fn addresses(&self) -> Vec<String> {
        self.members
            .iter()
            .map(|host| format!("{}:{SERVICE_PORT}", host.address()))
            .collect()
    }
}

/// Awaits the event that a member has that role.
fn await_role(process: &Process, role: &str) -> Value {
    loop {
        let event = process.json_line();
        if event["event"] == "role" && event["role"] == role {
            return event;
        }
    }
}

/// Reads `who` over a plain connection from the member on this host.
fn plain_get(host: &Host) -> redis::RedisResult<String> {
    let client = redis::Client::open(format!("redis://{}:{SERVICE_PORT}", host.address()))?;
    let mut connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    cmd("GET").arg("who").query(&mut connection)
}
