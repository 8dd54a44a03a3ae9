//! Two members: who answers, and what a takeover looks like from outside.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use outlive_kv::client::{ClientError, SessionClient, SessionOptions};
use outlive_pair::Role;
use redis::sentinel::SentinelClient;
use redis::{Commands, Value, cmd};

use crate::support::{Lab, Member, PAIR, eventually};

/// Primary and backup.
fn pair(lab: &Lab) -> (Member, Member) {
    let primary = lab.member();
    assert_eq!(primary.role(), Role::Primary);
    let backup = lab.member();
    assert_eq!(backup.role(), Role::Backup);
    (primary, backup)
}

fn session(members: &[&Member]) -> SessionClient {
    let addresses = members.iter().map(|member| member.address.to_string());
    SessionClient::connect(addresses, SessionOptions::default()).expect("a session")
}

#[test]
fn a_backup_refuses_and_names_the_primary() {
    let lab = Lab::start();
    let (primary, backup) = pair(&lab);
    let mut redis = backup.connect();
    for command in [cmd("SET").arg("k").arg("v"), cmd("GET").arg("k")] {
        let error = command.query::<Value>(&mut redis).expect_err("not primary");
        assert_eq!(error.code(), Some("READONLY"));
        assert!(
            error
                .to_string()
                .contains(&format!("primary={}", primary.address)),
            "{error}"
        );
    }
    // What concerns the connection it answers itself.
    assert_eq!(cmd("PING").query(&mut redis), Ok("PONG".to_owned()));
    let error = cmd("NONSENSE").query::<Value>(&mut redis).expect_err("unknown");
    assert!(error.to_string().contains("unknown command"));
    let role: Value = cmd("ROLE").query(&mut redis).expect("a role");
    assert!(matches!(role, Value::Array(fields) if fields[0] == Value::BulkString("slave".into())));
    let address = (
        primary.address.ip().to_string(),
        primary.address.port().to_string(),
    );
    for member in [&primary, &backup] {
        let mut redis = member.connect();
        let mut ask = |words: &[&str]| cmd("SENTINEL").arg(words).query::<Value>(&mut redis);
        let found = ask(&["get-master-addr-by-name", PAIR]).expect("an address");
        assert_eq!(redis::from_redis_value(found), Ok(address.clone()));
        assert_eq!(ask(&["get-master-addr-by-name", "another"]), Ok(Value::Nil));
        let error = ask(&["master", "another"]).expect_err("no such pair");
        assert!(
            error.to_string().contains("No such master with that name"),
            "{error}"
        );
    }
}

#[test]
fn a_sentinel_aware_client_follows_the_primary() {
    let lab = Lab::start();
    let (mut primary, backup) = pair(&lab);
    let sentinels = [&primary, &backup].map(|member| format!("redis://{}/", member.sentinel()));
    let kind = redis::sentinel::SentinelServerType::Master;
    let mut client = SentinelClient::build(sentinels.to_vec(), PAIR.into(), None, kind).expect("a client");
    let _: () = client
        .get_connection()
        .expect("connects")
        .set("k", "v")
        .expect("SET");
    // There it is a sentinel and nothing else.
    let mut sentinel = redis::Client::open(sentinels[0].as_str())
        .and_then(|it| it.get_connection())
        .expect("connects");
    let error = sentinel.get::<_, Value>("k").expect_err("a sentinel has no data");
    assert!(error.to_string().contains("unknown command"), "{error}");
    primary.kill();
    let value: String = eventually(|| client.get_connection().ok()?.get("k").ok());
    assert_eq!(value, "v");
    backup.wait_for(Role::Primary);
}

