//! Tests that a document names in its code spans, as `path.rs` or `path.rs::test`, below `crates/`.

use std::collections::BTreeSet;
use std::fs;

use crate::rows;
use crate::step::{Failure, root};

/// Paths in documents stand below this folder.
const PACKAGES: &str = "crates";

/// Which part of a document names tests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope {
    Everything,
    /// The tables below this heading.
    TablesBelow(&'static str),
}

/// Prints what `document` gets wrong, which are `findings` and the tests it names in `scope` that do not exist; fails on any.
pub(crate) fn check(
    check: &'static str,
    document: &str,
    scope: Scope,
    findings: impl FnOnce(&str) -> Vec<String>,
) -> Result<(), Failure> {
    let text = fs::read_to_string(root().join(document))
        .map_err(|error| Failure::check(format!("cannot read {document}"), error))?;
    let scoped = match scope {
        Scope::Everything => text.clone(),
        Scope::TablesBelow(heading) => rows::below(&text, heading).join("\n"),
    };
    let references = all(&scoped);
    let mut findings = findings(&text);
    findings.extend(references.iter().filter_map(|reference| problem(reference)));
    for finding in &findings {
        println!("error: {document}: {finding}");
    }
    println!("{} tests named, {} finding(s)", references.len(), findings.len());
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Failure::Findings {
            check,
            count: findings.len(),
        })
    }
}

/// Every `path.rs` and `path.rs::test` in the text's code spans.
pub(crate) fn all(text: &str) -> BTreeSet<&str> {
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.filter(|span| is_reference(span)).collect()
}

fn is_reference(span: &str) -> bool {
    span.contains('/') && (span.ends_with(".rs") || span.contains(".rs::"))
}

fn problem(reference: &str) -> Option<String> {
    let (path, test) = match reference.split_once("::") {
        Some((path, test)) => (path, Some(test)),
        None => (reference, None),
    };
    let Ok(source) = fs::read_to_string(root().join(PACKAGES).join(path)) else {
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
            all(text).into_iter().collect::<Vec<_>>(),
            ["a/src/d.rs", "a/tests/b.rs::c"]
        );
    }

    #[test]
    fn a_function_counts_only_as_a_test() {
        let source = "#[test]\n#[ignore]\nfn one() {}\n    #[tokio::test(flavor = \"x\")]\n    async fn two() {}\nfn three() {}\n";
        assert!(has_test(source, "one") && has_test(source, "two"));
        assert!(!has_test(source, "three") && !has_test(source, "on"));
    }

    #[test]
    fn what_does_not_exist_is_named() {
        assert_eq!(
            problem("nothing/tests/x.rs::y").as_deref(),
            Some("there is no crates/nothing/tests/x.rs")
        );
        assert_eq!(
            problem("outlive-cli/src/quantity.rs::no_such").as_deref(),
            Some("outlive-cli/src/quantity.rs has no test no_such")
        );
        assert_eq!(problem("outlive-cli/src/quantity.rs::sizes_are_understood"), None);
    }
}
