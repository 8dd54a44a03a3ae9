//! A snapshot of the key-value service: what it restores from it saves again, and works with.

use outlive_kv::{Kv, request};
use outlive_pair::{Moment, Service};

use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "kv_snapshot",
    about: "a snapshot of the key-value service",
    run,
    seeds,
    // Maps reserve up to a mebibyte for a count that is not yet checked by what follows, one inside the other.
    allowance_bytes: 8 << 20,
};

fn run(input: &[u8]) {
    let mut kv = Kv::default();
    if kv.restore(input).is_err() {
        return;
    }
    let saved = kv.snapshot();
    let mut again = Kv::default();
    again.restore(&saved).expect("its own snapshot");
    assert_eq!(again, kv);
    assert_eq!(again.snapshot(), saved);
    let commands: [&[&str]; 12] = [
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["DBSIZE"],
        &["SPOP", "s"],
        &["SADD", "s", "x"],
        &["ZADD", "z", "1", "x"],
        &["ZPOPMIN", "z"],
        &["ZRANGE", "z", "0", "-1", "WITHSCORES"],
        &["HSET", "h", "x", "1"],
        &["LPUSH", "l", "x"],
        &["APPEND", "a", "x"],
        &["FLUSHALL"],
    ];
    for words in commands {
        let (request, at) = (request::encode(words), Moment { unix_ms: 2_000_000 });
        assert_eq!(kv.apply(&request, at), again.apply(&request, at));
        assert_eq!(kv, again);
    }
}

fn seeds() -> Vec<Seed> {
    let scripts: [(&'static str, &[&[&str]]); 4] = [
        ("strings", &[&["SET", "a", "1"], &["SET", "b", "2", "PX", "5000"]]),
        (
            "sets-and-hashes",
            &[&["SADD", "s", "a", "b"], &["HSET", "h", "f", "v"]],
        ),
        ("lists", &[&["RPUSH", "l", "a", "b"]]),
        ("zsets", &[&["ZADD", "z", "1", "a", "2.5", "b", "-inf", "c"]]),
    ];
    let snapshot = |(name, script): (&'static str, &[&[&str]])| {
        let mut kv = Kv::default();
        for words in script {
            kv.apply(&request::encode(words), Moment { unix_ms: 1_000_000 });
        }
        (name, kv.snapshot())
    };
    scripts.into_iter().map(snapshot).collect()
}
