//! `docs/requirements.md` names only tests that exist, and every requirement has one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::step::{Failure, root};

const DOCUMENT: &str = "docs/requirements.md";
/// Paths in the document stand below this folder.
const PACKAGES: &str = "crates";
/// How many requirements there are of each letter.
const REQUIREMENTS: [(char, u32); 5] = [('U', 7), ('M', 8), ('C', 9), ('P', 5), ('X', 6)];

/// Prints what the document gets wrong and fails on any.
pub(crate) fn check() -> Result<(), Failure> {
    let text = fs::read_to_string(root().join(DOCUMENT))
        .map_err(|error| Failure::check(format!("cannot read {DOCUMENT}"), error))?;
    let references = references(&text);
    let mut findings = missing_rows(&text);
    for reference in &references {
        findings.extend(problem(reference, &root().join(PACKAGES)));
    }
    for finding in &findings {
        println!("error: {DOCUMENT}: {finding}");
    }
    println!("{} tests named, {} finding(s)", references.len(), findings.len());
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Failure::Findings {
            check: "requirements",
            count: findings.len(),
        })
    }
}

/// Every `path.rs` and `path.rs::test` in the document's code spans.
fn references(text: &str) -> BTreeSet<&str> {
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.filter(|span| is_reference(span)).collect()
}

fn is_reference(span: &str) -> bool {
    span.contains('/') && (span.ends_with(".rs") || span.contains(".rs::"))
}

/// Requirements without a row that names a test.
fn missing_rows(text: &str) -> Vec<String> {
    let ids = REQUIREMENTS
        .iter()
        .flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}")));
    let proven = |id: &str| {
        let start = format!("| {id} |");
        text.lines()
            .any(|line| line.starts_with(&start) && !references(line).is_empty())
    };
    ids.filter(|id| !proven(id))
        .map(|id| format!("{id} has no row that names a test"))
        .collect()
}

fn problem(reference: &str, packages: &Path) -> Option<String> {
    let (path, test) = match reference.split_once("::") {
        Some((path, test)) => (path, Some(test)),
        None => (reference, None),
    };
    let Ok(source) = fs::read_to_string(packages.join(path)) else {
        return Some(format!("there is no {PACKAGES}/{path}"));
    };
    let test = test?;
    (!has_test(&source, test)).then(|| format!("{path} has no test {test}"))
}

/// Whether a function of that name is marked as a test, which proptest's are, too.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let declared = format!("fn {name}(");
    lines.iter().enumerate().any(|(at, line)| {
        let function = line.strip_prefix("async ").unwrap_or(line);
        let attributes = lines
            .iter()
            .take(at)
            .rev()
            .take_while(|above| above.starts_with("#["));
        function.starts_with(&declared)
            && attributes
                .map(|attribute| attribute.trim_start_matches("#["))
                .any(|attribute| attribute.starts_with("test]") || attribute.starts_with("tokio::test"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_in_code_spans_only() {
        let text = "| U1 | `a/tests/b.rs::c`, `a/src/d.rs` and `fsck` | e/f.rs::g |";
        assert_eq!(
            references(text).into_iter().collect::<Vec<_>>(),
            ["a/src/d.rs", "a/tests/b.rs::c"]
        );
    }

    #[test]
    fn every_requirement_wants_a_row_with_a_test() {
        let missing = missing_rows("| U1 | `a/tests/b.rs::c` |\n| U2 | nothing |\n");
        assert_eq!(missing.len(), 34);
        assert_eq!(missing[0], "U2 has no row that names a test");
    }

    #[test]
    fn a_function_counts_only_as_a_test() {
        let source = "#[test]\n#[ignore]\nfn one() {}\n    #[tokio::test(flavor = \"x\")]\n    async fn two() {}\nfn three() {}\n";
        assert!(has_test(source, "one") && has_test(source, "two"));
        assert!(!has_test(source, "three") && !has_test(source, "on"));
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let packages = root().join(PACKAGES);
        assert_eq!(
            problem("nothing/tests/x.rs::y", &packages).as_deref(),
            Some("there is no crates/nothing/tests/x.rs")
        );
        assert_eq!(
            problem("outlive-cli/src/quantity.rs::no_such", &packages).as_deref(),
            Some("outlive-cli/src/quantity.rs has no test no_such")
        );
        assert_eq!(
            problem("outlive-cli/src/quantity.rs::sizes_are_understood", &packages),
            None
        );
    }
}
