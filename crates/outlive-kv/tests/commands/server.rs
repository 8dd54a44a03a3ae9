use crate::{SYNTAX, check};

#[test]
fn flushing() {
    check(&[
        ("MSET a 1 b 2", "OK"),
        ("SETEX c 10 3", "OK"),
        ("OUTLIVE.KEYSPACE", "[3 1]"),
        ("FLUSHALL FOO", SYNTAX),
        ("FLUSHALL ASYNC", "OK"),
        ("DBSIZE", "0"),
        ("SET a 1", "OK"),
        ("FLUSHDB", "OK"),
        ("OUTLIVE.KEYSPACE", "[0 0]"),
        ("DBSIZE x", "ERR wrong number of arguments for 'dbsize' command"),
    ]);
}

#[test]
fn what_is_not_supported_is_unknown() {
    check(&[
        ("MULTI", "ERR unknown command 'MULTI', with args beginning with: "),
        (
            "EVAL script 0",
            "ERR unknown command 'EVAL', with args beginning with: 'script' '0' ",
        ),
        (
            "SUBSCRIBE channel",
            "ERR unknown command 'SUBSCRIBE', with args beginning with: 'channel' ",
        ),
    ]);
}
