//! Running the list on several providers, and the table that says how it went.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::{Case, Harness, Unable, cases};

/// Cases that run at the same time: enough that those which wait do not add up.
const AT_ONCE: usize = 4;
/// A case that takes longer hangs. Each wait inside a case ends after 30 s at the latest.
const HANGS: Duration = Duration::from_secs(150);

/// A provider that is to pass the list.
pub struct Provider {
    name: &'static str,
    cases: Vec<Case>,
    /// What it is known to be unable to show.
    unable: &'static [&'static str],
}

/// How one case went on one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider conforms.
    Passed,
    /// It does not, and why.
    Failed(String),
    /// It cannot be shown here, for this reason, and that was known.
    Unable(String),
}

/// How the list went.
pub struct Report {
    providers: Vec<&'static str>,
    rows: Vec<Row>,
}

struct Row {
    theme: &'static str,
    name: &'static str,
    verdicts: Vec<Verdict>,
}

impl Provider {
    /// The provider that `H` reaches.
    pub fn of<H: Harness>(name: &'static str) -> Self {
        Self {
            name,
            cases: cases::<H>(),
            unable: &[],
        }
    }

    /// Cases that it may answer with [`Unable`], and must: a name that is none, or a case that passes after all, counts as failed.
    #[must_use]
    pub fn unable(mut self, cases: &'static [&'static str]) -> Self {
        self.unable = cases;
        self
    }
}

/// Runs every case whose name contains `filter` on every provider.
///
/// # Panics
/// When no thread can be started.
pub fn run(providers: &[Provider], filter: &str) -> Report {
    let names = providers.iter().flat_map(|provider| &provider.cases);
    let mut rows: Vec<(&'static str, &'static str)> = Vec::new();
    for case in names.filter(|case| case.name.contains(filter)) {
        if !rows.contains(&(case.theme, case.name)) {
            rows.push((case.theme, case.name));
        }
    }
    let places = rows
        .iter()
        .flat_map(|row| (0..providers.len()).map(move |column| (row.1, column)));
    let waiting = Mutex::new(places.collect::<Vec<_>>().into_iter());
    let verdicts = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((name, column)) = next else { break };
                    let verdict = judge(&providers[column], name);
                    let mut verdicts = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
                    verdicts.insert((name, column), verdict);
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
    let row = |(theme, name)| Row {
        theme,
        name,
        verdicts: (0..providers.len())
            .map(|column| {
                verdicts
                    .get(&(name, column))
                    .cloned()
                    .expect("every place was judged")
            })
            .collect(),
    };
    Report {
        providers: providers.iter().map(|provider| provider.name).collect(),
        rows: rows.into_iter().map(row).collect(),
    }
}

/// Runs one case on one provider, and holds it against what the provider is known for.
fn judge(provider: &Provider, name: &'static str) -> Verdict {
    let Some(case) = provider.cases.iter().find(|case| case.name == name) else {
        return Verdict::Failed("this provider was not given the case".to_owned());
    };
    let known = provider.unable.contains(&name);
    match in_its_own_thread(*case) {
        Verdict::Unable(reason) if !known => {
            Verdict::Failed(format!("not shown, and nobody agreed to that: {reason}"))
        }
        Verdict::Passed if known => {
            Verdict::Failed("it stands among those that cannot be shown, and passed".to_owned())
        }
        verdict => verdict,
    }
}

/// In a thread of its own, which is left behind where it hangs.
fn in_its_own_thread(case: Case) -> Verdict {
    let (tell, told) = mpsc::channel();
    let thread = thread::Builder::new().name(case.name.to_owned());
    // Whoever waits may have given it up, after all that time.
    let started = thread.spawn(move || drop(tell.send(case.check())));
    started.expect("a thread can be started");
    let verdict = told.recv_timeout(HANGS);
    verdict.unwrap_or_else(|_| Verdict::Failed(format!("it hangs: no end after {} s", HANGS.as_secs())))
}

pub(super) fn carry_out(run: fn() -> Result<(), Unable>) -> Verdict {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(Unable { reason })) => Verdict::Unable(reason),
        Err(panic) => Verdict::Failed(message(panic.as_ref())),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked without a message").to_owned()
}

impl Report {
    /// Which case failed on which provider, and why.
    pub fn failures(&self) -> Vec<String> {
        self.list(|verdict| match verdict {
            Verdict::Failed(why) => Some(why),
            _ => None,
        })
    }

    /// Which case cannot be shown on which provider, and why.
    pub fn unable(&self) -> Vec<String> {
        self.list(|verdict| match verdict {
            Verdict::Unable(why) => Some(why),
            _ => None,
        })
    }

    /// Cases on the list, each counted once.
    pub fn cases(&self) -> usize {
        self.rows.len()
    }

    /// How a case went on a provider.
    pub fn verdict(&self, provider: &str, case: &str) -> Option<&Verdict> {
        let column = self.providers.iter().position(|name| *name == provider)?;
        let row = self.rows.iter().find(|row| row.name == case)?;
        row.verdicts.get(column)
    }

    fn list<'a>(&'a self, why: impl Fn(&'a Verdict) -> Option<&'a String>) -> Vec<String> {
        let mut lines = Vec::new();
        for row in &self.rows {
            for (provider, verdict) in self.providers.iter().zip(&row.verdicts) {
                if let Some(why) = why(verdict) {
                    lines.push(format!("{}::{} on {provider}: {why}", row.theme, row.name));
                }
            }
        }
        lines
    }
}

impl fmt::Display for Report {
    /// A table of cases and providers, and below it the reasons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = |row: &Row| format!("{}::{}", row.theme, row.name);
        let width = self.rows.iter().map(|row| label(row).len()).max().unwrap_or(0);
        write!(f, "{:width$}", "case")?;
        for provider in &self.providers {
            write!(f, "  {provider:>10}")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            write!(f, "{:width$}", label(row))?;
            for verdict in &row.verdicts {
                let word = match verdict {
                    Verdict::Passed => "passed",
                    Verdict::Failed(_) => "FAILED",
                    Verdict::Unable(_) => "not shown",
                };
                write!(f, "  {word:>10}")?;
            }
            writeln!(f)?;
        }
        let (failures, unable) = (self.failures(), self.unable());
        let all = self.rows.len() * self.providers.len();
        let passed = all - failures.len() - unable.len();
        writeln!(
            f,
            "{} cases, {} providers: {passed} passed, {} failed, {} not shown",
            self.rows.len(),
            self.providers.len(),
            failures.len(),
            unable.len()
        )?;
        failures
            .iter()
            .try_for_each(|line| writeln!(f, "FAILED {line}"))?;
        unable
            .iter()
            .try_for_each(|line| writeln!(f, "not shown: {line}"))
    }
}
