//! The checkpoint workload: the command line appends and saves, is killed meanwhile, and what it printed a receipt for
//! is there.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::process::Program;
use crate::random::Random;

/// A command that takes longer hangs: each gives up by itself long before.
const HANGS: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(30);
/// Exit codes that say that something was lost or is wrong: wrong usage, no such region, corrupt, media failed, found, panic.
const NEVER: [i32; 6] = [2, 3, 11, 12, 13, 101];
const WRONG_SHOWN: usize = 20;

/// What is known of the region.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Ledger {
    /// Numbers that were given to a command; from 0.
    pub sent: u64,
    /// Commands that printed a receipt.
    pub acknowledged: u64,
    /// Commands that failed or were killed: nobody knows.
    pub unknown: u64,
    /// Commands that were killed on purpose.
    pub killed: u64,
    /// Everything that is wrong.
    pub wrong: Vec<String>,
    /// Numbers whose receipt was printed.
    #[serde(skip)]
    there: BTreeSet<u64>,
    /// Generation and sequence of the last receipt.
    #[serde(skip)]
    last: (u64, u64),
}

/// How a command ended.
struct Ended {
    /// `None`: killed.
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ledger {
    /// One more command, chosen at random; `kill_after`: it is killed after this time, if it has not ended.
    pub(crate) fn step(
        &mut self,
        program: &dyn Fn(&[&str]) -> Program,
        random: &mut Random,
        kill_after: Option<Duration>,
    ) {
        std::thread::sleep(PAUSE);
        if random.permille(150) {
            return self.look(program);
        }
        let number = self.sent;
        self.sent += 1;
        // A save holds everything that must be there: it replaces the rest.
        let save = random.permille(100);
        let verb = if save { "save" } else { "append" };
        let mut payload = String::new();
        if save {
            for there in &self.there {
                payload += &format!("{there}\n");
            }
        }
        payload += &format!("{number}\n");
        let region = crate::system::LEDGER;
        let arguments = [verb, region, "-", "--take-over", "--json", "--retry-for", "1s"];
        match run(&program(&arguments), payload.as_bytes(), kill_after) {
            Err(error) => self.note(format!("outlive {verb}: {error}")),
            Ok(Ended {
                code: Some(0),
                stdout,
                ..
            }) => self.acknowledge(number, &stdout),
            Ok(ended) => {
                self.unknown += 1;
                self.killed += u64::from(ended.code.is_none());
                self.judge_failure(verb, &ended);
            }
        }
    }

    /// Reads everything and compares.
    pub(crate) fn look(&mut self, program: &dyn Fn(&[&str]) -> Program) {
        let load = program(&[
            "load",
            crate::system::LEDGER,
            "--all",
            "--json",
            "--retry-for",
            "1s",
        ]);
        match run(&load, b"", None) {
            Err(error) => self.note(format!("outlive load: {error}")),
            Ok(Ended {
                code: Some(0),
                stdout,
                ..
            }) => self.compare(&stdout),
            Ok(ended) => self.judge_failure("load", &ended),
        }
    }

    /// As [`look`](Self::look), when nothing is wrong any more: it must succeed.
    pub(crate) fn last_look(&mut self, program: &dyn Fn(&[&str]) -> Program) {
        let load = program(&["load", crate::system::LEDGER, "--all", "--json"]);
        match run(&load, b"", None) {
            Ok(Ended {
                code: Some(0),
                stdout,
                ..
            }) => self.compare(&stdout),
            Ok(ended) => self.note(format!(
                "the last load failed: code {:?}: {}",
                ended.code, ended.stderr
            )),
            Err(error) => self.note(format!("outlive load: {error}")),
        }
    }

    fn acknowledge(&mut self, number: u64, receipt: &str) {
        let receipt: Value = serde_json::from_str(receipt).unwrap_or_default();
        let (Some(generation), Some(sequence)) =
            (receipt["generation"].as_u64(), receipt["sequence"].as_u64())
        else {
            return self.note(format!("not a receipt: {receipt}"));
        };
        self.acknowledged += 1;
        self.there.insert(number);
        if (generation, sequence) <= self.last || generation < self.last.0 || sequence <= self.last.1 {
            let (last_generation, last_sequence) = self.last;
            self.note(format!(
                "receipt for generation {generation}, sequence {sequence} after {last_generation}, {last_sequence}"
            ));
        }
        self.last = (generation, sequence);
    }

    /// `load --all --json`: a line for each set.
    fn compare(&mut self, loaded: &str) {
        let mut found: Vec<u64> = Vec::new();
        for line in loaded.lines() {
            let set: Value = serde_json::from_str(line).unwrap_or_default();
            let Some(text) = set["text"].as_str() else {
                self.note(format!("a set without text: {line}"));
                continue;
            };
            for number in text.lines() {
                match number.parse() {
                    Ok(number) => found.push(number),
                    Err(_) => self.note(format!("a line that was never written: {number:?}")),
                }
            }
        }
        let distinct: BTreeSet<u64> = found.iter().copied().collect();
        if distinct.len() != found.len() {
            self.note(format!("something is there twice: {found:?}"));
        }
        let lost: Vec<u64> = self.there.difference(&distinct).copied().collect();
        if !lost.is_empty() {
            self.note(format!("acknowledged and lost: {lost:?}"));
        }
        let sent = self.sent;
        if let Some(unexpected) = distinct.iter().find(|number| **number >= sent) {
            self.note(format!("never written: {unexpected}"));
        }
    }

    fn judge_failure(&mut self, verb: &str, ended: &Ended) {
        if ended.code.is_some_and(|code| NEVER.contains(&code)) {
            self.note(format!(
                "outlive {verb}: code {:?}: {}",
                ended.code,
                ended.stderr.trim()
            ));
        }
    }

    fn note(&mut self, wrong: String) {
        if self.wrong.len() < WRONG_SHOWN {
            self.wrong.push(wrong);
        }
    }
}

fn run(program: &Program, input: &[u8], kill_after: Option<Duration>) -> Result<Ended, String> {
    let mut child = program
        .command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A command that does not read it has failed, and says why.
        std::thread::spawn(move || stdin.write_all(&input));
    }
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let code = await_end(&mut child, kill_after)?;
    Ok(Ended {
        code,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is what there is.
            let _ = pipe.read_to_string(&mut text);
        }
        text
    })
}

