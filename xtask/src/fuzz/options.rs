//! What `cargo xtask fuzz` may be asked for.

/// Fuzzing of one target goes on for so long unless something else is asked for.
const SECONDS: u64 = 60;

pub(crate) const HELP: &str = "\
Fuzzes every decoder of bytes from outside, until a promise is broken or the time is over.

Usage: cargo xtask fuzz [OPTIONS] [TARGET]...

Options:
  --seconds N  for each target (60)
  --jobs N     targets at the same time (1)
  --keep       add what was new to fuzz/corpus, each target's reduced to what its coverage needs
  --list       show the targets, and do nothing
  --json       print the outcomes as JSON on standard output

Without a TARGET all are fuzzed. An input that breaks a promise is made as short as it gets, saved in fuzz/corpus, and
named with the command that replays it.

Exit codes: 0 nothing was found, 1 something was, or it could not be carried out, 2 wrong usage,
            3 skipped: a C++ compiler is missing
";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) seconds: u64,
    pub(crate) jobs: usize,
    pub(crate) keep: bool,
    pub(crate) list: bool,
    pub(crate) json: bool,
    pub(crate) targets: Vec<String>,
}

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut asked = Self {
            seconds: SECONDS,
            jobs: 1,
            keep: false,
            list: false,
            json: false,
            targets: Vec::new(),
        };
        let mut rest = arguments.iter();
        while let Some(word) = rest.next() {
            match *word {
                "--seconds" => asked.seconds = number(word, rest.next())?,
                "--jobs" => {
                    let jobs = number(word, rest.next())?;
                    asked.jobs = usize::try_from(jobs).map_err(|_| "--jobs is too high".to_owned())?;
                }
                "--keep" => asked.keep = true,
                "--list" => asked.list = true,
                "--json" => asked.json = true,
                unknown if unknown.starts_with('-') => return Err(format!("unknown option: {unknown}")),
                target => asked.targets.push(target.to_owned()),
            }
        }
        Ok(asked)
    }
}

fn number(option: &str, value: Option<&&str>) -> Result<u64, String> {
    let value = value.ok_or(format!("{option} needs a number"))?;
    match value.parse() {
        Ok(0) => Err(format!("{option} must be more than 0")),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("{option} needs a number, not {value}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused_by_name() {
        let asked = Options::parse(&["--seconds", "5", "control", "--jobs", "2", "--json", "medium"]);
        let asked = asked.expect("right usage");
        assert_eq!(
            (asked.seconds, asked.jobs, asked.json, asked.list),
            (5, 2, true, false)
        );
        assert_eq!(asked.targets, ["control", "medium"]);
        for wrong in [
            &["--seconds"][..],
            &["--seconds", "x"],
            &["--jobs", "0"],
            &["--fast"],
        ] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
