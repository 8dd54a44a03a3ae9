//! What a check found and what a repair did.

use std::ops::Range;
use std::path::Path;

use outlive_layout::Finding as LayoutFinding;
use serde_json::{Value, json};

use crate::output::{count, size};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    /// What crashes and laps leave behind, harmless.
    Note,
    /// Damage.
    Problem,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    /// Region's name, or `superblock`, or `catalog`.
    place: String,
    /// In bytes from the start of the region's data; for the superblock, of the medium.
    offset: Option<u64>,
    message: String,
    repaired: bool,
}

/// What a check found.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    medium: String,
    pub(super) unit: String,
    pub(super) incarnation: u64,
    pub(super) regions: usize,
    pub(super) regions_bytes: u64,
    pub(super) free_bytes: u64,
    pub(super) sets: usize,
    findings: Vec<Finding>,
    repairs: Vec<String>,
}

impl Report {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            medium: path.display().to_string(),
            unit: String::new(),
            incarnation: 0,
            regions: 0,
            regions_bytes: 0,
            free_bytes: 0,
            sets: 0,
            findings: Vec::new(),
            repairs: Vec::new(),
        }
    }

    /// Problems that are still there.
    pub(crate) fn problems(&self) -> usize {
        let open = |finding: &&Finding| finding.severity == Severity::Problem && !finding.repaired;
        self.findings.iter().filter(open).count()
    }

    /// Problems that a repair has mended.
    pub(crate) fn mended(&self) -> usize {
        self.findings.iter().filter(|finding| finding.repaired).count()
    }

    pub(super) fn problem(&mut self, place: &str, offset: Option<u64>, message: impl Into<String>) -> usize {
        self.find(Severity::Problem, place, offset, message.into())
    }

    pub(super) fn note(&mut self, place: &str, offset: Option<u64>, message: impl Into<String>) {
        self.find(Severity::Note, place, offset, message.into());
    }

    /// A problem without an offset, unless one is known for this place already.
    pub(super) fn problem_once(&mut self, place: &str, message: String) {
        let known = |finding: &Finding| finding.place == place && finding.severity == Severity::Problem;
        if !self.findings.iter().any(known) {
            self.problem(place, None, message);
        }
    }

    /// Takes in what reading a region found.
    pub(super) fn layout(&mut self, place: &str, findings: &[LayoutFinding]) {
        for finding in findings {
            let severity = if finding.is_harmless() {
                Severity::Note
            } else {
                Severity::Problem
            };
            self.find(severity, place, finding.offset(), finding.to_string());
        }
    }

    pub(super) fn repaired(&mut self, finding: usize, what: String) {
        self.findings[finding].repaired = true;
        self.repairs.push(what);
    }

    /// Everything found of a place within these offsets is repaired.
    pub(super) fn repaired_in(&mut self, place: &str, offsets: &Range<u64>, what: String) {
        for finding in &mut self.findings {
            if finding.place == place && finding.offset.is_some_and(|offset| offsets.contains(&offset)) {
                finding.repaired = true;
            }
        }
        self.repairs.push(what);
    }

    /// Enters a finding once; returns its number.
    fn find(&mut self, severity: Severity, place: &str, offset: Option<u64>, message: String) -> usize {
        let finding = Finding {
            severity,
            place: place.to_owned(),
            offset,
            message,
            repaired: false,
        };
        match self.findings.iter().position(|known| *known == finding) {
            Some(known) => known,
            None => {
                self.findings.push(finding);
                self.findings.len() - 1
            }
        }
    }

    pub(crate) fn json(&self) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|finding| {
                json!({
                    "severity": finding.severity.name(),
                    "place": finding.place,
                    "offset": finding.offset,
                    "message": finding.message,
                    "repaired": finding.repaired,
                })
            })
            .collect();
        json!({
            "medium": self.medium,
            "unit": self.unit,
            "incarnation": self.incarnation,
            "regions": self.regions,
            "sets": self.sets,
            "regions_bytes": self.regions_bytes,
            "free_bytes": self.free_bytes,
            "problems": self.problems(),
            "findings": findings,
            "repairs": self.repairs,
        })
    }

    pub(crate) fn text(&self) -> String {
        let mut lines: Vec<String> = self.findings.iter().map(Finding::text).collect();
        lines.extend(self.repairs.iter().map(|repair| format!("repaired: {repair}")));
        lines.push(format!("{}: {}", self.medium, self.summary()));
        lines.join("\n")
    }

    fn summary(&self) -> String {
        let problems = count(self.problems() as u64, "problem");
        if self.unit.is_empty() {
            return format!("{problems}; nothing else could be checked");
        }
        format!(
            "unit {}, incarnation {}, {} in {}, {} free, {} verified, {problems}",
            self.unit,
            self.incarnation,
            count(self.regions as u64, "region"),
            size(self.regions_bytes),
            size(self.free_bytes),
            count(self.sets as u64, "set"),
        )
    }
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

impl Finding {
    fn text(&self) -> String {
        let severity = self.severity.name();
        let place = &self.place;
        match self.offset {
            // Findings of the layout name their offset themselves.
            Some(offset) if !self.message.contains("offset") => {
                format!("{severity}: {place} at offset {offset}: {}", self.message)
            }
            _ => format!("{severity}: {place}: {}", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_counts_once_and_not_after_its_repair() {
        let mut report = Report::new(Path::new("m"));
        let copy = LayoutFinding::ControlCopy {
            copy: 1,
            offset: 4096,
        };
        for _ in 0..2 {
            report.layout("orders", std::slice::from_ref(&copy));
        }
        assert_eq!(report.problems(), 1);
        report.problem_once("orders", "something else".to_owned());
        assert_eq!(report.problems(), 1);
        report.repaired_in("orders", &(4096..4184), "done".to_owned());
        assert_eq!((report.problems(), report.mended()), (0, 1));
        assert_eq!(report.json()["repairs"][0], "done");
    }

    #[test]
    fn what_crashes_leave_behind_is_no_problem() {
        let mut report = Report::new(Path::new("m"));
        report.layout(
            "orders",
            &[LayoutFinding::Void {
                offset: 1,
                generation: 2,
                sequence: 3,
            }],
        );
        assert_eq!(report.problems(), 0);
        assert!(
            report.text().starts_with("note: orders: void set 3"),
            "{}",
            report.text()
        );
    }
}
