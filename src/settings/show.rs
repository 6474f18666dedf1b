//! The settings in force, as a file that would give the same.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Parsed, is_setting, key};

/// A file of settings that says what is in force, and of each where it came from. What has no value is there as a
/// comment.
pub fn show(command: &Command, subcommand: &str, parsed: &Parsed) -> String {
    let mut built = command.clone();
    built.build();
    let mut text = format!(
        "# The settings of `regatta {subcommand}` in force, and where each came from. This can be given to it as --config.\n"
    );
    let matches = parsed.matches.subcommand_matches(subcommand);
    let (Some(layered), Some(matches)) = (built.find_subcommand(subcommand), matches) else { return text };
    for argument in layered.get_arguments().filter(|argument| is_setting(argument)) {
        let key = key(argument);
        let values = values(argument, matches);
        let origin = parsed.origins.get(argument.get_id().as_str());
        let (false, Some(origin)) = (values.is_empty(), origin) else {
            let over = parsed.passed_over.get(argument.get_id().as_str());
            let why = over.map(|over| format!("; what is said {}", parsed.why_not(over))).unwrap_or_default();
            let _ = writeln!(text, "# {key}: not set{why}");
            continue;
        };
        let _ = match (argument.get_action(), values.as_slice()) {
            (ArgAction::Append, values) => {
                let _ = writeln!(text, "{key}:  # {origin}");
                values.iter().try_for_each(|value| writeln!(text, "  - {}", scalar(value)))
            }
            (_, [value, ..]) => writeln!(text, "{key}: {}  # {origin}", scalar(value)),
            (_, []) => Ok(()),
        };
    }
    text
}

fn values(argument: &Arg, matches: &ArgMatches) -> Vec<String> {
    let id = argument.get_id().as_str();
    if !argument.get_action().takes_values() {
        return vec![matches.get_flag(id).to_string()];
    }
    let raw = matches.get_raw(id).into_iter().flatten();
    raw.map(|value| value.to_string_lossy().into_owned()).collect()
}

/// In quotes where YAML would take it for something else.
fn scalar(text: &str) -> String {
    if text == "true" || text == "false" || text.parse::<u64>().is_ok_and(|number| number.to_string() == text) {
        return text.to_owned();
    }
    // A mapping, because that is what the value will be in.
    let written = serde_yaml::to_string(&[("k", text)].into_iter().collect::<std::collections::BTreeMap<_, _>>());
    match written {
        Ok(written) if written.trim_end().lines().count() == 1 => {
            written.trim_end().trim_start_matches("k:").trim_start().to_owned()
        }
        // JSON's texts are YAML's.
        Ok(_) | Err(_) => serde_json::Value::from(text).to_string(),
    }
}
