//! Settings of a subcommand from a file, the environment and the command line, out of one source: its clap definition.
//!
//! A setting is an option with a long name. `--external-url` is `externalUrl` in the file and
//! `REGATTA_REGISTRY_EXTERNAL_URL` in the environment. A flag wins over a variable, that over the file, and that over the
//! default. What the file says is handed to clap as if it had been flags, so that whatever clap checks of a flag holds
//! for the file too; what clap finds wrong is said with the file's line.
//!
//! Nothing here knows which settings there are.

pub mod file;
pub mod reference;
mod show;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use file::{Entry, Value};
pub use show::show;

/// The option that names the file.
pub const CONFIG: &str = "config";
/// The option that asks for the settings rather than for what they are for.
pub const PRINT_CONFIG: &str = "print_config";

/// Where the value of a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// A variable of the environment.
    Variable(String),
    /// A line of the file.
    File(PathBuf, u64),
    /// The definition.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("command line"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why settings are not taken.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{path} cannot be read", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// What a line of the file says is wrong, or what a variable says.
    #[error("{origin}: {why}")]
    Wrong {
        /// Where it is said.
        origin: Origin,
        /// What is wrong, and what was expected.
        why: String,
    },
    /// What clap says: of flags, and when help is asked for.
    #[error(transparent)]
    Clap(#[from] clap::Error),
}

/// What was parsed.
#[derive(Debug)]
pub struct Parsed {
    /// As clap has them.
    pub matches: ArgMatches,
    /// Where each setting came from, by the option's id; absent where it has no value.
    pub origins: HashMap<String, Origin>,
}

/// Whether an option is a setting, rather than help or the file itself.
pub fn is_setting(argument: &Arg) -> bool {
    let id = argument.get_id().as_str();
    says_something(argument) && id != CONFIG && id != PRINT_CONFIG
}

/// Whether an option has a value or is on or off, rather than asking for help.
fn says_something(argument: &Arg) -> bool {
    let asks = matches!(
        argument.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    );
    argument.get_long().is_some() && !asks
}

/// A setting's name in the file.
pub fn key(argument: &Arg) -> String {
    let mut key = String::new();
    for (place, word) in argument.get_long().unwrap_or_default().split('-').enumerate() {
        let (first, rest) = word.split_at(usize::from(place > 0 && !word.is_empty()));
        key.push_str(&first.to_ascii_uppercase());
        key.push_str(rest);
    }
    key
}

/// A setting's variable.
pub fn variable(subcommand: &str, argument: &Arg) -> String {
    let name = argument.get_long().unwrap_or_default();
    format!("regatta_{subcommand}_{name}").replace('-', "_").to_ascii_uppercase()
}

/// Lets every setting of a subcommand come from the environment.
pub fn with_variables(command: Command, subcommand: &'static str) -> Command {
    command.mut_subcommand(subcommand, |layered| {
        layered.mut_args(|argument| {
            if !is_setting(&argument) && argument.get_id() != CONFIG {
                return argument;
            }
            let name = variable(subcommand, &argument);
            argument.env(name).hide_env_values(true)
        })
    })
}

/// Parses a command line, of which one subcommand can have a file beneath it. `command` is what [`with_variables`] made.
pub fn parse(command: Command, subcommand: &str, line: Vec<OsString>) -> Result<Parsed, SettingsError> {
    let mut built = command.clone();
    built.build();
    let layered = built.find_subcommand(subcommand).filter(|_| line.get(1).is_some_and(|name| name == subcommand));
    let Some(layered) = layered else {
        return Ok(Parsed { matches: command.try_get_matches_from(line)?, origins: HashMap::new() });
    };
    // What is wrong in the command line itself is said by the whole definition, below.
    let given = lenient(layered).try_get_matches_from(&line[1..]).ok();
    let path = given.as_ref().and_then(|given| given.get_one::<OsString>(CONFIG)).map(PathBuf::from);
    let settings = match (&path, &given) {
        (Some(path), Some(given)) => from_file(path, layered, given)?,
        (Some(_) | None, _) => BTreeMap::new(),
    };
    let mut line = line;
    line.extend(settings.values().flat_map(|setting| setting.arguments.iter().cloned()));
    let origin_of = |id: &str| origin(layered, subcommand, given.as_ref(), path.as_deref(), &settings, id);
    let matches = command.try_get_matches_from(line).map_err(|error| located(error, layered, &origin_of))?;
    let mut origins = HashMap::new();
    if let Some(own) = matches.subcommand_matches(subcommand) {
        for argument in
            layered.get_arguments().filter(|argument| own.value_source(argument.get_id().as_str()).is_some())
        {
            let id = argument.get_id().as_str();
            origins.insert(id.to_owned(), origin_of(id).unwrap_or(Origin::Default));
        }
    }
    Ok(Parsed { matches, origins })
}

/// The same options, of which none is required, forbidden, or more than a text.
fn lenient(layered: &Command) -> Command {
    let options = layered.get_arguments().filter(|argument| says_something(argument)).map(|argument| {
        let mut option = Arg::new(argument.get_id().clone())
            .long(argument.get_long().unwrap_or_default().to_owned())
            .action(argument.get_action().clone());
        if let Some(variable) = argument.get_env() {
            option = option.env(variable.to_owned());
        }
        if argument.get_action().takes_values() {
            option = option.value_parser(clap::value_parser!(OsString)).allow_hyphen_values(true);
            option = option.require_equals(argument.is_require_equals_set());
            if let Some(range) = argument.get_num_args() {
                option = option.num_args(range);
            }
        }
        option
    });
    Command::new("settings").disable_help_flag(true).disable_version_flag(true).args(options)
}

