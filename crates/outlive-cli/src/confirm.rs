//! Asking before something is destroyed.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::exit::Exit;
use crate::failure::Failure;

/// Returns if `yes` was given or the person at the terminal agrees; without a terminal nobody can agree.
pub(crate) fn destroying(what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let message = format!("{what} must be confirmed: add --yes (standard input is not a terminal)");
        return Err(Failure::new(Exit::NotConfirmed, message));
    }
    ask(what, &mut stdin.lock(), &mut io::stderr())
}

fn ask(what: &str, answers: &mut impl BufRead, questions: &mut impl Write) -> Result<(), Failure> {
    let unusable = |error: io::Error| Failure::new(Exit::NotConfirmed, format!("cannot ask: {error}"));
    write!(questions, "{what}? Type yes to go on: ")
        .and_then(|()| questions.flush())
        .map_err(unusable)?;
    let mut answer = String::new();
    answers.read_line(&mut answer).map_err(unusable)?;
    if answer.trim().eq_ignore_ascii_case("yes") {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::NotConfirmed,
            "not confirmed; nothing was changed",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(answer: &str) -> Result<(), Failure> {
        let mut questions = Vec::new();
        let result = ask("deleting region a", &mut answer.as_bytes(), &mut questions);
        assert!(String::from_utf8_lossy(&questions).contains("deleting region a?"));
        result
    }

    #[test]
    fn only_yes_is_yes() {
        assert_eq!(answered("yes\n"), Ok(()));
        assert_eq!(answered(" YES \n"), Ok(()));
        for no in ["", "\n", "y\n", "no\n", "yes please\n"] {
            assert_eq!(
                answered(no).map_err(|failure| failure.exit),
                Err(Exit::NotConfirmed),
                "{no:?}"
            );
        }
    }

    #[test]
    fn the_flag_answers() {
        assert_eq!(destroying("deleting region a", true), Ok(()));
    }
}
