//! Redis's own tools, where they are installed.

use std::process::{Command, Output};

use redis::Commands;

use crate::support::{Lab, Member};

fn run(tool: &str, member: &Member, args: &[&str]) -> Option<Output> {
    let port = member.address.port().to_string();
    let output = Command::new(tool)
        .args(["-h", "127.0.0.1", "-p", &port])
        .args(args)
        .output();
    if output.is_err() {
        println!("SKIPPED: {tool} is not installed");
    }
    output.ok()
}

#[test]
fn redis_cli() {
    let lab = Lab::start();
    let member = lab.member();
    let cases: [(&[&str], &str); 5] = [
        (&["SET", "k", "v"], "OK\n"),
        (&["--no-raw", "GET", "k"], "\"v\"\n"),
        (&["--no-raw", "RPUSH", "l", "a", "b"], "(integer) 2\n"),
        (&["--no-raw", "LRANGE", "l", "0", "-1"], "1) \"a\"\n2) \"b\"\n"),
        (
            &["GET", "l"],
            "WRONGTYPE Operation against a key holding the wrong kind of value\n\n",
        ),
    ];
    for (args, expected) in cases {
        let Some(output) = run("redis-cli", &member, args) else {
            return;
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{args:?}");
    }
    let scanned = run("redis-cli", &member, &["--scan"]).expect("it ran before");
    assert_eq!(String::from_utf8_lossy(&scanned.stdout).lines().count(), 2);
}

#[test]
fn redis_benchmark() {
    let lab = Lab::start();
    let member = lab.member();
    let Some(output) = run(
        "redis-benchmark",
        &member,
        &["-n", "2000", "-c", "20", "-P", "8", "--csv"],
    ) else {
        return;
    };
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{text}{errors}");
    for test in [
        "\"PING_INLINE\"",
        "\"SET\"",
        "\"INCR\"",
        "\"SPOP\"",
        "\"ZPOPMIN\"",
        "\"LRANGE_600",
        "\"MSET",
    ] {
        assert!(text.contains(test), "{test} in {text}{errors}");
    }
    assert!(
        !text.contains("rror") && !errors.contains("rror"),
        "{text}{errors}"
    );
    assert_eq!(member.connect().get("counter:__rand_int__"), Ok(2000));
}