#[test]
fn requests_of_a_session_are_carried_out_once_over_takeovers() {
    let lab = Lab::start();
    let (mut primary, mut backup) = pair(&lab);
    let mut client = session(&[&primary, &backup]);
    let stop = AtomicBool::new(false);
    // Addresses change with each new member: a client finds the next one through any that it knows.
    for round in 0..3 {
        let acknowledged = thread::scope(|scope| {
            let counting = scope.spawn(|| {
                let mut last: i64 = client
                    .request(cmd("GET").arg("n"))
                    .map(|n: Option<i64>| n.unwrap_or(0))
                    .expect("GET");
                let first = last;
                while !stop.load(Ordering::Relaxed) || last < first + 50 {
                    let n: i64 = client.request(cmd("INCR").arg("n")).expect("INCR");
                    assert_eq!(n, last + 1, "neither lost nor done twice");
                    let len: i64 = client.request(cmd("RPUSH").arg("l").arg(n)).expect("RPUSH");
                    assert_eq!(len, n);
                    last = n;
                }
                last
            });
            // Kill it in the middle of the work.
            let mut probe = backup.connect();
            eventually(|| {
                let status: Vec<String> = cmd("OUTLIVE").arg("STATUS").query(&mut probe).expect("a status");
                let applied = status
                    .iter()
                    .position(|word| word == "applied")
                    .map(|at| status[at + 1].clone());
                applied.filter(|applied| applied.parse::<u64>().is_ok_and(|sets| sets > 20))
            });
            primary.kill();
            backup.wait_for(Role::Primary);
            stop.store(true, Ordering::Relaxed);
            counting.join().expect("the client counts on")
        });
        stop.store(false, Ordering::Relaxed);
        let mut redis = backup.connect();
        assert_eq!(redis.get("n"), Ok(acknowledged), "round {round}");
        let list: Vec<i64> = redis.lrange("l", 0, -1).expect("LRANGE");
        assert_eq!(list, (1..=acknowledged).collect::<Vec<_>>());
        let next = lab.member();
        assert_eq!(next.role(), Role::Backup);
        client = {
            // The same session goes on; only its list of addresses is renewed.
            let addresses = [backup.address.to_string(), next.address.to_string()];
            client.with_addresses(addresses)
        };
        primary = backup;
        backup = next;
    }
}

#[test]
fn a_request_sent_again_to_the_new_primary_has_the_old_reply() {
    let lab = Lab::start();
    let (mut primary, backup) = pair(&lab);
    let mut redis = primary.connect();
    let id: String = cmd("OUTLIVE")
        .arg("SESSION")
        .query(&mut redis)
        .expect("a session");
    let numbered = |redis: &mut redis::Connection, number: u64, words: &[&str]| {
        cmd("OUTLIVE")
            .arg("REQ")
            .arg(number)
            .arg(words)
            .query::<Value>(redis)
    };
    assert_eq!(numbered(&mut redis, 1, &["INCR", "n"]), Ok(Value::Int(1)));
    assert_eq!(numbered(&mut redis, 1, &["INCR", "n"]), Ok(Value::Int(1)));
    assert_eq!(numbered(&mut redis, 2, &["INCR", "n"]), Ok(Value::Int(2)));
    let error = numbered(&mut redis, 9, &["INCR", "n"]).expect_err("3 is next");
    assert_eq!(error.code(), Some("OUTOFORDER"));
    primary.kill();
    backup.wait_for(Role::Primary);
    let mut redis = backup.connect();
    let error = numbered(&mut redis, 2, &["INCR", "n"]).expect_err("not bound");
    assert!(error.to_string().contains("no session"), "{error}");
    let _: () = cmd("OUTLIVE")
        .arg("SESSION")
        .arg(&id)
        .query(&mut redis)
        .expect("binds");
    assert_eq!(numbered(&mut redis, 2, &["INCR", "n"]), Ok(Value::Int(2)));
    assert_eq!(redis.get("n"), Ok(2));
    // An error is a reply like any other.
    let wrong = numbered(&mut redis, 3, &["LPUSH", "n", "x"]).expect_err("a string is no list");
    assert_eq!(wrong.code(), Some("WRONGTYPE"));
    assert_eq!(numbered(&mut redis, 3, &["LPUSH", "n", "x"]), Err(wrong));
    let stranger = "00000000000000000000000000000001";
    let _: () = cmd("OUTLIVE")
        .arg("SESSION")
        .arg(stranger)
        .query(&mut redis)
        .expect("binds");
    let error = numbered(&mut redis, 1, &["INCR", "n"]).expect_err("nobody opened it");
    assert_eq!(error.code(), Some("UNKNOWNSESSION"));
    let error = cmd("OUTLIVE")
        .arg("SESSION")
        .arg("x")
        .query::<Value>(&mut redis)
        .expect_err("no id");
    assert!(error.to_string().contains("invalid session id"), "{error}");
}

