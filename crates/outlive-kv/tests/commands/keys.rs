use crate::{NOT_AN_INTEGER, SYNTAX, Session, check};

#[test]
fn existence_and_type() {
    check(&[
        ("MSET a 1 b 2", "OK"),
        ("EXISTS a b none a", "3"),
        ("TYPE a", "string"),
        ("TYPE none", "none"),
        ("RPUSH l x", "1"),
        ("HSET h f v", "1"),
        ("SADD s m", "1"),
        ("ZADD z 1 m", "1"),
        ("TYPE l", "list"),
        ("TYPE h", "hash"),
        ("TYPE s", "set"),
        ("TYPE z", "zset"),
        ("DBSIZE", "6"),
        ("DEL a a none l", "2"),
        ("UNLINK b", "1"),
        ("DBSIZE", "3"),
        ("DEL", "ERR wrong number of arguments for 'del' command"),
    ]);
}

#[test]
fn deadlines() {
    let mut session = Session::new();
    session.check(&[
        ("TTL k", "-2"),
        ("SET k v", "OK"),
        ("TTL k", "-1"),
        ("EXPIRE k 10", "1"),
        ("TTL k", "10"),
    ]);
    session.wait(9_501);
    session.check(&[
        ("TTL k", "0"),
        ("PTTL k", "499"),
        ("PERSIST k", "1"),
        ("PERSIST k", "0"),
        ("TTL k", "-1"),
    ]);
    session.check(&[
        ("PEXPIRE k 100", "1"),
        ("EXPIRETIME k", "1009"),
        ("PEXPIRETIME k", "1009601"),
    ]);
    session.wait(100);
    session.check(&[
        ("EXISTS k", "0"),
        ("TTL k", "-2"),
        ("EXPIRE k 10", "0"),
        ("DBSIZE", "0"),
    ]);
    session.check(&[("SET k v", "OK"), ("EXPIRE k -1", "1"), ("EXISTS k", "0")]);
    session.check(&[("SET k v", "OK"), ("EXPIREAT k 1", "1"), ("EXISTS k", "0")]);
    session.check(&[
        ("SET k v", "OK"),
        ("EXPIRE k x", NOT_AN_INTEGER),
        (
            "EXPIRE k 9223372036854775807",
            "ERR invalid expire time in 'expire' command",
        ),
        ("EXPIRE k 10 FOO", "ERR Unsupported option FOO"),
        (
            "EXPIRE k 10 NX GT",
            "ERR NX and XX, GT or LT options at the same time are not compatible",
        ),
        (
            "EXPIRE k 10 GT LT",
            "ERR GT and LT options at the same time are not compatible",
        ),
        ("EXPIRE k 10 XX", "0"),
        ("EXPIRE k 10 GT", "0"),
        ("EXPIRE k 10 LT", "1"),
        ("EXPIRE k 20 LT", "0"),
        ("EXPIRE k 20 NX", "0"),
        ("EXPIRE k 20 GT", "1"),
        ("TTL k", "20"),
    ]);
}

#[test]
fn every_type_expires() {
    let mut session = Session::new();
    session.check(&[
        ("RPUSH l x", "1"),
        ("HSET h f v", "1"),
        ("SADD s m", "1"),
        ("ZADD z 1 m", "1"),
    ]);
    for key in ["l", "h", "s", "z"] {
        assert_eq!(session.ask(&format!("PEXPIRE {key} 50")), "1");
    }
    session.wait(50);
    session.check(&[
        ("LLEN l", "0"),
        ("HGET h f", "nil"),
        ("SCARD s", "0"),
        ("ZSCORE z m", "nil"),
        ("DBSIZE", "0"),
    ]);
    // What is made anew has nothing of the old, not even its deadline.
    session.check(&[
        ("RPUSH l y", "1"),
        ("LRANGE l 0 -1", "[\"y\"]"),
        ("TTL l", "-1"),
        ("SET h v", "OK"),
    ]);
}

#[test]
fn patterns() {
    check(&[
        ("MSET one 1 two 2 three 3", "OK"),
        ("KEYS t*", "[\"two\" \"three\"]"),
        ("KEYS ?ne", "[\"one\"]"),
        ("KEYS [a-n]*", "[]"),
        ("SCAN 0", "[\"0\" [\"three\" \"two\" \"one\"]]"),
        ("SCAN 0 COUNT 2", "[\"1\" [\"three\" \"two\"]]"),
        ("SCAN 1 COUNT 2", "[\"0\" [\"one\"]]"),
        ("SCAN 0 MATCH t* TYPE string", "[\"0\" [\"three\" \"two\"]]"),
        ("SCAN 0 TYPE hash", "[\"0\" []]"),
        ("SCAN x", "ERR invalid cursor"),
        ("SCAN -1", "ERR invalid cursor"),
        ("SCAN 0 COUNT 0", SYNTAX),
        ("SCAN 0 COUNT x", NOT_AN_INTEGER),
        ("SCAN 0 MATCH", SYNTAX),
        ("SCAN 99999 COUNT 1", "[\"2\" [\"three\"]]"),
    ]);
}

#[test]
fn renaming_takes_the_deadline_along() {
    check(&[
        ("RENAME a b", "ERR no such key"),
        ("SET a v EX 10", "OK"),
        ("SET b w", "OK"),
        ("RENAMENX a b", "0"),
        ("RENAME a b", "OK"),
        ("GET b", "\"v\""),
        ("TTL b", "10"),
        ("EXISTS a", "0"),
        ("RENAME b b", "OK"),
        ("RENAMENX b c", "1"),
        ("TTL c", "10"),
    ]);
}
