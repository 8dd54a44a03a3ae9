use crate::{NOT_AN_INTEGER, SYNTAX, Session, WRONG_TYPE, check};

#[test]
fn set_and_get() {
    check(&[
        ("GET k", "nil"),
        ("SET k v", "OK"),
        ("get K", "nil"),
        ("get k", "\"v\""),
        ("SET k ''", "OK"),
        ("GET k", "\"\""),
        ("SET k a NX", "nil"),
        ("SET other a XX", "nil"),
        ("SET k b XX GET", "\"\""),
        ("SET k c NX GET", "\"b\""),
        ("SET new c GET", "nil"),
        ("GET k", "\"b\""),
        ("SET k v NX XX", SYNTAX),
        ("SET k v XX NX", SYNTAX),
        ("SET k v EX 1 PX 1", SYNTAX),
        ("SET k v EX 1 KEEPTTL", SYNTAX),
        ("SET k v KEEPTTL EX 1", SYNTAX),
        ("SET k v EX", SYNTAX),
        ("SET k v NONSENSE", SYNTAX),
        ("SET k v EX 0", "ERR invalid expire time in 'set' command"),
        ("SET k v PX -1", "ERR invalid expire time in 'set' command"),
        (
            "SET k v EX 9223372036854775807",
            "ERR invalid expire time in 'set' command",
        ),
        ("SET k v EX x", NOT_AN_INTEGER),
        ("SET k", "ERR wrong number of arguments for 'set' command"),
        ("GET", "ERR wrong number of arguments for 'get' command"),
        ("GET k", "\"b\""),
        ("RPUSH list a", "1"),
        ("GET list", WRONG_TYPE),
        ("SET list v GET", WRONG_TYPE),
        ("SET list v", "OK"),
        ("TYPE list", "string"),
    ]);
}

#[test]
fn set_with_time_outs() {
    let mut session = Session::new();
    session.check(&[
        ("SET a v EX 10", "OK"),
        ("TTL a", "10"),
        ("SET b v PX 1500", "OK"),
        ("PTTL b", "1500"),
    ]);
    session.check(&[
        ("SET c v EXAT 1010", "OK"),
        ("PTTL c", "10000"),
        ("SET d v PXAT 1000001", "OK"),
    ]);
    session.check(&[
        ("SET a w KEEPTTL", "OK"),
        ("TTL a", "10"),
        ("SET past v EXAT 1", "OK"),
        ("GET past", "nil"),
    ]);
    session.wait(1499);
    session.check(&[("GET b", "\"v\""), ("GET d", "nil")]);
    session.wait(1);
    session.check(&[
        ("GET b", "nil"),
        ("EXISTS b", "0"),
        ("SET b w NX", "OK"),
        ("TTL b", "-1"),
    ]);
    session.check(&[
        ("SET a x", "OK"),
        ("TTL a", "-1"),
        ("SETEX a 5 y", "OK"),
        ("TTL a", "5"),
        ("GETSET a z", "\"y\""),
    ]);
    session.check(&[
        ("TTL a", "-1"),
        ("GETEX a EX 7", "\"z\""),
        ("TTL a", "7"),
        ("GETEX a PERSIST", "\"z\""),
    ]);
    session.check(&[
        ("TTL a", "-1"),
        ("SETEX a 0 y", "ERR invalid expire time in 'setex' command"),
    ]);
}

#[test]
fn counting() {
    check(&[
        ("INCR n", "1"),
        ("INCRBY n 41", "42"),
        ("DECR n", "41"),
        ("DECRBY n 50", "-9"),
        ("INCRBY n 99999999999999999999", NOT_AN_INTEGER),
        ("INCRBY n +1", NOT_AN_INTEGER),
        ("SET n 9223372036854775807", "OK"),
        ("INCR n", "ERR increment or decrement would overflow"),
        ("GET n", "\"9223372036854775807\""),
        ("DECRBY n -9223372036854775808", "ERR decrement would overflow"),
        ("SET n 1.5", "OK"),
        ("INCR n", NOT_AN_INTEGER),
        ("HSET h f v", "1"),
        ("INCR h", WRONG_TYPE),
    ]);
}

#[test]
fn counting_keeps_the_deadline() {
    check(&[
        ("SET n 1 EX 10", "OK"),
        ("INCR n", "2"),
        ("APPEND n 0", "2"),
        ("GET n", "\"20\""),
        ("TTL n", "10"),
    ]);
}

#[test]
fn many_at_once() {
    check(&[
        ("MSET a 1 b 2 a 3", "OK"),
        ("MGET a b c a", "[\"3\" \"2\" nil \"3\"]"),
        ("MSET a", "ERR wrong number of arguments for 'mset' command"),
        ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
        ("MSETNX c 1 a 2", "0"),
        ("MSETNX c 1 d 2", "1"),
        ("SADD s m", "1"),
        ("MGET s a", "[nil \"3\"]"),
    ]);
}

#[test]
fn parts() {
    check(&[
        ("APPEND k Hello", "5"),
        ("APPEND k World", "10"),
        ("STRLEN k", "10"),
        ("STRLEN none", "0"),
        ("GETRANGE k 0 4", "\"Hello\""),
        ("GETRANGE k -5 -1", "\"World\""),
        ("GETRANGE k 7 2", "\"\""),
        ("GETRANGE none 0 -1", "\"\""),
        ("GETDEL k", "\"HelloWorld\""),
        ("EXISTS k", "0"),
        ("SETNX k v", "1"),
        ("SETNX k v", "0"),
    ]);
}
