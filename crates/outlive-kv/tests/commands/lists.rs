use crate::{NOT_AN_INTEGER, SYNTAX, WRONG_TYPE, check};

const NOT_POSITIVE: &str = "ERR value is out of range, must be positive";

#[test]
fn pushing_and_popping() {
    check(&[
        ("RPUSH l a b c", "3"),
        ("LPUSH l x y", "5"),
        ("LRANGE l 0 -1", "[\"y\" \"x\" \"a\" \"b\" \"c\"]"),
        ("LPOP l", "\"y\""),
        ("RPOP l 2", "[\"c\" \"b\"]"),
        ("RPOP l 0", "[]"),
        ("LPOP l -1", NOT_POSITIVE),
        ("LPOP l x", NOT_POSITIVE),
        ("LPOP l 1 2", "ERR wrong number of arguments for 'lpop' command"),
        ("LPOP l 10", "[\"x\" \"a\"]"),
        ("EXISTS l", "0"),
        ("LPOP l", "nil"),
        ("LPOP l 1", "nil"),
        ("LPUSHX l a", "0"),
        ("RPUSHX l a", "0"),
        ("EXISTS l", "0"),
        ("SET s v", "OK"),
        ("RPUSH s a", WRONG_TYPE),
        ("LPOP s", WRONG_TYPE),
        ("LLEN s", WRONG_TYPE),
    ]);
}

#[test]
fn reading() {
    check(&[
        ("RPUSH l a b c", "3"),
        ("LLEN l", "3"),
        ("LLEN none", "0"),
        ("LRANGE l 1 1", "[\"b\"]"),
        ("LRANGE l -2 100", "[\"b\" \"c\"]"),
        ("LRANGE l 2 1", "[]"),
        ("LRANGE none 0 -1", "[]"),
        ("LRANGE l 0 x", NOT_AN_INTEGER),
        ("LINDEX l 0", "\"a\""),
        ("LINDEX l -1", "\"c\""),
        ("LINDEX l 3", "nil"),
        ("LINDEX l -4", "nil"),
        ("LINDEX none 0", "nil"),
    ]);
}

#[test]
fn changing() {
    check(&[
        ("LSET none 0 x", "ERR no such key"),
        ("RPUSH l a b a c a", "5"),
        ("LSET l 9 x", "ERR index out of range"),
        ("LSET l -4 B", "OK"),
        ("LREM l -2 a", "2"),
        ("LRANGE l 0 -1", "[\"a\" \"B\" \"c\"]"),
        ("LINSERT l BEFORE B x", "4"),
        ("LINSERT l AFTER c y", "5"),
        ("LINSERT l AFTER none y", "-1"),
        ("LINSERT none AFTER c y", "0"),
        ("LINSERT l BESIDE c y", SYNTAX),
        ("LRANGE l 0 -1", "[\"a\" \"x\" \"B\" \"c\" \"y\"]"),
        ("LTRIM l 1 -2", "OK"),
        ("LRANGE l 0 -1", "[\"x\" \"B\" \"c\"]"),
        ("LREM l 0 x", "1"),
        ("LREM l 5 none", "0"),
        ("LTRIM l 5 9", "OK"),
        ("EXISTS l", "0"),
    ]);
}
