//! `docs/testing.md` names for every rule of the design a test that exists, and how breaking the rule was seen to fail it.

use crate::references::{self, Scope};
use crate::rows;
use crate::step::Failure;

const DOCUMENT: &str = "docs/testing.md";
/// The heading that all tables of rules stand below.
const HEADING: &str = "## The design's rules";

/// Prints what the tables get wrong and fails on any.
pub(crate) fn check() -> Result<(), Failure> {
    references::check("rules", DOCUMENT, Scope::TablesBelow(HEADING), unproven)
}

/// Rules without the name of a test, or without the break that the test notices.
fn unproven(text: &str) -> Vec<String> {
    let rules = rows::below(text, HEADING);
    if rules.is_empty() {
        return vec![format!("no rule stands below {HEADING:?}")];
    }
    let problem = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let why = match cells.as_slice() {
            [_, _, ""] => "says no break that its test notices",
            [_, tests, _] if !references::all(tests).iter().any(|test| test.contains("::")) => {
                "names no test"
            }
            [_, _, _] => return None,
            _ => "is not a row of rule, tests, break",
        };
        Some(format!("{:?} {why}", cells[0]))
    };
    rules.into_iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_wants_a_test_and_a_break() {
        let head = "## The design's rules\n\n| rule | tests | break |\n|---|---|---|\n";
        let good = "| a fly flies | `a/tests/b.rs::c` | its wings cut |\n";
        assert_eq!(unproven(&format!("{head}{good}")), Vec::<String>::new());
        let bad = "| a bee | `a/tests/b.rs` | no sting |\n| an ant | `a/tests/b.rs::c` | |\n| a cat |\n";
        assert_eq!(
            unproven(&format!("{head}{good}{bad}")),
            [
                "\"a bee\" names no test",
                "\"an ant\" says no break that its test notices",
                "\"a cat\" is not a row of rule, tests, break"
            ]
        );
        assert_eq!(
            unproven("| a fly |"),
            ["no rule stands below \"## The design's rules\""]
        );
    }
}
