//! The long campaign of simulated power cuts: `docs/testing.md` says what it does.

use crate::step::{self, Failure, cargo, shown};

/// What the campaign may be asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CrashStates {
    /// The first seed.
    seed: Option<u64>,
    /// Stop after so many distinct crash states.
    states: Option<u64>,
}

impl CrashStates {
    /// Reads `--seed N` and `--states N`.
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut asked = Self::default();
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let place = match *option {
                "--seed" => &mut asked.seed,
                "--states" => &mut asked.states,
                unknown => return Err(format!("unknown option: {unknown}")),
            };
            let value = rest.next().ok_or(format!("{option} needs a number"))?;
            let number = value.parse();
            *place = Some(number.map_err(|_| format!("{option} needs a number, not {value}"))?);
        }
        Ok(asked)
    }

    /// Runs it, in a release build.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        step::run("crash states", || {
            let mut command = cargo(&[
                "test",
                "--release",
                "--locked",
                "--package",
                "outlive-media",
                "--test",
                "power",
                "--",
                "--ignored",
                "--exact",
                "--nocapture",
                "long::long_campaign",
            ]);
            let variables = [
                ("OUTLIVE_CRASH_SEED", self.seed),
                ("OUTLIVE_CRASH_STATES", self.states),
            ];
            for (name, value) in variables {
                if let Some(value) = value {
                    command.env(name, value.to_string());
                }
            }
            shown(&mut command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused_by_name() {
        assert_eq!(CrashStates::parse(&[]), Ok(CrashStates::default()));
        let both = CrashStates {
            seed: Some(7),
            states: Some(1000),
        };
        assert_eq!(CrashStates::parse(&["--states", "1000", "--seed", "7"]), Ok(both));
        for wrong in [&["--seed"][..], &["--seed", "x"], &["--speed", "1"], &["7"]] {
            assert!(CrashStates::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
