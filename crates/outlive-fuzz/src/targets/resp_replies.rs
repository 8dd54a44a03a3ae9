//! What a server of the Redis protocol answers to our client: the parser is the `redis` crate's, which we rely on.

use redis::{Value, parse_redis_value};

use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "resp_replies",
    about: "replies in the Redis protocol, at our client",
    run,
    seeds,
    allowance_bytes: 1 << 20,
};

fn run(input: &[u8]) {
    match parse_redis_value(input) {
        Ok(value) => {
            let _ = redis::from_redis_value::<u64>(value.clone());
            let _ = redis::from_redis_value::<Vec<Option<String>>>(value.clone());
            drop::<Value>(value);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn seeds() -> Vec<Seed> {
    vec![
        ("status", b"+OK\r\n".to_vec()),
        ("error", b"-READONLY not primary  primary=host:1\r\n".to_vec()),
        ("number", b":42\r\n".to_vec()),
        ("nested", b"*3\r\n$3\r\nabc\r\n*2\r\n:1\r\n$-1\r\n+x\r\n".to_vec()),
        ("resp3", b"%1\r\n$1\r\na\r\n,1.5\r\n".to_vec()),
        ("count", b"*1000000000\r\n".to_vec()),
        ("length", b"$2147483647\r\nab".to_vec()),
    ]
}
