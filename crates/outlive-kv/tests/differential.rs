//! The same commands to this service and to a real `redis-server`: the replies must be the same bytes.
//!
//! Where `redis-server` is not installed the test says so and checks nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outlive_kv::{Kv, request};
use outlive_pair::{Moment, Service};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[test]
fn replies_are_those_of_redis() {
    let Some(redis) = Redis::start() else {
        println!("SKIPPED: redis-server is not installed; nothing was compared");
        return;
    };
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..Default::default()
    });
    let result = runner.run(&commands(), |commands| {
        let mut connection = redis.connect();
        connection.ask(&words("FLUSHALL"));
        let mut kv = Kv::default();
        for command in &commands {
            let ours = ask(&mut kv, command);
            let theirs = connection.ask(command);
            prop_assert_eq!(
                comparable(command, ours),
                comparable(command, theirs),
                "{:?}",
                command
            );
        }
        Ok(())
    });
    result.expect("all replies are the same");
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn ask(kv: &mut Kv, command: &[String]) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let at = Moment {
        unix_ms: u64::try_from(now.as_millis()).expect("fits"),
    };
    let request = request::encode(command);
    if kv.is_read_only(&request) {
        kv.query(&request, at)
    } else {
        kv.apply(&request, at)
    }
}

/// Redis gives these in an order of its own; here the order of the lines is not compared.
fn comparable(command: &[String], reply: Vec<u8>) -> Vec<String> {
    let text = String::from_utf8_lossy(&reply).into_owned();
    let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    let unordered = ["SMEMBERS", "HGETALL", "HKEYS", "HVALS", "KEYS", "SCAN"];
    if command
        .first()
        .is_some_and(|name| unordered.contains(&name.as_str()))
    {
        lines.sort();
    }
    lines
}

