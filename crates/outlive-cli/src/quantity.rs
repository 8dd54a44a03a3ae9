//! Sizes and times as people type them.

use std::time::Duration;

/// Longest time that an option takes: a year. Beyond it deadlines overflow on some clocks.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is done again and again pauses in between.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
/// A certificate's time is told in seconds.
const SHORTEST_VALIDITY: Duration = Duration::from_secs(1);
/// Nothing outlives the development authority.
const LONGEST_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// `4096`, `64MiB`, `1GB`, `16k`. Units without `i` are decimal.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let bytes = parse_size::parse_size(text).map_err(|error| format!("{error}; write for example 64MiB"))?;
    if bytes == 0 {
        Err("must be more than 0".to_owned())
    } else {
        Ok(bytes)
    }
}

/// `250ms`, `5s`, `2m`, `1h`; a bare number is seconds.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let time = parse_any_time(text)?;
    if time > LONGEST {
        Err("must not be longer than a year".to_owned())
    } else {
        Ok(time)
    }
}

/// As [`parse_time`], of what is done again and again.
pub(crate) fn parse_interval(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?;
    if time < SHORTEST_INTERVAL {
        Err("must not be shorter than a millisecond; write for example 1h".to_owned())
    } else {
        Ok(time)
    }
}

/// How long a certificate is valid: `12h`, `365d`.
pub(crate) fn parse_validity(text: &str) -> Result<Duration, String> {
    let time = parse_any_time(text)?;
    if time < SHORTEST_VALIDITY {
        Err("must not be shorter than a second".to_owned())
    } else if time > LONGEST_VALIDITY {
        Err("must not be longer than ten years".to_owned())
    } else {
        Ok(time)
    }
}

fn parse_any_time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds_in_unit = match unit.trim() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        other => return Err(format!("unknown unit {other:?}; write for example 250ms, 5s, 2m")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a time; write for example 5s"))?;
    Duration::try_from_secs_f64(number * seconds_in_unit).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_understood() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1GB"), Ok(1_000_000_000));
        assert_eq!(parse_size("4096"), Ok(4096));
        for wrong in ["", "0", "lots", "-1", "1XB", "99999999999999999999GiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_are_understood() {
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_time("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_time("2 m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_interval("1ms"), Ok(Duration::from_millis(1)));
        for wrong in ["0", "0s", "999us", "9999999h"] {
            assert!(parse_interval(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "ms", "5 parsecs", "-3s", "1e400", "9999999h", ".", "1.2.3s"] {
            assert!(parse_time(wrong).is_err(), "{wrong:?}");
        }
    }
}
