//! What variables and the file say, as flags, each with where it is said.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::file::{self, Entry, Value};
use super::{CONFIG, Origin, SettingsError, expected, is_flag, is_setting, key, near, variable};

/// What is said of settings elsewhere than on the command line and is in force, by the option's id.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    in_force: BTreeMap<String, Setting>,
    passed_over: BTreeMap<String, PassedOver>,
    file: Option<PathBuf>,
}

/// A setting that is said, and is not in force since a higher place says one that excludes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Where it is said.
    pub origin: Origin,
    /// The id of the other.
    pub by: String,
}

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
        self.in_force.get(id).map(|setting| &setting.origin)
    }

    /// Where this value of it is said, which of a list in a file has a line of its own.
    pub(super) fn origin_of_value(&self, id: &str, value: &str) -> Option<&Origin> {
        let items = &self.in_force.get(id)?.items;
        items.iter().find(|item| item.value.to_string_lossy() == value).map(|item| &item.origin)
    }

    /// The file, where there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What is said and not in force.
    pub(super) fn passed_over(&self) -> &BTreeMap<String, PassedOver> {
        &self.passed_over
    }

    fn add(&mut self, layered: &Command, argument: &Arg, setting: Setting, is_given: &dyn Fn(&str) -> bool) {
        let id = argument.get_id().to_string();
        match overrider(layered, argument, is_given) {
            None => {
                self.in_force.insert(id, setting);
            }
            Some(by) if by == id => {}
            Some(by) => {
                // What a variable says stands above what the file does.
                self.passed_over.entry(id).or_insert(PassedOver { origin: setting.origin, by });
            }
        }
    }

    /// All of it, as flags.
    pub(super) fn arguments(&self) -> impl Iterator<Item = OsString> {
        self.in_force.values().flat_map(|setting| setting.items.iter().map(|item| item.flag.clone()))
    }

    /// The ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.in_force.keys().map(String::as_str)
    }

    /// The same, but for one.
    pub(super) fn without(&self, id: &str) -> Self {
        let mut said = self.clone();
        said.in_force.remove(id);
        said
    }
}

/// What is in force, given what the command line says.
pub(super) fn said(layered: &Command, subcommand: &str, flags: &ArgMatches) -> Result<Said, SettingsError> {
    let mut said = Said::default();
    for argument in layered.get_arguments().filter(|argument| is_setting(argument) || argument.get_id() == CONFIG) {
        let name = variable(subcommand, argument);
        let value = std::env::var_os(&name).filter(|_| !is_flag(flags, argument.get_id().as_str()));
        let Some(value) = value else { continue };
        said.add(layered, argument, from_variable(argument, &name, &value)?, &|id| is_flag(flags, id));
    }
    let path = match (flags.get_one::<OsString>(CONFIG), said.in_force.get(CONFIG)) {
        (Some(path), _) => path.clone(),
        (None, Some(Setting { items, .. })) => items.iter().map(|item| item.value.clone()).collect(),
        (None, None) => return Ok(said),
    };
    let above: BTreeSet<String> = said.in_force.keys().cloned().collect();
    let path = PathBuf::from(path);
    for (argument, setting) in from_file(&path, layered)? {
        said.add(layered, argument, setting, &|id| is_flag(flags, id) || above.contains(id));
    }
    said.file = Some(path);
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

/// What the file says.
fn from_file<'a>(path: &Path, layered: &'a Command) -> Result<Vec<(&'a Arg, Setting)>, SettingsError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_path_buf(), source })?;
    let at = |line| Origin::File(PathBuf::from(path), line);
    let wrong = |line, why| SettingsError::Wrong { origin: at(line), why };
    let entries = file::parse(&text).map_err(|error| wrong(error.line, error.why))?;
    let mut settings = Vec::new();
    for entry in &entries {
        let argument = layered
            .get_arguments()
            .filter(|argument| is_setting(argument))
            .find(|argument| key(argument) == entry.key)
            .ok_or_else(|| wrong(entry.line, unknown(layered, &entry.key)))?;
        let items = items(argument, entry, &at)?;
        settings.push((argument, Setting { origin: at(entry.line), items }));
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

/// The id of what a higher place says in its stead: the same, or what excludes it.
fn overrider(layered: &Command, argument: &Arg, is_given: &dyn Fn(&str) -> bool) -> Option<String> {
    let excludes = |other: &&Arg| {
        let conflict = |a: &Arg, b: &Arg| layered.get_arg_conflicts_with(a).iter().any(|it| it.get_id() == b.get_id());
        let one_of = layered.get_groups().any(|group| {
            let members: Vec<_> = group.get_args().collect();
            !group.clone().is_multiple() && members.contains(&argument.get_id()) && members.contains(&other.get_id())
        });
        conflict(argument, other) || conflict(other, argument) || one_of
    };
    let others = layered.get_arguments().filter(excludes);
    let mut candidates = std::iter::once(argument).chain(others).map(|it| it.get_id().as_str());
    candidates.find(|id| is_given(id)).map(str::to_owned)
}