/// Commands whose replies depend on nothing but what went before. Scores are halves, which Redis 7.0
/// and later write alike; time-outs are long, so that none runs out meanwhile.
fn commands() -> impl Strategy<Value = Vec<Vec<String>>> {
    let key = "[a-f]";
    let value = "|x|[a-c]{1,3}|-?[1-9][0-9]{0,2}|9223372036854775807|-9223372036854775808|\\+1|01|1\\.5";
    let int = "-?[0-3]|[5-9]|9223372036854775807|-9223372036854775808|x";
    let score = "-?[0-9](\\.5)?|inf|-inf|\\+inf|nan|x";
    let member = "[m-p]";
    let border = "\\(?-?[0-9](\\.5)?|-inf|\\+inf|\\(x";
    let lex = "[\\[(][m-p]?|-|\\+|m";
    let seconds = "1000|5000|0|-1|x|9223372036854775807";
    let join = |parts: Vec<String>| {
        parts
            .join(" ")
            .split(' ')
            .filter(|word| *word != "~")
            .map(str::to_owned)
            .collect()
    };
    let command = prop_oneof![
        ("GET|STRLEN|INCR|DECR|GETDEL|LPOP|RPOP|LLEN|HLEN|HGETALL|HKEYS|HVALS|SCARD|SMEMBERS|ZCARD|TYPE|TTL|PERSIST|DEL|ZPOPMIN|ZPOPMAX|EXISTS", key)
            .prop_map(move |(c, k)| join(vec![c, k])),
        ("SETNX|GETSET|APPEND", key, value).prop_map(|(c, k, v)| vec![c, k, v]),
        (key, value, "(NX |XX |GET |KEEPTTL |EX 1000 |PX 900000 |EX 0 |EX x |PX |FOO ){0,2}")
            .prop_map(|(k, v, o)| [vec!["SET".into(), k, v], o.split_whitespace().map(str::to_owned).collect()].concat()),
        ("INCRBY|DECRBY|LINDEX|LPOP|RPOP", key, int).prop_map(|(c, k, n)| vec![c, k, n]),
        ("LRANGE|GETRANGE|LTRIM", key, int, int).prop_map(|(c, k, a, b)| vec![c, k, a, b]),
        ("LPUSH|RPUSH|LPUSHX|RPUSHX|SADD|SREM|HDEL", key, value, value).prop_map(|(c, k, a, b)| vec![c, k, a, b]),
        ("LREM|LSET", key, int, value).prop_map(|(c, k, n, v)| vec![c, k, n, v]),
        (key, "BEFORE|AFTER|BESIDE", value, value).prop_map(|(k, w, a, b)| vec!["LINSERT".into(), k, w, a, b]),
        ("HSET|HSETNX|HMSET|SMISMEMBER|HMGET", key, member, value).prop_map(|(c, k, f, v)| vec![c, k, f, v]),
        ("HGET|HEXISTS|HSTRLEN|SISMEMBER|ZSCORE|ZRANK|ZREVRANK|ZREM|ZMSCORE", key, member).prop_map(|(c, k, m)| vec![c, k, m]),
        (key, member, int).prop_map(|(k, f, n)| vec!["HINCRBY".into(), k, f, n]),
        (key, "(NX |XX |GT |LT |CH |INCR ){0,2}", proptest::collection::vec((score, member), 1..3)).prop_map(|(k, o, pairs)| {
            let options = o.split_whitespace().map(str::to_owned).collect();
            let pairs = pairs.into_iter().flat_map(|(score, member)| [score, member]).collect();
            [vec!["ZADD".into(), k], options, pairs].concat()
        }),
        ("ZINCRBY", key, score, member).prop_map(|(c, k, s, m)| vec![c, k, s, m]),
        ("ZRANGE", key, int, int, "~|REV|WITHSCORES|REV WITHSCORES|LIMIT 0 1|FOO").prop_map(move |(c, k, a, b, o)| join(vec![c, k, a, b, o])),
        ("ZRANGE", key, border, border, "BYSCORE", "~|REV|WITHSCORES|LIMIT 0 2|LIMIT 1 -1|LIMIT -1 1|LIMIT 1")
            .prop_map(move |(c, k, a, b, o, p)| join(vec![c, k, a, b, o, p])),
        // By bytes only where all scores are equal: otherwise Redis promises nothing.
        ("[yz]", proptest::collection::vec(member, 1..4)).prop_map(|(k, members)| {
            let pairs = members.into_iter().flat_map(|member| ["0".to_owned(), member]).collect();
            [vec!["ZADD".into(), k], pairs].concat()
        }),
        ("ZRANGE", "[yz]", lex, lex, "BYLEX", "~|REV|WITHSCORES|LIMIT 0 2")
            .prop_map(move |(c, k, a, b, o, p)| join(vec![c, k, a, b, o, p])),
        ("ZRANGEBYSCORE|ZREVRANGEBYSCORE", key, border, border, "~|WITHSCORES|LIMIT 0 2|FOO").prop_map(move |(c, k, a, b, o)| join(vec![c, k, a, b, o])),
        ("ZREVRANGE", key, int, int, "~|WITHSCORES|FOO").prop_map(move |(c, k, a, b, o)| join(vec![c, k, a, b, o])),
        ("ZCOUNT", key, border, border).prop_map(|(c, k, a, b)| vec![c, k, a, b]),
        ("EXPIRE", key, seconds, "~|NX|XX|GT|LT|NX XX|GT LT|FOO").prop_map(move |(c, k, n, o)| join(vec![c, k, n, o])),
        ("PEXPIRE", key, "900000|-5|x").prop_map(|(c, k, n)| vec![c, k, n]),
        ("SETEX|PSETEX", key, seconds, value).prop_map(|(c, k, n, v)| vec![c, k, n, v]),
        (key, "~|PERSIST|EX 1000|EX 0|PX x|FOO").prop_map(move |(k, o)| join(vec!["GETEX".into(), k, o])),
        ("RENAME|RENAMENX|MGET|DEL|EXISTS", key, key).prop_map(|(c, a, b)| vec![c, a, b]),
        ("MSET|MSETNX", key, value, key, value).prop_map(|(c, a, b, d, e)| vec![c, a, b, d, e]),
        Just(words("DBSIZE")),
        "\\*|[a-f]|\\?|\\[a-c\\]|\\[\\^a\\]|\\\\a".prop_map(|p| vec!["KEYS".into(), p]),
        (key, "(COUNT 1000 |MATCH \\* |MATCH a |TYPE string |COUNT 0 |FOO 1 |MATCH ){0,2}")
            .prop_map(|(_, o)| [words("SCAN 0 COUNT 1000"), o.split_whitespace().map(str::to_owned).collect()].concat()),
        // Names with the wrong number of arguments, and names that are none.
        ("GET|SET|INCR|INCRBY|MSET|LPUSH|LPOP|LRANGE|HSET|HGET|SADD|ZADD|ZRANGE|EXPIRE|DBSIZE|FLUSHALL|KEYS|SCAN|NONSENSE|TTL", proptest::collection::vec("[a-c]", 0..5))
            .prop_map(|(c, args)| [vec![c], args].concat()),
    ];
    proptest::collection::vec(command, 1..80)
}

struct Redis {
    process: Child,
    port: u16,
}

struct Connection(BufReader<TcpStream>);

impl Redis {
    fn start() -> Option<Self> {
        // The port is free now; should another take it meanwhile, Redis does not start and the test fails.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|probe| probe.local_addr())
            .expect("a port")
            .port();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Self { process, port };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "redis-server does not answer"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(redis)
    }

    fn connect(&self) -> Connection {
        Connection(BufReader::new(
            TcpStream::connect(("127.0.0.1", self.port)).expect("connects"),
        ))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Connection {
    fn ask(&mut self, command: &[String]) -> Vec<u8> {
        self.0
            .get_mut()
            .write_all(&request::encode(command))
            .expect("sends");
        let mut reply = Vec::new();
        self.read_reply(&mut reply);
        reply
    }

    fn read_reply(&mut self, reply: &mut Vec<u8>) {
        let from = reply.len();
        self.0.read_until(b'\n', reply).expect("a line");
        let line = String::from_utf8_lossy(&reply[from..]).into_owned();
        let number = line[1..].trim_end().parse::<i64>();
        match (line.as_bytes()[0], number) {
            (b'$', Ok(len @ 0..)) => {
                let start = reply.len();
                reply.resize(start + usize::try_from(len).expect("fits") + 2, 0);
                self.0.read_exact(&mut reply[start..]).expect("a string");
            }
            (b'*', Ok(count)) => (0..count).for_each(|_| self.read_reply(reply)),
            _ => {}
        }
    }
}