fn await_end(child: &mut Child, kill_after: Option<Duration>) -> Result<Option<i32>, String> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.code()),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
        if kill_after.is_some_and(|after| begun.elapsed() >= after) || begun.elapsed() > HANGS {
            let _ = child.kill();
            let _ = child.wait();
            if begun.elapsed() > HANGS {
                return Err(format!("hung for {} s", HANGS.as_secs()));
            }
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(generation: u64, sequence: u64) -> String {
        format!("{{\"generation\":{generation},\"sequence\":{sequence}}}")
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger {
            sent: 4,
            ..Ledger::default()
        };
        ledger.acknowledge(0, &receipt(1, 1));
        ledger.acknowledge(1, &receipt(2, 3));
        assert_eq!(ledger.wrong, [""; 0]);
        ledger
    }

    fn wrong_after(loaded: &str) -> Vec<String> {
        let mut ledger = ledger();
        ledger.compare(loaded);
        ledger.wrong
    }

    #[test]
    fn what_was_acknowledged_is_there_and_the_rest_may_be() {
        assert!(wrong_after("{\"text\":\"0\\n1\\n\"}\n").is_empty());
        assert!(wrong_after("{\"text\":\"0\\n\"}\n{\"text\":\"1\\n\"}\n{\"text\":\"3\\n\"}\n").is_empty());
    }

    #[test]
    fn a_lost_a_doubled_and_an_unknown_set_are_caught() {
        assert!(wrong_after("{\"text\":\"0\\n\"}\n")[0].contains("lost: [1]"));
        assert!(wrong_after("{\"text\":\"0\\n1\\n\"}\n{\"text\":\"1\\n\"}\n")[0].contains("twice"));
        assert!(wrong_after("{\"text\":\"0\\n1\\n9\\n\"}\n")[0].contains("never written: 9"));
        assert!(wrong_after("{\"text\":\"0\\n1\\nx\\n\"}\n")[0].contains("never written"));
    }

    #[test]
    fn receipts_that_do_not_go_up_are_caught() {
        let mut ledger = ledger();
        ledger.acknowledge(2, &receipt(2, 3));
        assert!(ledger.wrong[0].contains("after 2, 3"), "{:?}", ledger.wrong);
        ledger.acknowledge(3, "{}");
        assert!(ledger.wrong[1].contains("not a receipt"));
    }
}
