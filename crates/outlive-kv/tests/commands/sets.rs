use crate::{Session, WRONG_TYPE, check};

#[test]
fn members() {
    check(&[
        ("SADD s a b a", "2"),
        ("SADD s c", "1"),
        ("SMEMBERS s", "[\"a\" \"b\" \"c\"]"),
        ("SMEMBERS none", "[]"),
        ("SCARD s", "3"),
        ("SISMEMBER s a", "1"),
        ("SISMEMBER s x", "0"),
        ("SMISMEMBER s a x", "[1 0]"),
        ("SREM s a x", "1"),
        ("SREM s b c", "2"),
        ("EXISTS s", "0"),
        ("SREM s a", "0"),
        ("SET t v", "OK"),
        ("SADD t a", WRONG_TYPE),
        ("SISMEMBER t a", WRONG_TYPE),
    ]);
}

#[test]
fn popping_takes_each_member_once() {
    let mut session = Session::new();
    session.check(&[("SPOP s", "nil"), ("SPOP s 1", "[]")]);
    let members: Vec<String> = (0..50).map(|n| format!("m{n}")).collect();
    session.ask(&format!("SADD s {}", members.join(" ")));
    let mut popped: Vec<String> = (0..40).map(|_| session.ask("SPOP s").replace('"', "")).collect();
    let rest = session.ask("SPOP s 100");
    popped.extend(
        rest.trim_matches(['[', ']'])
            .split(' ')
            .map(|member| member.replace('"', "")),
    );
    assert_ne!(popped, members, "the order is not the order of insertion");
    popped.sort();
    let mut members = members;
    members.sort();
    assert_eq!(popped, members);
    session.check(&[
        ("EXISTS s", "0"),
        ("SADD s a", "1"),
        ("SPOP s -1", "ERR value is out of range, must be positive"),
    ]);
}
