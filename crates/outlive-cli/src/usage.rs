//! What clap finds wrong with the command line, in the form of every other failure: one line, or one object.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::arguments::Arguments;
use crate::failure::Failure;

/// Why there is no command to run.
#[derive(Debug)]
pub(crate) enum Unparsed {
    /// Help or the version: clap prints it and knows the exit code.
    Shown(clap::Error),
    /// Wrong usage.
    Wrong {
        failure: Failure,
        /// Whether `--json` stands among the arguments.
        json: bool,
    },
}

/// Parses a command line, the program's name first.
pub(crate) fn parse(line: &[OsString]) -> Result<Arguments, Unparsed> {
    Arguments::try_parse_from(line).map_err(|error| {
        let json = asks_for_json(line);
        let shown = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
            // A program that asked for JSON cannot read help.
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => !json,
            _ => false,
        };
        if shown {
            return Unparsed::Shown(error);
        }
        let message = format!("{} (see '{} --help')", reason(&error), command_path(line));
        Unparsed::Wrong {
            failure: Failure::usage(message),
            json,
        }
    })
}

fn asks_for_json(line: &[OsString]) -> bool {
    line.iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--json")
}

/// The first paragraph, which may name the missing arguments on lines of their own, and the tips; without usage.
fn reason(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing".to_owned();
    }
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let first = paragraphs.next().unwrap_or_default();
    let mut reason = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    for tip in paragraphs.filter(|paragraph| paragraph.starts_with("tip: ")) {
        reason.push_str("; ");
        reason.push_str(tip);
    }
    reason
}

/// `outlive` and the commands that the line names.
fn command_path(line: &[OsString]) -> String {
    let root = Arguments::command();
    let takes_value = |word: &OsStr| {
        let long = word.to_str().and_then(|word| word.strip_prefix("--"));
        root.get_arguments().any(|argument| {
            long.is_some() && argument.get_long() == long && argument.get_action().takes_values()
        })
    };
    let mut path = root.get_name().to_owned();
    let mut command = &root;
    let mut words = line.iter().skip(1);
    while let Some(word) = words.next() {
        if takes_value(word) {
            words.next();
        } else if let Some(next) = command.find_subcommand(word) {
            path.push(' ');
            path.push_str(next.get_name());
            command = next;
        } else if !word.to_string_lossy().starts_with('-') {
            break;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(words: &[&str]) -> (String, bool) {
        let line: Vec<OsString> = words.iter().map(OsString::from).collect();
        match parse(&line) {
            Err(Unparsed::Wrong { failure, json }) => (failure.message, json),
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn the_line_says_what_is_wrong_and_where_help_is() {
        let (message, json) = wrong(&["outlive", "load"]);
        assert_eq!(
            message,
            "the following required arguments were not provided: <NAME> (see 'outlive load --help')"
        );
        assert!(!json);
        let (message, json) = wrong(&[
            "outlive",
            "--context",
            "load",
            "--json",
            "region",
            "show",
            "--adress",
            "a",
        ]);
        assert!(message.contains("'--adress' found; tip: "), "{message}");
        assert!(
            message.ends_with("(see 'outlive region show --help')"),
            "{message}"
        );
        assert!(json);
    }

    #[test]
    fn help_stays_help_unless_a_program_asks() {
        for words in [
            &["outlive", "--help"][..],
            &["outlive", "load", "-h"],
            &["outlive", "--version"],
            &["outlive"],
        ] {
            let line: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert!(matches!(parse(&line), Err(Unparsed::Shown(_))), "{words:?}");
        }
        let (message, _) = wrong(&["outlive", "--json", "region"]);
        assert_eq!(message, "a command is missing (see 'outlive region --help')");
    }
}