/// What the file says of a setting.
#[derive(Debug)]
struct FromFile {
    line: u64,
    arguments: Vec<OsString>,
}

/// What of the file is in force, by the option's id.
fn from_file(path: &Path, layered: &Command, given: &ArgMatches) -> Result<BTreeMap<String, FromFile>, SettingsError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_path_buf(), source })?;
    let wrong = |line, why| SettingsError::Wrong { origin: Origin::File(path.to_path_buf(), line), why };
    let entries = file::parse(&text).map_err(|error| wrong(error.line, error.why))?;
    let mut settings = BTreeMap::new();
    for entry in &entries {
        let argument = layered
            .get_arguments()
            .filter(|argument| is_setting(argument))
            .find(|argument| key(argument) == entry.key)
            .ok_or_else(|| wrong(entry.line, unknown(layered, &entry.key)))?;
        let arguments = arguments(argument, entry).map_err(|(line, why)| wrong(line, why))?;
        if !is_overridden(layered, argument, given) {
            let id = argument.get_id().as_str().to_owned();
            settings.insert(id, FromFile { line: entry.line, arguments });
        }
    }
    Ok(settings)
}

fn unknown(layered: &Command, key: &str) -> String {
    let known: Vec<String> = layered.get_arguments().filter(|argument| is_setting(argument)).map(self::key).collect();
    let plain = |name: &str| name.replace(['-', '_', '.'], "").to_ascii_lowercase();
    let mut near: Vec<(f64, &String)> = known
        .iter()
        .map(|name| (strsim::jaro_winkler(&plain(name), &plain(key)), name))
        .filter(|(likeness, _)| *likeness > 0.85)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<String> = near.iter().take(3).map(|(_, name)| format!("`{name}`")).collect();
    match near.as_slice() {
        [] => format!("`{key}` is no setting; there are {}", known.join(", ")),
        near => format!("`{key}` is no setting; is it {}?", near.join(" or ")),
    }
}

/// What the file says, as flags.
fn arguments(argument: &Arg, entry: &Entry) -> Result<Vec<OsString>, (u64, String)> {
    let long = argument.get_long().unwrap_or_default();
    let flag = |text: &str| OsString::from(format!("--{long}={text}"));
    let is_list = matches!(argument.get_action(), ArgAction::Append);
    let wanted = expected(argument);
    let key = &entry.key;
    match &entry.value {
        Value::Scalar(text) if argument.get_action().takes_values() => Ok(vec![flag(text)]),
        Value::Scalar(text) => match text.as_str() {
            "true" => Ok(vec![OsString::from(format!("--{long}"))]),
            "false" => Ok(Vec::new()),
            _ => Err((entry.line, format!("`{key}` is `{text}`; expected true or false"))),
        },
        Value::List(items) if is_list => Ok(items.iter().map(|(_, text)| flag(text)).collect()),
        Value::List(_) => Err((entry.line, format!("`{key}` is a list; expected {wanted}"))),
        Value::Nothing => Err((entry.line, format!("`{key}` has no value; expected {wanted}"))),
        Value::Mapping => Err((entry.line, format!("`{key}` has keys of its own; expected {wanted}"))),
    }
}

/// What a value should be, for people.
fn expected(argument: &Arg) -> String {
    let name = argument.get_value_names().and_then(|names| names.first()).map_or("a value", |name| name.as_str());
    let several = if matches!(argument.get_action(), ArgAction::Append) { ", or a list of them" } else { "" };
    match argument.get_help() {
        Some(help) => format!("{name}{several} ({help})"),
        None => format!("{name}{several}"),
    }
}

/// Whether a flag or a variable says it, or says what excludes it.
fn is_overridden(layered: &Command, argument: &Arg, given: &ArgMatches) -> bool {
    let is_given = |id: &str| {
        given.try_contains_id(id).unwrap_or(false)
            && matches!(given.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
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

fn origin(
    layered: &Command,
    subcommand: &str,
    given: Option<&ArgMatches>,
    path: Option<&Path>,
    settings: &BTreeMap<String, FromFile>,
    id: &str,
) -> Option<Origin> {
    if let (Some(setting), Some(path)) = (settings.get(id), path) {
        return Some(Origin::File(path.to_path_buf(), setting.line));
    }
    let argument = layered.get_arguments().find(|argument| argument.get_id() == id)?;
    match given?.value_source(id)? {
        ValueSource::CommandLine => Some(Origin::Flag),
        ValueSource::EnvVariable => Some(Origin::Variable(variable(subcommand, argument))),
        // Those of the lenient definition say nothing: false where a flag is absent.
        _ => None,
    }
}

/// What clap finds wrong in a value that came from elsewhere than the command line, with where.
fn located(error: clap::Error, layered: &Command, origin_of: &dyn Fn(&str) -> Option<Origin>) -> SettingsError {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let said = context(ContextKind::InvalidArg).unwrap_or_default();
    let long = said.trim_start_matches('-').split(['=', ' ', '<', '[']).next().unwrap_or_default().to_owned();
    let argument = layered.get_arguments().find(|argument| argument.get_long() == Some(long.as_str()));
    let found = argument.and_then(|argument| Some((argument, origin_of(argument.get_id().as_str())?)));
    let (Some((argument, origin)), Some(value)) = (found, context(ContextKind::InvalidValue)) else {
        return error.into();
    };
    if origin == Origin::Flag {
        return error.into();
    }
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let why = format!("`{}` is `{value}`{cause}; expected {}", key(argument), expected(argument));
    SettingsError::Wrong { origin, why }
}

#[cfg(test)]
mod tests;
