//! The command line.

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::{crds, gc, htpasswd, operator, reference, registry, replicate};
use crate::settings::{self, Origin, SettingsError};
use crate::telemetry::{self, Filter};

/// The subcommand whose settings can come from a file and the environment too.
const LAYERED: &str = "registry";

/// Fleets of container registries on Kubernetes: an operator and an OCI registry in one binary.
#[derive(Debug, Parser)]
#[command(name = "regatta", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[arg(skip)]
    log: Filter,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve an OCI registry from a directory or a bucket.
    Registry(Box<registry::Args>),
    /// Collect the garbage of a registry's directory or bucket.
    Gc(gc::Args),
    /// Reconcile Registries, Projects, RoleBindings, ReplicationPolicies and GarbageCollections in a cluster.
    Operator(Box<operator::Args>),
    /// Print the manifests of the five kinds.
    Crds(crds::Args),
    /// Make a destination registry equal to its source, once or for ever.
    Replicate(Box<replicate::Args>),
    /// Make a line for a password file.
    Htpasswd(htpasswd::Args),
    /// Print the pages of the reference that are made from the code.
    #[command(hide = true)]
    Reference(reference::Args),
}

/// What is asked for.
#[derive(Debug)]
pub enum Asked {
    /// To run a subcommand.
    Run(Cli),
    /// To print this.
    Print(String),
}

/// What a command can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of `regatta registry`.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Of `regatta gc`.
    #[error(transparent)]
    Gc(#[from] gc::Error),
    /// Of `regatta operator`.
    #[error(transparent)]
    Operator(#[from] operator::OperatorCommandError),
    /// Of `regatta crds`.
    #[error(transparent)]
    Crds(#[from] crds::CrdsError),
    /// Of `regatta replicate`.
    #[error(transparent)]
    Replicate(#[from] replicate::Error),
    /// Of `regatta htpasswd`.
    #[error(transparent)]
    Htpasswd(#[from] htpasswd::Error),
    /// Of `regatta reference`.
    #[error(transparent)]
    Reference(#[from] reference::ReferenceError),
}

/// Takes a command line, with what a file and the environment say beneath it.
pub fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Asked, SettingsError> {
    let command = command();
    let parsed = settings::parse(command.clone(), LAYERED, line.into_iter().collect())?;
    let mut cli = Cli::from_arg_matches(&parsed.matches)?;
    match &mut cli.command {
        Command::Registry(args) if args.print_config() => {
            return Ok(Asked::Print(settings::show(&command, LAYERED, &parsed)));
        }
        Command::Registry(args) => {
            cli.log = args.log_filter().clone();
            let told = parsed.told();
            args.came_from(parsed.origins, told);
        }
        _ => cli.log = log_filter()?,
    }
    Ok(Asked::Run(cli))
}

/// What the environment says of the log, to subcommands that have no setting for it.
fn log_filter() -> Result<Filter, SettingsError> {
    let Some(said) = std::env::var_os(telemetry::VARIABLE) else { return Ok(Filter::default()) };
    let said = said.to_string_lossy();
    let wrong = |error: telemetry::NoFilter| SettingsError::Wrong {
        origin: Origin::Variable(telemetry::VARIABLE.to_owned()),
        why: error.to_string(),
    };
    said.parse().map_err(wrong)
}

/// The pages of docs/reference that are made from the code.
pub fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("settings.md", settings::reference::page(&command(), LAYERED)),
        ("errors.md", crate::server::fault::codes::page()),
    ]
}

fn command() -> clap::Command {
    settings::with_variables(Cli::command(), LAYERED)
}

impl Cli {
    /// How much is to be logged.
    pub fn log(&self) -> &Filter {
        &self.log
    }

    /// Runs the subcommand.
    pub async fn run(self) -> Result<(), Error> {
        match self.command {
            Command::Registry(args) => Ok(registry::run(*args).await?),
            Command::Gc(args) => Ok(gc::run(args).await?),
            Command::Operator(args) => Ok(operator::run(*args).await?),
            Command::Crds(args) => Ok(crds::run(&args)?),
            Command::Replicate(args) => Ok(replicate::run(*args).await?),
            Command::Htpasswd(args) => Ok(htpasswd::run(&args)?),
            Command::Reference(args) => Ok(reference::run(&args, &pages())?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Write as _;

    use clap::CommandFactory as _;

    use super::*;

    /// Options by subcommand, as the tables of the page have them in their first column.
    fn documented() -> BTreeMap<String, BTreeSet<String>> {
        let sections = include_str!("../docs/reference/cli.md").split("\n## `regatta ").skip(1);
        let options = |section: &str| {
            let rows = section.lines().filter_map(|line| line.strip_prefix("| `--")?.split(" | ").next());
            let quoted = rows.flat_map(|cell| cell.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>());
            let names = quoted.filter_map(|text| Some(text.split(' ').next()?.trim_start_matches("--").to_owned()));
            names.collect()
        };
        let name = |section: &str| section.split(['`', ' ']).next().unwrap().to_owned();
        sections.map(|section| (name(section), options(section))).collect()
    }

    /// Nobody is called nothing, or ` x`, whom a file once made an administrator.
    #[test]
    fn an_administrator_is_somebody() {
        let refused = |file: &str, line: u64, value: &str| {
            let on_disk = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(on_disk.path(), file).unwrap();
            let line_of_command = ["regatta", "registry", "--config"].map(OsString::from);
            let error = parse(line_of_command.into_iter().chain([on_disk.path().into()])).unwrap_err().to_string();
            let begin = format!("{}:{line}: `admin` is `{value}`: ", on_disk.path().display());
            assert!(error.starts_with(&begin), "{error}");
        };
        refused("root: /data\nhtpasswdFile: h\nadmin: [\"\"]\n", 3, "");
        refused("root: /data\nhtpasswdFile: h\nadmin:\n  - x\n  - \" x\"\n", 5, " x");
        refused("root: /data\nadmin: \"x \"\nhtpasswdFile: h\n", 2, "x ");
    }

    /// Settings are on a page of their own.
    #[test]
    fn the_page_of_the_command_line_has_every_option_of_every_subcommand_and_no_others() {
        let options = |command: &clap::Command| {
            let options = command.get_arguments();
            let options = options.filter(|it| command.get_name() != LAYERED || !settings::is_setting(it));
            options.filter_map(|it| Some(it.get_long()?.to_owned())).collect()
        };
        let command = Cli::command();
        let commands = command.get_subcommands();
        let there: BTreeMap<String, BTreeSet<String>> =
            commands.map(|command| (command.get_name().to_owned(), options(command))).collect();
        assert!(there["replicate"].len() > 20, "{there:?}");
        assert_eq!(documented(), there);
    }

    #[test]
    fn this_is_the_help() {
        // What the environment of the moment holds is not part of it.
        let help = |command: clap::Command| command.mut_args(|argument| argument.hide_env_values(true));
        let mut text = help(Cli::command()).render_long_help().to_string();
        for command in Cli::command().get_subcommands() {
            let shown = help(command.clone()).render_long_help();
            let _ = write!(text, "\n=== regatta {}\n\n{shown}", command.get_name());
        }
        insta::assert_snapshot!(text);
    }
}