#[test]
fn a_session_client_tells_the_services_errors_from_its_own() {
    let lab = Lab::start();
    let primary = lab.member();
    let mut client = session(&[&primary]);
    let _: () = client.request(cmd("SET").arg("k").arg("v")).expect("SET");
    let error = client
        .request::<i64>(cmd("INCR").arg("k"))
        .expect_err("no number");
    assert!(matches!(error, ClientError::Reply(_)), "{error}");
    let error = client
        .request::<()>(cmd("SET").arg("k").arg(vec![0_u8; 4 << 20]))
        .expect_err("too large");
    assert!(matches!(error, ClientError::TooLarge(_)), "{error}");
    // Neither disturbs the count.
    assert_eq!(
        client
            .request::<i64>(cmd("APPEND").arg("k").arg("w"))
            .expect("APPEND"),
        2
    );
}

#[test]
fn an_unanswered_request_stays_unfinished_until_it_is_resumed() {
    let lab = Lab::start();
    let (mut primary, mut backup) = pair(&lab);
    let addresses = [primary.address.to_string(), backup.address.to_string()];
    let mut options = SessionOptions::default();
    options.retry_for = std::time::Duration::from_millis(200);
    let mut client = SessionClient::connect(addresses, options).expect("a session");
    assert_eq!(client.request::<i64>(cmd("INCR").arg("n")).expect("INCR"), 1);
    backup.kill();
    primary.kill();
    let error = client
        .request::<i64>(cmd("INCR").arg("n"))
        .expect_err("nobody is there");
    assert!(matches!(error, ClientError::Unanswered { .. }), "{error}");
    let error = client
        .request::<i64>(cmd("GET").arg("n"))
        .expect_err("the number is taken");
    assert!(matches!(error, ClientError::Unfinished), "{error}");
    // Both were dead; the state is in the unit.
    let next = lab.member();
    next.wait_for(Role::Primary);
    let mut client = client.with_addresses([next.address.to_string()]);
    assert_eq!(client.resume::<i64>().expect("INCR"), Some(2));
    assert_eq!(client.resume::<i64>().expect("nothing to do"), None);
    assert_eq!(client.request::<i64>(cmd("INCR").arg("n")).expect("INCR"), 3);
}

#[test]
fn a_planned_stop_loses_nothing_and_answers_what_it_accepted() {
    let lab = Lab::start();
    let (mut primary, backup) = pair(&lab);
    let mut client = session(&[&primary, &backup]);
    thread::scope(|scope| {
        let counting = scope.spawn(|| {
            for expected in 1..=300_i64 {
                assert_eq!(
                    client.request::<i64>(cmd("INCR").arg("n")).expect("INCR"),
                    expected
                );
            }
        });
        let mut redis = primary.connect();
        eventually(|| redis.get::<_, Option<i64>>("n").expect("GET").filter(|n| *n > 20));
        assert_eq!(primary.stop(), None);
        backup.wait_for(Role::Primary);
        counting.join().expect("the client counts on");
    });
    assert_eq!(backup.connect().get("n"), Ok(300));
}

#[test]
fn a_refusal_on_the_way_to_the_primary_is_not_mistaken_for_a_reply() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = listener.local_addr().expect("an address").to_string();
    // Refuses whatever it is asked, as a server does that is just loading, say.
    thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let mut bytes = [0; 1024];
            while let Ok(read @ 1..) = socket.read(&mut bytes) {
                let commands = bytes[..read].iter().filter(|byte| **byte == b'*').count();
                let refused = socket.write_all(&b"-ERR not now\r\n".repeat(commands));
                if refused.is_err() {
                    break;
                }
            }
        }
    });
    let mut options = SessionOptions::default();
    options.retry_for = Duration::from_millis(200);
    let unanswered = SessionClient::connect([address], options);
    assert!(
        matches!(unanswered, Err(ClientError::Unanswered { .. })),
        "{:?}",
        unanswered.err()
    );
}
