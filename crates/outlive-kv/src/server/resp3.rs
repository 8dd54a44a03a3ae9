//! Replies in RESP3, for clients that ask for it with `HELLO 3` and take nothing else.
//!
//! Replies are made, journalled and remembered in RESP2; a connection that speaks RESP3 has each of its own replies
//! put into RESP3's types on the way out, by the command that was asked.

use bytes::{BufMut, Bytes, BytesMut};

/// What a command's reply is in RESP3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As in RESP2, but for nulls.
    Plain,
    /// Fields and values in turn: a map.
    Map,
    /// An array of maps.
    Maps,
    Set,
    /// A number with a fraction.
    Double,
    Doubles,
    /// Members and scores in turn: an array of pairs.
    Scored,
    /// One member and its score.
    OneScored,
}

impl Shape {
    /// The shape of the reply to a command.
    pub(super) fn of(words: &[&[u8]]) -> Self {
        let upper = |at: usize| words.get(at).map(|word| word.to_ascii_uppercase());
        let has = |name: &[u8]| words.iter().skip(2).any(|word| word.eq_ignore_ascii_case(name));
        match (&upper(0).unwrap_or_default()[..], upper(1).as_deref()) {
            (b"HELLO" | b"HGETALL", _) | (b"CONFIG", Some(b"GET")) | (b"COMMAND", Some(b"DOCS")) => Self::Map,
            (b"SENTINEL", Some(b"MASTER")) => Self::Map,
            (b"SENTINEL", Some(b"MASTERS")) => Self::Maps,
            (b"SMEMBERS" | b"SPOP", _) => Self::Set,
            (b"ZSCORE" | b"ZINCRBY", _) => Self::Double,
            (b"ZADD", _) if has(b"INCR") => Self::Double,
            (b"ZMSCORE", _) => Self::Doubles,
            (b"ZPOPMIN" | b"ZPOPMAX", _) if words.len() < 3 => Self::OneScored,
            (b"ZPOPMIN" | b"ZPOPMAX", _) => Self::Scored,
            (b"ZRANGE" | b"ZREVRANGE" | b"ZRANGEBYSCORE" | b"ZREVRANGEBYSCORE", _) if has(b"WITHSCORES") => {
                Self::Scored
            }
            _ => Self::Plain,
        }
    }

    /// A whole RESP2 reply in RESP3. What is none is left as it is.
    pub(super) fn apply(self, resp2: Bytes) -> Bytes {
        let mut out = BytesMut::with_capacity(resp2.len() + 16);
        match self.convert(&resp2, &mut out) {
            Some([]) => out.freeze(),
            _ => resp2,
        }
    }

    /// Converts one value; returns what follows it.
    fn convert<'a>(self, input: &'a [u8], out: &mut BytesMut) -> Option<&'a [u8]> {
        let end = input.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, rest) = (input.get(1..end)?, &input[end + 2..]);
        let length = || std::str::from_utf8(line).ok()?.parse::<i64>().ok();
        match input.first()? {
            b'$' | b'*' if length()? < 0 => out.put_slice(b"_\r\n"),
            b'$' => {
                let length = usize::try_from(length()?).ok()?;
                let text = rest.get(..length)?;
                let rest = rest.get(length + 2..)?;
                if self == Self::Double {
                    out.put_u8(b',');
                    out.put_slice(text);
                    out.put_slice(b"\r\n");
                } else {
                    out.put_slice(&input[..input.len() - rest.len()]);
                }
                return Some(rest);
            }
            b'*' => return self.convert_items(usize::try_from(length()?).ok()?, rest, out),
            _ => out.put_slice(&input[..end + 2]),
        }
        Some(rest)
    }

    fn convert_items<'a>(self, count: usize, mut rest: &'a [u8], out: &mut BytesMut) -> Option<&'a [u8]> {
        let (sign, shown) = match self {
            Self::Map => ('%', count / 2),
            Self::Set => ('~', count),
            Self::Scored => ('*', count / 2),
            _ => ('*', count),
        };
        out.put_slice(format!("{sign}{shown}\r\n").as_bytes());
        for at in 0..count {
            let item = match self {
                Self::Maps => Self::Map,
                Self::Doubles => Self::Double,
                Self::Scored | Self::OneScored if at % 2 == 1 => Self::Double,
                _ => Self::Plain,
            };
            if self == Self::Scored && at % 2 == 0 {
                out.put_slice(b"*2\r\n");
            }
            rest = item.convert(rest, out)?;
        }
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(command: &str, resp2: &'static str) -> String {
        let words: Vec<_> = command.split(' ').map(str::as_bytes).collect();
        let converted = Shape::of(&words).apply(Bytes::from_static(resp2.as_bytes()));
        String::from_utf8(converted.to_vec())
            .expect("text")
            .replace("\r\n", " ")
    }

    #[test]
    fn each_command_answers_in_the_types_that_resp3_has_for_it() {
        assert_eq!(seen("GET a", "$-1\r\n"), "_ ");
        assert_eq!(seen("GET a", "$4\r\n\r\n\r\n\r\n"), "$4    ");
        assert_eq!(seen("LPOP a 1", "*-1\r\n"), "_ ");
        assert_eq!(seen("MGET a b", "*2\r\n$1\r\nx\r\n$-1\r\n"), "*2 $1 x _ ");
        assert_eq!(seen("hgetall h", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"), "%1 $1 a $1 b ");
        assert_eq!(
            seen("SENTINEL masters", "*1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
            "*1 %1 $1 a $1 b "
        );
        assert_eq!(seen("SMEMBERS s", "*1\r\n$1\r\na\r\n"), "~1 $1 a ");
        assert_eq!(seen("ZSCORE z a", "$3\r\n1.5\r\n"), ",1.5 ");
        assert_eq!(seen("ZADD z INCR 1 a", "$1\r\n1\r\n"), ",1 ");
        assert_eq!(seen("ZADD z 1 a", ":1\r\n"), ":1 ");
        assert_eq!(seen("ZMSCORE z a b", "*2\r\n$1\r\n1\r\n$-1\r\n"), "*2 ,1 _ ");
        let scored = "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$3\r\ninf\r\n";
        assert_eq!(
            seen("ZRANGE z 0 -1 withscores", scored),
            "*2 *2 $1 a ,1 *2 $1 b ,inf "
        );
        assert_eq!(seen("ZRANGE z 0 -1", "*1\r\n$1\r\na\r\n"), "*1 $1 a ");
        assert_eq!(seen("ZPOPMIN z", "*2\r\n$1\r\na\r\n$1\r\n1\r\n"), "*2 $1 a ,1 ");
        assert_eq!(seen("HGETALL h", "-WRONGTYPE x\r\n"), "-WRONGTYPE x ");
    }

    #[test]
    fn what_is_no_reply_is_left_as_it_is() {
        for broken in ["", "$5\r\nab", "*2\r\n:1\r\n", "*x\r\n", "$1\r\na\r\nmore\r\n"] {
            assert_eq!(seen("HGETALL h", broken), broken.replace("\r\n", " "));
        }
    }
}
