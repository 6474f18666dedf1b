//! What clap finds wrong, with where it was said.
//!
//! Clap speaks of flags. Where a variable or a line of the file said what is wrong, it is told by that and by the
//! setting's name; where the command line did, clap's own words stay.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command};

use super::said::Said;
use super::{Origin, SettingsError, expected, key};

type Parse<'a> = dyn Fn(&Said) -> Result<ArgMatches, clap::Error> + 'a;

/// An error with its place, where it has one. `parse` parses the command line with what is said elsewhere.
pub(super) fn located(
    error: clap::Error,
    layered: &Command,
    said: &Said,
    origin_of: &dyn Fn(&str) -> Option<Origin>,
    parse: &Parse<'_>,
) -> SettingsError {
    let found = match error.kind() {
        ErrorKind::ArgumentConflict => conflict(&error, layered, origin_of),
        ErrorKind::MissingRequiredArgument => missing(&error, layered, said, parse),
        _ => value(&error, layered, said),
    };
    match (found, said.file().zip(required(&error, layered))) {
        (Some((origin, why)), _) => SettingsError::Wrong { origin, why },
        (None, Some((file, why))) => SettingsError::Missing { file: file.to_path_buf(), why },
        (None, None) => error.into(),
    }
}

type Wrong = Option<(Origin, String)>;

fn value(error: &clap::Error, layered: &Command, said: &Said) -> Wrong {
    let argument = *arguments(error, ContextKind::InvalidArg, layered).first()?;
    let value = texts(error, ContextKind::InvalidValue).into_iter().next()?;
    let id = argument.get_id().as_str();
    let origin = said.origin_of_value(id, &value).or_else(|| said.origin(id))?;
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Some((origin.clone(), format!("`{}` is `{value}`{cause}; expected {}", key(argument), expected(argument))))
}

/// Told with the one that is said last in the file. The command line is no place.
fn conflict(error: &clap::Error, layered: &Command, origin_of: &dyn Fn(&str) -> Option<Origin>) -> Wrong {
    let named = [ContextKind::InvalidArg, ContextKind::PriorArg].map(|kind| arguments(error, kind, layered));
    let mut named: Vec<(Origin, &Arg)> = named
        .into_iter()
        .flatten()
        .filter_map(|argument| Some((origin_of(argument.get_id().as_str())?, argument)))
        .collect();
    named.sort_by_key(|(origin, _)| match origin {
        Origin::File(_, line) => *line,
        Origin::Flag | Origin::Variable(_) | Origin::Default => 0,
    });
    let (origin, argument) = named.pop().filter(|(origin, _)| *origin != Origin::Flag)?;
    let others = named.iter().filter(|(_, other)| other.get_id() != argument.get_id());
    let others: Vec<String> = others.map(|(origin, other)| format!("`{}` ({origin})", key(other))).collect();
    let why = format!("`{}` and {} exclude each other", key(argument), others.join(", "));
    (!others.is_empty()).then_some((origin, why))
}

/// Clap says what is missing, and not for what: that without which it is missed no more.
fn missing(error: &clap::Error, layered: &Command, said: &Said, parse: &Parse<'_>) -> Wrong {
    let missing = arguments(error, ContextKind::InvalidArg, layered);
    let is_missed = |without: &str| match parse(&said.without(without)) {
        Ok(_) => false,
        Err(error) => {
            let still = arguments(&error, ContextKind::InvalidArg, layered);
            error.kind() == ErrorKind::MissingRequiredArgument
                && still.iter().any(|argument| missing.iter().any(|missed| missed.get_id() == argument.get_id()))
        }
    };
    let id = said.ids().find(|id| !is_missed(id)).filter(|_| !missing.is_empty())?;
    let needs = layered.get_arguments().find(|argument| argument.get_id() == id)?;
    let missing: Vec<String> = missing.iter().map(|argument| format!("`{}`", key(argument))).collect();
    Some((
        said.origin(id)?.clone(),
        format!("`{}` needs {}, of which nothing is said", key(needs), missing.join(" and ")),
    ))
}

/// Where nothing is said of what must be said whatever else is: how to say it, in the file and on the command line. Clap
/// writes one of several as `<--root <DIR>|--store <FILE>>`.
fn required(error: &clap::Error, layered: &Command) -> Option<String> {
    if error.kind() != ErrorKind::MissingRequiredArgument {
        return None;
    }
    let texts = texts(error, ContextKind::InvalidArg);
    let text = texts.iter().find(|text| text.starts_with("<--"))?;
    let flags: Vec<&str> = text.strip_prefix('<')?.strip_suffix('>')?.split('|').collect();
    let settings: Option<Vec<&Arg>> = flags.iter().map(|flag| option(flag, layered)).collect();
    let keys: Vec<String> = settings?.into_iter().map(|argument| format!("`{}`", key(argument))).collect();
    let flags: Vec<String> = flags.iter().map(|flag| format!("`{flag}`")).collect();
    let (keys, flags) = (keys.join(" or "), flags.join(" or "));
    Some(format!("nothing is said of {keys}: say it here, or on the command line with {flags}"))
}

fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// The options that an error names, as in `--listen <ADDRESS>`.
fn arguments<'a>(error: &clap::Error, kind: ContextKind, layered: &'a Command) -> Vec<&'a Arg> {
    let texts = texts(error, kind);
    texts.iter().filter_map(|text| option(text, layered)).collect()
}

fn option<'a>(text: &str, layered: &'a Command) -> Option<&'a Arg> {
    let long = text.trim_start_matches('-').split(['=', ' ', '<', '[']).next()?;
    layered.get_arguments().find(|argument| argument.get_long() == Some(long))
}
