//! Ordinary Redis clients, unchanged.

use std::collections::HashMap;
use std::thread;

use redis::{Commands, Value, cmd};

use crate::support::Lab;

#[test]
fn the_redis_crate_works_unchanged() {
    let lab = Lab::start();
    let member = lab.member();
    let mut redis = member.connect();
    let _: () = redis.set("k", "v").expect("SET");
    assert_eq!(redis.get("k"), Ok(Some("v".to_owned())));
    assert_eq!(redis.get::<_, Option<String>>("none"), Ok(None));
    assert_eq!(redis.incr("n", 5), Ok(5));
    assert_eq!(redis.rpush("l", &["a", "b", "c"]), Ok(3));
    assert_eq!(
        redis.lrange("l", 0, -1),
        Ok(vec!["a".to_owned(), "b".into(), "c".into()])
    );
    assert_eq!(redis.hset_multiple("h", &[("a", 1), ("b", 2)]), Ok(()));
    assert_eq!(
        redis.hgetall("h"),
        Ok(HashMap::from([("a".to_owned(), 1), ("b".into(), 2)]))
    );
    assert_eq!(redis.sadd("s", "m"), Ok(1));
    assert_eq!(redis.zadd("z", "m", 1.5), Ok(1));
    assert_eq!(redis.zscore("z", "m"), Ok(Some(1.5)));
    let _: () = redis.set_ex("e", "v", 100).expect("SETEX");
    assert!((99..=100).contains(&redis.ttl::<_, i64>("e").expect("TTL")));
    let mut keys: Vec<String> = redis
        .scan()
        .expect("SCAN")
        .map(|key| key.expect("a key"))
        .collect();
    keys.sort();
    assert_eq!(keys, ["e", "h", "k", "l", "n", "s", "z"]);
    let error = redis
        .lpush::<_, _, i64>("k", "v")
        .expect_err("a string is no list");
    assert_eq!(error.code(), Some("WRONGTYPE"));
    // Any bytes are fine, in keys and values.
    let bytes: Vec<u8> = (0..=255).collect();
    let _: () = redis.set(&bytes, &bytes).expect("SET");
    assert_eq!(redis.get(&bytes), Ok(bytes.clone()));
}

#[test]
fn a_pipeline_is_answered_in_order() {
    let lab = Lab::start();
    let member = lab.member();
    let mut redis = member.connect();
    let mut pipeline = redis::pipe();
    for n in 0..2000 {
        // Answered by the pair after a commit, by the pair without one, and by the connection.
        pipeline.incr("n", 1).get("n").cmd("ECHO").arg(n);
    }
    let replies: Vec<i64> = pipeline.query(&mut redis).expect("replies");
    let expected: Vec<i64> = (0..2000).flat_map(|n| [n + 1, n + 1, n]).collect();
    assert_eq!(replies, expected);
}

#[test]
fn many_clients_count_together() {
    let lab = Lab::start();
    let member = lab.member();
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let mut redis = member.connect();
                (0..40).for_each(|_| redis.incr("n", 1).expect("INCR"));
            });
        }
    });
    assert_eq!(member.connect().get("n"), Ok(2000));
}

#[test]
fn commands_of_the_connection() {
    let lab = Lab::start();
    let member = lab.member();
    let mut redis = member.connect();
    let mut ask = |line: &str| {
        let mut words = line.split(' ');
        let mut command = cmd(words.next().expect("a name"));
        words.for_each(|word| {
            command.arg(word);
        });
        command
            .query::<Value>(&mut redis)
            .map_err(|error| error.to_string())
    };
    let status = |text: &str| Ok(Value::SimpleString(text.into()));
    let bulk = |text: &str| Ok(Value::BulkString(text.into()));
    let fails = |reply: Result<Value, String>, part: &str| {
        let error = reply.expect_err(part);
        assert!(error.contains(part), "{error}");
    };
    assert_eq!(ask("PING hello"), bulk("hello"));
    assert_eq!(ask("SELECT 0"), Ok(Value::Okay));
    fails(ask("SELECT 1"), "DB index is out of range");
    assert_eq!(ask("CLIENT SETNAME me"), Ok(Value::Okay));
    assert_eq!(ask("CLIENT GETNAME"), bulk("me"));
    assert_eq!(ask("CLIENT NO-EVICT on"), Ok(Value::Okay));
    fails(
        ask("CLIENT NONSENSE"),
        "unknown subcommand 'NONSENSE'. Try CLIENT HELP.",
    );
    fails(ask("CLIENT"), "wrong number of arguments for 'client' command");
    let Ok(Value::BulkString(list)) = ask("CLIENT LIST") else {
        panic!("a list")
    };
    assert!(String::from_utf8_lossy(&list).contains("name=me"));
    assert_eq!(ask("RESET"), status("RESET"));
    assert_eq!(ask("CLIENT GETNAME"), Ok(Value::Nil));
    fails(ask("HELLO 4"), "unsupported protocol version");
    let greeting = ask("HELLO 3");
    assert!(
        matches!(&greeting, Ok(Value::Map(fields)) if fields.len() == 7),
        "{greeting:?}"
    );
    assert_eq!(ask("GET nothing"), Ok(Value::Nil));
    assert!(matches!(ask("CONFIG GET save"), Ok(Value::Map(_))));
    assert!(matches!(ask("HELLO 2 SETNAME you"), Ok(Value::Array(fields)) if fields.len() == 14));
    assert!(matches!(ask("CONFIG GET save"), Ok(Value::Array(_))));
    assert_eq!(ask("CLIENT GETNAME"), bulk("you"));
    fails(ask("AUTH secret"), "without any password configured");
    assert!(matches!(ask("CONFIG GET save"), Ok(Value::Array(fields)) if fields.len() == 2));
    fails(ask("CONFIG SET save x"), "CONFIG SET - 'save'");
    assert!(matches!(ask("COMMAND COUNT"), Ok(Value::Int(count)) if count > 90));
    assert!(matches!(ask("COMMAND INFO get nonsense"), Ok(Value::Array(found)) if found[1] == Value::Nil));
    assert!(
        matches!(ask("ROLE"), Ok(Value::Array(fields)) if fields[0] == Value::BulkString("master".into()))
    );
    assert_eq!(ask("SET k v"), Ok(Value::Okay));
    let Ok(Value::BulkString(info)) = ask("INFO") else {
        panic!("text")
    };
    let info = String::from_utf8_lossy(&info);
    for line in [
        "role:master",
        "db0:keys=1,expires=0",
        "redis_version:",
        "role:primary",
        "connected_clients:1",
    ] {
        assert!(info.contains(line), "{line} in {info}");
    }
    let Ok(Value::BulkString(info)) = ask("INFO replication") else {
        panic!("text")
    };
    assert!(!String::from_utf8_lossy(&info).contains("redis_version"));
    for unsupported in ["MULTI", "SUBSCRIBE c", "EVAL x 0"] {
        fails(ask(unsupported), "unknown command");
    }
    assert_eq!(ask("QUIT"), Ok(Value::Okay));
    assert!(ask("PING").is_err(), "the connection is closed");
}
