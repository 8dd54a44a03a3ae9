//! What a command answers, and how that looks on the wire.

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::{encode::extend_encode, types::BytesFrame};

use crate::error::CommandError;

/// A reply in RESP2's types.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// `+OK` and its like.
    Status(&'static str),
    /// `-ERR …`.
    Error(String),
    /// `:1`.
    Int(i64),
    /// `$3`, any bytes.
    Bulk(Bytes),
    /// `$-1`: no value.
    Nil,
    /// `*-1`: no list (only ever a whole reply, never inside another).
    NilArray,
    /// `*2`.
    Array(Vec<Reply>),
}

impl Reply {
    /// `+OK`.
    pub(crate) const OK: Self = Self::Status("OK");

    /// A bulk string.
    pub(crate) fn bulk(value: impl AsRef<[u8]>) -> Self {
        Self::Bulk(Bytes::copy_from_slice(value.as_ref()))
    }

    /// A bulk string, or nil.
    pub(crate) fn maybe(value: Option<impl AsRef<[u8]>>) -> Self {
        value.map_or(Self::Nil, Self::bulk)
    }

    /// A number of things; there are never more than an `i64` holds.
    pub(crate) fn count(n: usize) -> Self {
        Self::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }

    /// 1 or 0.
    pub(crate) fn flag(yes: bool) -> Self {
        Self::Int(i64::from(yes))
    }

    /// An array of bulk strings.
    pub(crate) fn bulks<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::Array(values.into_iter().map(Self::bulk).collect())
    }

    /// The bytes that go to the client.
    pub(crate) fn encode(self) -> Bytes {
        if self == Self::NilArray {
            return Bytes::from_static(b"*-1\r\n");
        }
        let mut out = BytesMut::new();
        extend_encode(&mut out, &self.into_frame(), false)
            .expect("an extensible buffer has room for any frame");
        out.freeze()
    }

    fn into_frame(self) -> BytesFrame {
        match self {
            Self::Status(text) => BytesFrame::SimpleString(Bytes::from_static(text.as_bytes())),
            // A line break inside an error would end it early and desynchronise the client.
            Self::Error(text) => BytesFrame::Error(text.replace(['\r', '\n'], " ").into()),
            Self::Int(n) => BytesFrame::Integer(n),
            Self::Bulk(bytes) => BytesFrame::BulkString(bytes),
            Self::Nil | Self::NilArray => BytesFrame::Null,
            Self::Array(items) => BytesFrame::Array(items.into_iter().map(Self::into_frame).collect()),
        }
    }
}

impl From<CommandError> for Reply {
    fn from(error: CommandError) -> Self {
        Self::Error(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_each_type_as_redis_does() {
        let nested = Reply::Array(vec![
            Reply::Int(i64::MIN),
            Reply::bulk("ab"),
            Reply::Nil,
            Reply::Array(vec![]),
        ]);
        assert_eq!(
            &nested.encode()[..],
            b"*4\r\n:-9223372036854775808\r\n$2\r\nab\r\n$-1\r\n*0\r\n"
        );
        assert_eq!(&Reply::NilArray.encode()[..], b"*-1\r\n");
        assert_eq!(&Reply::OK.encode()[..], b"+OK\r\n");
        assert_eq!(&Reply::Error("ERR a\r\nb".into()).encode()[..], b"-ERR a  b\r\n");
    }
}
