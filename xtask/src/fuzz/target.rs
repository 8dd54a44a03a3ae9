//! Fuzzing of one target: a process of libFuzzer's, then what it found made short and kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::build::target_folder;
use super::options::Options;
use super::outcome::{Found, Outcome};
use crate::step::{Failure, root};

/// The longest input that is made: what is committed may not be longer than twice this.
const MAX_INPUT_BYTES: u32 = 8 << 10;
/// One input that takes longer hangs.
const INPUT_SECONDS: u32 = 25;
/// More memory than this is no fuzzing target's.
const MEMORY_MIB: u32 = 4096;
/// How long an input that was found is made shorter.
const SHORTENING_SECONDS: u32 = 30;

/// One target, under libFuzzer.
pub(super) struct Fuzzed<'a> {
    binary: &'a Path,
    name: &'a str,
    options: &'a Options,
    /// The committed inputs.
    corpus: PathBuf,
    /// This machine's: new inputs, and the log.
    work: PathBuf,
}

impl<'a> Fuzzed<'a> {
    pub(super) fn new(binary: &'a Path, name: &'a str, options: &'a Options) -> Self {
        Self {
            binary,
            name,
            options,
            corpus: root().join("fuzz/corpus").join(name),
            work: target_folder().join("found").join(name),
        }
    }

    pub(super) fn run(&self) -> Result<Outcome, Failure> {
        let (inputs, broken, log) = (
            self.work.join("inputs"),
            self.work.join("broken"),
            self.work.join("log"),
        );
        for folder in [&inputs, &broken] {
            fs::create_dir_all(folder).map_err(|error| self.failure(error))?;
        }
        eprintln!(
            "{:<16} for {} s, log in {}",
            self.name,
            self.options.seconds,
            log.display()
        );
        let begun = Instant::now();
        let mut command = self.libfuzzer();
        command
            .arg(format!("-max_total_time={}", self.options.seconds))
            .arg(format!("-max_len={MAX_INPUT_BYTES}"))
            .args(["-use_value_profile=1", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/", broken.display()))
            .args([&inputs, &self.corpus]);
        let ended_well = self.logged(&mut command, &log)?;
        let said = fs::read_to_string(&log).map_err(|error| self.failure(error))?;
        let mut outcome = Outcome::read(self.name, begun.elapsed().as_secs(), &said);
        if !ended_well {
            outcome.found = Some(self.keep_broken(&said)?);
        } else if self.options.keep {
            self.keep_new(&inputs)?;
        }
        outcome.corpus = fs::read_dir(&self.corpus)
            .map_err(|error| self.failure(error))?
            .count();
        eprintln!("{outcome}");
        Ok(outcome)
    }

    fn libfuzzer(&self) -> Command {
        let mut command = Command::new(self.binary);
        command
            .env("OUTLIVE_FUZZ_TARGET", self.name)
            .env("RUST_BACKTRACE", "1")
            .arg(format!("-timeout={INPUT_SECONDS}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
            .stdin(Stdio::null());
        command
    }

    /// Runs it with all that it says in `log`; whether it ended without having found anything.
    fn logged(&self, command: &mut Command, log: &Path) -> Result<bool, Failure> {
        let file = File::create(log).map_err(|error| self.failure(error))?;
        let too = file.try_clone().map_err(|error| self.failure(error))?;
        let status = command.stdout(file).stderr(too).status();
        Ok(status.map_err(|error| self.failure(error))?.success())
    }

    /// Makes the input that broke a promise as short as it gets, and puts it into the corpus.
    fn keep_broken(&self, said: &str) -> Result<Found, Failure> {
        let lines = || said.lines();
        let written = lines().find_map(|line| {
            line.split_once("Test unit written to ")
                .map(|(_, path)| path.trim())
        });
        let Some(written) = written.map(PathBuf::from) else {
            let last = lines().next_back().unwrap_or_default().to_owned();
            return Err(Failure::check(format!("fuzzing {}", self.name), last));
        };
        let hash = written
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let kept = self
            .corpus
            .join(format!("found-{}", hash.chars().take(20).collect::<String>()));
        fs::copy(&written, &kept).map_err(|error| self.failure(error))?;
        let shorter = self.work.join("shorter");
        let mut command = self.libfuzzer();
        command
            .args([
                "-minimize_crash=1",
                &format!("-max_total_time={SHORTENING_SECONDS}"),
            ])
            .arg(format!("-exact_artifact_path={}", shorter.display()))
            .arg(&written);
        self.logged(&mut command, &self.work.join("shortening.log"))?;
        if shorter.exists() {
            fs::rename(&shorter, &kept).map_err(|error| self.failure(error))?;
        }
        let at = lines().position(|line| line.contains("panicked at"));
        let why = at.map_or_else(
            || {
                lines()
                    .find(|line| line.contains("ERROR: libFuzzer"))
                    .unwrap_or("it ended")
                    .to_owned()
            },
            |at| lines().skip(at).take(2).collect::<Vec<_>>().join(" "),
        );
        Ok(Found {
            target: self.name.to_owned(),
            why,
            input: kept.display().to_string(),
            replay: format!(
                "cargo test -p outlive-fuzz --test corpus -- --exact {}",
                self.name
            ),
        })
    }

    /// Adds to the corpus what reaches further than what is there, and drops what another input makes unnecessary. Seeds and
    /// what was found once stay: they say what they are for.
    fn keep_new(&self, inputs: &Path) -> Result<(), Failure> {
        let merged = self.work.join("merged");
        let _ = fs::remove_dir_all(&merged);
        fs::create_dir_all(&merged).map_err(|error| self.failure(error))?;
        let mut command = self.libfuzzer();
        command
            .arg("-set_cover_merge=1")
            .args([&merged, &self.corpus, &inputs.to_owned()]);
        if !self.logged(&mut command, &self.work.join("merge.log"))? {
            return Err(Failure::check(
                format!("reducing the corpus of {}", self.name),
                "see merge.log",
            ));
        }
        let entries = |folder: &Path| -> Result<Vec<PathBuf>, Failure> {
            let entries = fs::read_dir(folder).map_err(|error| self.failure(error))?;
            entries
                .map(|entry| {
                    entry
                        .map(|entry| entry.path())
                        .map_err(|error| self.failure(error))
                })
                .collect()
        };
        for old in entries(&self.corpus)? {
            let name = old
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            if !["seed-", "found-", "regression-"]
                .iter()
                .any(|kept| name.starts_with(kept))
            {
                fs::remove_file(&old).map_err(|error| self.failure(error))?;
            }
        }
        for new in entries(&merged)? {
            let name = new.file_name().unwrap_or_default();
            fs::copy(&new, self.corpus.join(name)).map_err(|error| self.failure(error))?;
        }
        Ok(())
    }

    fn failure(&self, error: std::io::Error) -> Failure {
        Failure::check(format!("fuzzing {}", self.name), error)
    }
}
