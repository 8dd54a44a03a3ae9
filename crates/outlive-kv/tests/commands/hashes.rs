use crate::{NOT_AN_INTEGER, WRONG_TYPE, check};

#[test]
fn fields() {
    check(&[
        ("HSET h a 1 b 2 a 3", "2"),
        ("HSET h a 4", "0"),
        ("HGET h a", "\"4\""),
        ("HGET h none", "nil"),
        ("HGET none a", "nil"),
        ("HMGET h a none b", "[\"4\" nil \"2\"]"),
        ("HGETALL h", "[\"a\" \"4\" \"b\" \"2\"]"),
        ("HKEYS h", "[\"a\" \"b\"]"),
        ("HVALS h", "[\"4\" \"2\"]"),
        ("HGETALL none", "[]"),
        ("HLEN h", "2"),
        ("HLEN none", "0"),
        ("HEXISTS h a", "1"),
        ("HEXISTS h none", "0"),
        ("HSTRLEN h a", "1"),
        ("HSETNX h a 9", "0"),
        ("HSETNX h c 9", "1"),
        ("HSET h a", "ERR wrong number of arguments for 'hset' command"),
        ("HSET h a 1 b", "ERR wrong number of arguments for 'hset' command"),
        ("HMSET h a 1", "OK"),
        ("HDEL h a none c", "2"),
        ("HDEL h b", "1"),
        ("EXISTS h", "0"),
        ("HDEL h b", "0"),
        ("SET s v", "OK"),
        ("HSET s a 1", WRONG_TYPE),
        ("HGETALL s", WRONG_TYPE),
    ]);
}

#[test]
fn counting() {
    check(&[
        ("HINCRBY h n 5", "5"),
        ("HINCRBY h n -7", "-2"),
        ("HINCRBY h n x", NOT_AN_INTEGER),
        ("HSET h t text m 9223372036854775807", "2"),
        ("HINCRBY h t 1", "ERR hash value is not an integer"),
        ("HINCRBY h m 1", "ERR increment or decrement would overflow"),
        ("HINCRBY none n x", NOT_AN_INTEGER),
        ("EXISTS none", "0"),
    ]);
}
