//! Numbers as Redis reads and writes them.

use crate::error::CommandError;

/// Reads a signed integer as strictly as Redis: no plus sign, no leading zeros, no spaces.
///
/// # Errors
/// [`CommandError::NotAnInteger`].
pub(crate) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let strict = match digits {
        b"0" => text == b"0",
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    std::str::from_utf8(text)
        .ok()
        .filter(|_| strict)
        .and_then(|text| text.parse().ok())
        .ok_or(CommandError::NotAnInteger)
}

/// Reads a count: an integer of zero or more.
///
/// # Errors
/// [`CommandError::NotPositive`], also where it is no integer at all (as Redis).
pub(crate) fn count(text: &[u8]) -> Result<usize, CommandError> {
    integer(text)
        .ok()
        .and_then(|n| usize::try_from(n).ok())
        .ok_or(CommandError::NotPositive)
}

/// Reads a float: decimal or `inf`; never NaN, never rounded to infinity or to zero.
///
/// # Errors
/// [`CommandError::NotAFloat`].
pub(crate) fn float(text: &[u8]) -> Result<f64, CommandError> {
    let text = std::str::from_utf8(text).map_err(|_| CommandError::NotAFloat)?;
    let value: f64 = text.parse().map_err(|_| CommandError::NotAFloat)?;
    let written_infinite = text.contains(['n', 'N']);
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let rounded_away = value == 0.0 && mantissa.contains(|c: char| ('1'..='9').contains(&c));
    if value.is_nan() || (value.is_infinite() && !written_infinite) || rounded_away {
        return Err(CommandError::NotAFloat);
    }
    Ok(value)
}

/// Writes a float with the fewest digits that read back as the same number, in Redis 7.2's notation
/// (`3`, `0.1`, `1e+20`, `inf`).
pub(crate) fn float_text(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} writes an integer exponent");
    let digits = i32::try_from(mantissa.bytes().filter(u8::is_ascii_digit).count()).unwrap_or(i32::MAX);
    let scale = exponent - digits + 1;
    let plain = if scale >= 0 {
        exponent < digits + 7
    } else {
        scale > -7 || exponent.abs() < 4
    };
    if plain {
        format!("{value}")
    } else {
        format!(
            "{mantissa}e{}{}",
            if exponent < 0 { '-' } else { '+' },
            exponent.abs()
        )
    }
}

/// Index range `start..=stop` of a sequence of `len`, negative ones from its end, as half-open positions.
/// Empty ranges come out as `0..0`.
pub(crate) fn index_range(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let signed_len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_end = |index: i64| {
        if index < 0 {
            index.saturating_add(signed_len)
        } else {
            index
        }
    };
    let start = from_end(start).max(0);
    let stop = from_end(stop).min(signed_len - 1);
    match (usize::try_from(start), usize::try_from(stop)) {
        (Ok(start), Ok(stop)) if start <= stop => start..stop + 1,
        _ => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_strict() {
        for (text, value) in [
            ("0", 0),
            ("-1", -1),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text.as_bytes()), Ok(value));
        }
        for text in [
            "",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "9223372036854775808",
            "1.0",
            "-",
            "0x1",
            "\u{661}",
        ] {
            assert_eq!(
                integer(text.as_bytes()),
                Err(CommandError::NotAnInteger),
                "{text:?}"
            );
        }
    }

    #[test]
    fn floats_refuse_what_they_cannot_hold() {
        assert_eq!(float(b"-inf"), Ok(f64::NEG_INFINITY));
        assert_eq!(float(b"1e5"), Ok(100_000.0));
        assert_eq!(float(b"0e9"), Ok(0.0));
        for text in ["nan", "", "1e400", "1e-400", "x", "1 "] {
            assert_eq!(float(text.as_bytes()), Err(CommandError::NotAFloat), "{text:?}");
        }
    }

    #[test]
    fn floats_are_written_as_redis_writes_them() {
        for (value, text) in [
            (3.0, "3"),
            (-0.5, "-0.5"),
            (3.1, "3.1"),
            (1e20, "1e+20"),
            (1e-6, "0.000001"),
            (1e21, "1e+21"),
            (1.5e-9, "1.5e-9"),
            (1e-7, "1e-7"),
            (f64::NEG_INFINITY, "-inf"),
            (12_345_678_901_234_568.0, "12345678901234568"),
        ] {
            assert_eq!(float_text(value), text);
            assert_eq!(float_text(value).parse(), Ok(value));
        }
    }

    #[test]
    fn index_ranges_clamp() {
        assert_eq!(index_range(0, -1, 3), 0..3);
        assert_eq!(index_range(-100, 100, 3), 0..3);
        assert_eq!(index_range(2, 1, 3), 0..0);
        assert_eq!(index_range(0, -1, 0), 0..0);
        assert_eq!(index_range(i64::MIN, i64::MAX, 2), 0..2);
        assert_eq!(index_range(-1, -1, 2), 1..2);
    }
}
