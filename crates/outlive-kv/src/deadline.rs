//! Time-outs given by clients, turned into deadlines.

use crate::error::CommandError;
use crate::number;

/// What a client's number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeout {
    /// `EX`: so many seconds from now.
    Seconds,
    /// `PX`: so many milliseconds from now.
    Millis,
    /// `EXAT`: a Unix time in seconds.
    AtSeconds,
    /// `PXAT`: a Unix time in milliseconds.
    AtMillis,
}

impl Timeout {
    /// The option of `SET` and `GETEX` with this name.
    pub(crate) fn option(word: &[u8]) -> Option<Self> {
        [
            ("EX", Self::Seconds),
            ("PX", Self::Millis),
            ("EXAT", Self::AtSeconds),
            ("PXAT", Self::AtMillis),
        ]
        .into_iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, timeout)| timeout)
    }

    /// The moment meant, in Unix milliseconds; it may lie in the past, and be negative.
    ///
    /// # Errors
    /// [`CommandError::NotAnInteger`], or [`CommandError::ExpireTime`] with the command's name where no
    /// 64-bit number holds it.
    pub(crate) fn moment_ms(
        self,
        text: &[u8],
        now_ms: u64,
        command: &'static str,
    ) -> Result<i64, CommandError> {
        let given = number::integer(text)?;
        let unit = match self {
            Self::Seconds | Self::AtSeconds => 1000,
            Self::Millis | Self::AtMillis => 1,
        };
        let base = match self {
            Self::Seconds | Self::Millis => i64::try_from(now_ms).unwrap_or(i64::MAX),
            Self::AtSeconds | Self::AtMillis => 0,
        };
        given
            .checked_mul(unit)
            .and_then(|ms| ms.checked_add(base))
            .ok_or(CommandError::ExpireTime(command))
    }

    /// As [`Self::moment_ms`], refusing numbers of zero and less.
    ///
    /// # Errors
    /// As [`Self::moment_ms`].
    pub(crate) fn deadline_ms(
        self,
        text: &[u8],
        now_ms: u64,
        command: &'static str,
    ) -> Result<u64, CommandError> {
        if number::integer(text)? <= 0 {
            return Err(CommandError::ExpireTime(command));
        }
        let moment = self.moment_ms(text, now_ms, command)?;
        u64::try_from(moment).map_err(|_| CommandError::ExpireTime(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_bounds() {
        assert_eq!(Timeout::Seconds.deadline_ms(b"2", 5, "set"), Ok(2005));
        assert_eq!(Timeout::AtMillis.deadline_ms(b"7", 5, "set"), Ok(7));
        assert_eq!(Timeout::Millis.moment_ms(b"-7", 5, "set"), Ok(-2));
        let refused = Err(CommandError::ExpireTime("set"));
        assert_eq!(Timeout::Seconds.deadline_ms(b"0", 5, "set"), refused);
        assert_eq!(
            Timeout::Seconds.deadline_ms(b"9223372036854775807", 5, "set"),
            refused
        );
        assert_eq!(
            Timeout::Millis.deadline_ms(b"9223372036854775807", 5, "set"),
            refused
        );
        assert_eq!(
            Timeout::Millis.deadline_ms(b"x", 5, "set"),
            Err(CommandError::NotAnInteger)
        );
    }
}
