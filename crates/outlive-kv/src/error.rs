//! Redis's own error texts, as one enum.

/// Why a command was refused. The text is what the client sees after the `-`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The request is no array of bulk strings.
    #[error("ERR Protocol error: request is not a command")]
    NotACommand,
    /// No such command.
    #[error("ERR unknown command '{name}', with args beginning with: {args}")]
    Unknown {
        /// As the client wrote it.
        name: String,
        /// The first of its arguments, quoted.
        args: String,
    },
    /// No such subcommand.
    #[error("ERR unknown subcommand '{subcommand}'. Try {command} HELP.")]
    UnknownSubcommand {
        /// The command's name in capitals.
        command: &'static str,
        /// As the client wrote it.
        subcommand: String,
    },
    /// Too many or too few arguments.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    /// The key holds something else.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// An argument or stored value is no 64-bit integer.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// A count is negative.
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    /// An argument is no number.
    #[error("ERR value is not a valid float")]
    NotAFloat,
    /// A hash's value is no integer.
    #[error("ERR hash value is not an integer")]
    HashNotAnInteger,
    /// Options that do not fit together, or unknown ones.
    #[error("ERR syntax error")]
    Syntax,
    /// An addition would leave the 64-bit range.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// A decrement by the smallest integer.
    #[error("ERR decrement would overflow")]
    DecrementOverflow,
    /// An addition of infinities.
    #[error("ERR resulting score is not a number (NaN)")]
    NotANumber,
    /// A time-out that is not in the future or not representable.
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(&'static str),
    /// `EXPIRE` with options that exclude each other.
    #[error("ERR NX and XX, GT or LT options at the same time are not compatible")]
    ExpireOptions,
    /// `EXPIRE … GT LT`.
    #[error("ERR GT and LT options at the same time are not compatible")]
    ExpireGtLt,
    /// An option that `EXPIRE` does not have.
    #[error("ERR Unsupported option {0}")]
    UnsupportedOption(String),
    /// `ZADD NX XX`.
    #[error("ERR XX and NX options at the same time are not compatible")]
    ZaddNxXx,
    /// `ZADD` with two of GT, LT, NX.
    #[error("ERR GT, LT, and/or NX options at the same time are not compatible")]
    ZaddGtLtNx,
    /// `ZADD INCR` with more than one pair.
    #[error("ERR INCR option supports a single increment-element pair")]
    ZaddIncrPairs,
    /// A score range's border is no number.
    #[error("ERR min or max is not a float")]
    RangeNotAFloat,
    /// A lexical range's border starts with none of `(`, `[`, `-`, `+`.
    #[error("ERR min or max not valid string range item")]
    RangeNotAString,
    /// `LIMIT` with a range by index.
    #[error("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")]
    LimitByIndex,
    /// `WITHSCORES` with a lexical range.
    #[error("ERR syntax error, WITHSCORES not supported in combination with BYLEX")]
    ScoresByLex,
    /// The key must exist and does not.
    #[error("ERR no such key")]
    NoSuchKey,
    /// A list's index beyond its ends.
    #[error("ERR index out of range")]
    IndexOutOfRange,
    /// No number where `SCAN` wants its cursor.
    #[error("ERR invalid cursor")]
    InvalidCursor,
    /// A string would grow beyond what one snapshot or request may hold.
    #[error("ERR string exceeds maximum allowed size (512MB)")]
    TooLong,
    /// `AUTH`, where nobody is asked who they are.
    #[error(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
    )]
    NoPassword,
    /// A database other than 0.
    #[error("ERR DB index is out of range")]
    DatabaseIndex,
    /// `HELLO` with another version than 2 and 3.
    #[error("NOPROTO unsupported protocol version")]
    NoProtocol,
    /// `HELLO` with something else than a number.
    #[error("ERR Protocol version is not an integer or out of range")]
    ProtocolVersion,
    /// An option that `HELLO` does not have.
    #[error("ERR Syntax error in HELLO option '{0}'")]
    HelloOption(String),
    /// `CONFIG SET` of anything: there is nothing to configure at run time.
    #[error("ERR Unknown option or number of arguments for CONFIG SET - '{0}'")]
    ConfigSet(String),
    /// A name with spaces or line breaks.
    #[error("ERR Client names cannot contain spaces, newlines or special characters.")]
    ClientName,
    /// A library's name with spaces or line breaks.
    #[error("ERR {0} cannot contain spaces, newlines or special characters.")]
    ClientAttribute(String),
    /// `CLIENT SETINFO` of something else.
    #[error("ERR Unrecognized option '{0}'")]
    UnknownClientAttribute(String),
    /// A Sentinel command naming another pair.
    #[error("ERR No such master with that name")]
    NoSuchMaster,
    /// `OUTLIVE SESSION` with something that is no id.
    #[error("ERR invalid session id: 32 hexadecimal digits are expected")]
    SessionId,
    /// A numbered request on a connection without session.
    #[error("ERR no session: send OUTLIVE SESSION first")]
    NoSession,
}
