//! What variables and the file say, as flags, each with where it is said.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::file::{self, Entry, Value};
use super::{CONFIG, Origin, SettingsError, expected, is_flag, is_setting, key, near, variable};

/// What is said of settings elsewhere than on the command line and is in force, by the option's id.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(BTreeMap<String, Setting>);

/// What is said of one.
#[derive(Debug, Clone)]
struct Setting {
    origin: Origin,
    items: Vec<Item>,
}

/// One value of it.
#[derive(Debug, Clone)]
struct Item {
    origin: Origin,
    value: OsString,
    flag: OsString,
}

impl Said {
    /// Where a setting is said.
    pub(super) fn origin(&self, id: &str) -> Option<&Origin> {
        self.0.get(id).map(|setting| &setting.origin)
    }

    /// Where this value of it is said, which of a list in a file has a line of its own.
    pub(super) fn origin_of_value(&self, id: &str, value: &str) -> Option<&Origin> {
        let items = &self.0.get(id)?.items;
        items.iter().find(|item| item.value.to_string_lossy() == value).map(|item| &item.origin)
    }

    /// All of it, as flags.
    pub(super) fn arguments(&self) -> impl Iterator<Item = OsString> {
        self.0.values().flat_map(|setting| setting.items.iter().map(|item| item.flag.clone()))
    }

    /// The ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The same, but for one.
    pub(super) fn without(&self, id: &str) -> Self {
        let mut said = self.clone();
        said.0.remove(id);
        said
    }
}

/// What is in force, given what the command line says.
pub(super) fn said(layered: &Command, subcommand: &str, flags: &ArgMatches) -> Result<Said, SettingsError> {
    let mut said = Said::default();
    for argument in layered.get_arguments().filter(|argument| is_setting(argument) || argument.get_id() == CONFIG) {
        let name = variable(subcommand, argument);
        let Some(value) = std::env::var_os(&name) else { continue };
        if !is_overridden(layered, argument, &|id| is_flag(flags, id)) {
            said.0.insert(argument.get_id().to_string(), from_variable(argument, &name, &value)?);
        }
    }
    let path = match (flags.get_one::<OsString>(CONFIG), said.0.get(CONFIG)) {
        (Some(path), _) => path.clone(),
        (None, Some(Setting { items, .. })) => items.iter().map(|item| item.value.clone()).collect(),
        (None, None) => return Ok(said),
    };
    let in_file = from_file(Path::new(&path), layered, &|id| is_flag(flags, id) || said.0.contains_key(id))?;
    said.0.extend(in_file);
    Ok(said)
}

/// A list's values are parted by commas.
fn from_variable(argument: &Arg, name: &str, value: &OsStr) -> Result<Setting, SettingsError> {
    let origin = Origin::Variable(name.to_owned());
    let flags = match (argument.get_action(), value.to_str()) {
        (ArgAction::Append, Some(text)) => text.split(',').map(|text| item(argument, &origin, text.as_ref())).collect(),
        (action, _) if action.takes_values() => vec![item(argument, &origin, value)],
        (_, text) => switch(argument, &origin, text.unwrap_or_default())?,
    };
    Ok(Setting { origin, items: flags })
}

fn item(argument: &Arg, origin: &Origin, value: &OsStr) -> Item {
    let mut flag = OsString::from(format!("--{}=", argument.get_long().unwrap_or_default()));
    flag.push(value);
    Item { origin: origin.clone(), value: value.to_owned(), flag }
}

/// On is the flag alone, and off is nothing.
fn switch(argument: &Arg, origin: &Origin, text: &str) -> Result<Vec<Item>, SettingsError> {
    let flag = || OsString::from(format!("--{}", argument.get_long().unwrap_or_default()));
    match text {
        "true" => Ok(vec![Item { origin: origin.clone(), value: text.into(), flag: flag() }]),
        "false" => Ok(Vec::new()),
        _ => {
            let why = format!("`{}` is `{text}`; expected true or false", key(argument));
            Err(SettingsError::Wrong { origin: origin.clone(), why })
        }
    }
}

/// What of the file is in force, by the option's id.
fn from_file(
    path: &Path,
    layered: &Command,
    is_given: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Setting>, SettingsError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_path_buf(), source })?;
    let at = |line| Origin::File(PathBuf::from(path), line);
    let wrong = |line, why| SettingsError::Wrong { origin: at(line), why };
    let entries = file::parse(&text).map_err(|error| wrong(error.line, error.why))?;
    let mut settings = BTreeMap::new();
    for entry in &entries {
        let argument = layered
            .get_arguments()
            .filter(|argument| is_setting(argument))
            .find(|argument| key(argument) == entry.key)
            .ok_or_else(|| wrong(entry.line, unknown(layered, &entry.key)))?;
        let items = items(argument, entry, &at)?;
        if !is_overridden(layered, argument, is_given) {
            settings.insert(argument.get_id().to_string(), Setting { origin: at(entry.line), items });
        }
    }
    Ok(settings)
}

fn unknown(layered: &Command, key: &str) -> String {
    let known = || layered.get_arguments().filter(|argument| is_setting(argument)).map(self::key);
    match near(key, known().map(|key| (key.clone(), key))).as_str() {
        "" => format!("`{key}` is no setting; there are {}", known().collect::<Vec<_>>().join(", ")),
        near => format!("`{key}` is no setting; is it {near}?"),
    }
}

/// What a line of the file says.
fn items(argument: &Arg, entry: &Entry, at: &dyn Fn(u64) -> Origin) -> Result<Vec<Item>, SettingsError> {
    let is_list = matches!(argument.get_action(), ArgAction::Append);
    let (key, here) = (&entry.key, at(entry.line));
    let why = match &entry.value {
        Value::Scalar(text) if argument.get_action().takes_values() => {
            return Ok(vec![item(argument, &here, text.as_ref())]);
        }
        Value::Scalar(text) => return switch(argument, &here, text),
        Value::List(items) if is_list => {
            return Ok(items.iter().map(|(line, text)| item(argument, &at(*line), text.as_ref())).collect());
        }
        Value::List(_) => "is a list",
        Value::Nothing => "has no value",
        Value::Mapping => "has keys of its own",
    };
    Err(SettingsError::Wrong { origin: here, why: format!("`{key}` {why}; expected {}", expected(argument)) })
}

/// Whether a higher place says it, or says what excludes it.
fn is_overridden(layered: &Command, argument: &Arg, is_given: &dyn Fn(&str) -> bool) -> bool {
    let excludes = |other: &&Arg| {
        let conflict = |a: &Arg, b: &Arg| layered.get_arg_conflicts_with(a).iter().any(|it| it.get_id() == b.get_id());
        let one_of = layered.get_groups().any(|group| {
            let members: Vec<_> = group.get_args().collect();
            !group.clone().is_multiple() && members.contains(&argument.get_id()) && members.contains(&other.get_id())
        });
        other.get_id() == argument.get_id() || conflict(argument, other) || conflict(other, argument) || one_of
    };
    layered.get_arguments().filter(excludes).any(|other| is_given(other.get_id().as_str()))
}
