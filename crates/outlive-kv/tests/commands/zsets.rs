use crate::{NOT_AN_INTEGER, SYNTAX, WRONG_TYPE, check};

const NOT_A_FLOAT: &str = "ERR value is not a valid float";

#[test]
fn adding() {
    check(&[
        ("ZADD z 1 a 2 b 1 a", "2"),
        ("ZADD z CH 3 a 2 b", "1"),
        ("ZADD z NX 9 a 4 c", "1"),
        ("ZADD z XX 5 none 4 a", "0"),
        ("ZADD z GT CH 1 a 7 b", "1"),
        ("ZADD z LT CH 1 a 9 b", "1"),
        (
            "ZRANGE z 0 -1 WITHSCORES",
            "[\"a\" \"1\" \"c\" \"4\" \"b\" \"7\"]",
        ),
        ("ZADD z INCR 0.5 a", "\"1.5\""),
        ("ZADD z NX INCR 1 a", "nil"),
        ("ZADD z XX INCR 1 none", "nil"),
        (
            "ZADD z NX XX 1 a",
            "ERR XX and NX options at the same time are not compatible",
        ),
        (
            "ZADD z GT LT 1 a",
            "ERR GT, LT, and/or NX options at the same time are not compatible",
        ),
        (
            "ZADD z GT NX 1 a",
            "ERR GT, LT, and/or NX options at the same time are not compatible",
        ),
        (
            "ZADD z INCR 1 a 2 b",
            "ERR INCR option supports a single increment-element pair",
        ),
        ("ZADD z 1 a 2", SYNTAX),
        ("ZADD z XX 1", SYNTAX),
        ("ZADD z x a", NOT_A_FLOAT),
        ("ZADD z 1 d nan e", NOT_A_FLOAT),
        ("ZSCORE z d", "nil"),
        ("ZADD z inf d", "1"),
        ("ZADD z INCR -inf d", "ERR resulting score is not a number (NaN)"),
        ("ZADD none XX 1 a", "0"),
        ("EXISTS none", "0"),
        ("SET s v", "OK"),
        ("ZADD s 1 a", WRONG_TYPE),
        ("ZINCRBY z 2 a", "\"3.5\""),
        ("ZINCRBY z x a", NOT_A_FLOAT),
    ]);
}

#[test]
fn reading_and_removing() {
    check(&[
        ("ZADD z 1 a 2 b 3 c", "3"),
        ("ZSCORE z b", "\"2\""),
        ("ZSCORE z none", "nil"),
        ("ZMSCORE z a none", "[\"1\" nil]"),
        ("ZCARD z", "3"),
        ("ZCARD none", "0"),
        ("ZRANK z c", "2"),
        ("ZREVRANK z c", "0"),
        ("ZRANK z none", "nil"),
        ("ZCOUNT z (1 +inf", "2"),
        ("ZPOPMIN z", "[\"a\" \"1\"]"),
        ("ZPOPMAX z 1", "[\"c\" \"3\"]"),
        ("ZPOPMIN none", "[]"),
        ("ZREM z none b", "1"),
        ("EXISTS z", "0"),
        ("ZREM z b", "0"),
    ]);
}

#[test]
fn ranges_by_index() {
    check(&[
        ("ZADD z 1 a 1 b 2 c 3 d", "4"),
        ("ZRANGE z 0 1", "[\"a\" \"b\"]"),
        ("ZRANGE z -2 -1 WITHSCORES", "[\"c\" \"2\" \"d\" \"3\"]"),
        ("ZRANGE z 0 1 REV", "[\"d\" \"c\"]"),
        ("ZREVRANGE z 0 0 WITHSCORES", "[\"d\" \"3\"]"),
        ("ZRANGE z 5 9", "[]"),
        ("ZRANGE none 0 -1", "[]"),
        ("ZRANGE z 0 x", NOT_AN_INTEGER),
        ("ZRANGE z 0 1 FOO", SYNTAX),
        (
            "ZRANGE z 0 1 LIMIT 0 1",
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ),
    ]);
}

#[test]
fn ranges_by_score() {
    check(&[
        ("ZADD z 1 a 2 b 3 c 4 d", "4"),
        ("ZRANGE z 2 3 BYSCORE", "[\"b\" \"c\"]"),
        ("ZRANGE z (2 +inf BYSCORE WITHSCORES", "[\"c\" \"3\" \"d\" \"4\"]"),
        ("ZRANGE z 3 (1 BYSCORE REV", "[\"c\" \"b\"]"),
        ("ZRANGE z -inf +inf BYSCORE LIMIT 1 2", "[\"b\" \"c\"]"),
        ("ZRANGE z -inf +inf BYSCORE LIMIT 1 -1", "[\"b\" \"c\" \"d\"]"),
        ("ZRANGE z -inf +inf BYSCORE LIMIT -1 2", "[]"),
        ("ZRANGEBYSCORE z 1 2 WITHSCORES LIMIT 0 1", "[\"a\" \"1\"]"),
        ("ZREVRANGEBYSCORE z 4 3", "[\"d\" \"c\"]"),
        ("ZRANGE z a b BYSCORE", "ERR min or max is not a float"),
        ("ZRANGE z 1 2 BYSCORE LIMIT 0", SYNTAX),
        ("ZRANGEBYSCORE z 1 2 REV", SYNTAX),
    ]);
}

#[test]
fn ranges_by_bytes() {
    check(&[
        ("ZADD z 0 a 0 b 0 c 0 d", "4"),
        ("ZRANGE z - + BYLEX", "[\"a\" \"b\" \"c\" \"d\"]"),
        ("ZRANGE z [b (d BYLEX", "[\"b\" \"c\"]"),
        ("ZRANGE z + [c BYLEX REV", "[\"d\" \"c\"]"),
        ("ZRANGE z - + BYLEX LIMIT 1 1", "[\"b\"]"),
        ("ZRANGE z + - BYLEX", "[]"),
        ("ZRANGE z a b BYLEX", "ERR min or max not valid string range item"),
        (
            "ZRANGE z - + BYLEX WITHSCORES",
            "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
        ),
    ]);
}
