//! `docs/security.md` says of every attack what must come of it, and names a test that exists.

use crate::references::{self, Scope};
use crate::rows;
use crate::step::Failure;

const DOCUMENT: &str = "docs/security.md";
/// The heading that all tables of attacks stand below.
const HEADING: &str = "## Attacks";

/// Prints what the document gets wrong and fails on any.
pub(crate) fn check() -> Result<(), Failure> {
    references::check("attacks", DOCUMENT, Scope::Everything, unproven)
}

/// Attacks without an outcome or without the name of a test.
fn unproven(text: &str) -> Vec<String> {
    let attacks = rows::below(text, HEADING);
    if attacks.is_empty() {
        return vec![format!("no attack stands below {HEADING:?}")];
    }
    let problem = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let why = match cells.as_slice() {
            [_, "", _] => "says no outcome",
            [_, _, tests] if !references::all(tests).iter().any(|test| test.contains("::")) => {
                "names no test"
            }
            [_, _, _] => return None,
            _ => "is not a row of attack, outcome, tests",
        };
        Some(format!("{:?} {why}", cells[0]))
    };
    attacks.into_iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "| x | y | z |\n\n## Attacks\n\n### Some\n\n| attack | outcome | tests |\n|---|---|---|\n";

    #[test]
    fn a_row_wants_an_outcome_and_a_test() {
        let good = "| a fly | nothing | `a/tests/b.rs::c` |\n";
        assert_eq!(unproven(&format!("{HEAD}{good}")), Vec::<String>::new());
        let bad = "| a bee | refused | `a/tests/b.rs` |\n| an ant | | `a/tests/b.rs::c` |\n| a cat |\n";
        assert_eq!(
            unproven(&format!("{HEAD}{good}{bad}")),
            [
                "\"a bee\" names no test",
                "\"an ant\" says no outcome",
                "\"a cat\" is not a row of attack, outcome, tests"
            ]
        );
    }

    #[test]
    fn tables_elsewhere_do_not_count() {
        let elsewhere = format!("{HEAD}\n## Bounds\n\n| a fly | nothing | nobody |\n");
        assert_eq!(unproven(&elsewhere), ["no attack stands below \"## Attacks\""]);
    }
}
