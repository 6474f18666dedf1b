//! Settings of a subcommand from a file, the environment and the command line, out of one source: its clap definition.
//!
//! A setting is an option with a long name. `--external-url` is `externalUrl` in the file and
//! `REGATTA_REGISTRY_EXTERNAL_URL` in the environment, unless its definition names another variable. A flag wins over a
//! variable, that over the file, and that over the default. What a variable or the file says is handed to clap as if it had
//! been flags, so that whatever clap checks of a flag holds for them too; what clap finds wrong is said with where it was
//! said: see `located`.
//!
//! Nothing here knows which settings there are.

pub mod file;
mod located;
pub mod reference;
mod said;
mod show;
mod variables;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

pub use said::PassedOver;
use said::Said;
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
    /// What must be said is said nowhere.
    #[error("{file}: {why}", file = .file.display())]
    Missing {
        /// The file, which may say it.
        file: PathBuf,
        /// What is missing, and where it may be said.
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
    /// What is said and not in force, since a higher place says what excludes it; by the option's id.
    pub passed_over: BTreeMap<String, PassedOver>,
}

impl Parsed {
    /// The same for people, a sentence each.
    pub fn told(&self) -> Vec<String> {
        self.passed_over.iter().map(|(id, over)| format!("`{}` {}", key_of(id), self.why_not(over))).collect()
    }

    /// Why a setting is not in force.
    fn why_not(&self, PassedOver { origin, by }: &PassedOver) -> String {
        let higher = self.origins.get(by).map(|origin| format!(" ({origin})")).unwrap_or_default();
        format!("of {origin} is not in force: `{}`{higher} excludes it", key_of(by))
    }
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
    key_of(argument.get_long().unwrap_or_default())
}

/// The same, of an option's long name or id.
pub fn key_of(name: &str) -> String {
    let mut key = String::new();
    for (place, word) in name.split(['-', '_']).enumerate() {
        let (first, rest) = word.split_at(usize::from(place > 0 && !word.is_empty()));
        key.push_str(&first.to_ascii_uppercase());
        key.push_str(rest);
    }
    key
}

/// A setting's variable: its own, or one named after it.
pub fn variable(subcommand: &str, argument: &Arg) -> String {
    if let Some(own) = argument.get_env() {
        return own.to_string_lossy().into_owned();
    }
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
        let matches = command.try_get_matches_from(line)?;
        return Ok(Parsed { matches, origins: HashMap::new(), passed_over: BTreeMap::new() });
    };
    // What is wrong in the command line itself is said by the whole definition, below.
    let flags = lenient(layered).try_get_matches_from(&line[1..]).ok();
    if let Some(help) = asks_for_help(&command, &line) {
        return Err(help.into());
    }
    variables::refuse_unknown(&built, layered, subcommand, std::env::vars_os().map(|(name, _)| name))?;
    let said = flags.as_ref().map_or_else(|| Ok(Said::default()), |flags| said::said(layered, subcommand, flags))?;
    let bare = command.mut_subcommand(subcommand, |layered| layered.mut_args(|argument| argument.env(None::<&str>)));
    let parse = |said: &Said| {
        let line = line.iter().cloned().chain(said.arguments());
        bare.clone().try_get_matches_from(line)
    };
    let origin_of =
        |id: &str| said.origin(id).cloned().or_else(|| is_flag(flags.as_ref()?, id).then_some(Origin::Flag));
    let matches = parse(&said).map_err(|error| located::located(error, layered, &said, &origin_of, &parse))?;
    let mut origins = HashMap::new();
    if let Some(own) = matches.subcommand_matches(subcommand) {
        for argument in
            layered.get_arguments().filter(|argument| own.value_source(argument.get_id().as_str()).is_some())
        {
            let id = argument.get_id().as_str();
            origins.insert(id.to_owned(), origin_of(id).unwrap_or(Origin::Default));
        }
    }
    Ok(Parsed { matches, origins, passed_over: said.passed_over().clone() })
}

/// Help is given before anything is found wrong. It names the variables, which `command` does.
fn asks_for_help(command: &Command, line: &[OsString]) -> Option<clap::Error> {
    let error = command.clone().try_get_matches_from(line).err()?;
    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion).then_some(error)
}

/// Whether the command line says an option.
fn is_flag(flags: &ArgMatches, id: &str) -> bool {
    flags.try_contains_id(id).unwrap_or(false) && flags.value_source(id) == Some(ValueSource::CommandLine)
}

/// The same options, of which none is required, forbidden, or more than a text; from the command line alone.
fn lenient(layered: &Command) -> Command {
    let options = layered.get_arguments().filter(|argument| says_something(argument)).map(|argument| {
        let mut option = Arg::new(argument.get_id().clone())
            .long(argument.get_long().unwrap_or_default().to_owned())
            .action(argument.get_action().clone());
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

/// What a value should be, for people.
fn expected(argument: &Arg) -> String {
    let name = argument.get_value_names().and_then(|names| names.first()).map_or("a value", |name| name.as_str());
    let several = if matches!(argument.get_action(), ArgAction::Append) { ", or a list of them" } else { "" };
    match argument.get_help() {
        Some(help) => format!("{name}{several} ({help})"),
        None => format!("{name}{several}"),
    }
}

/// Of known names and what they are to be called, those that are like a name which is none, the likest first; empty where
/// none is.
fn near(name: &str, known: impl Iterator<Item = (String, String)>) -> String {
    let plain = |name: &str| name.replace(['-', '_', '.'], "").to_ascii_lowercase();
    let mut near: Vec<(f64, String)> = known
        .map(|(known, called)| (strsim::jaro_winkler(&plain(&known), &plain(name)), called))
        .filter(|(likeness, _)| *likeness > 0.85)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.iter().take(3).map(|(_, name)| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests;
