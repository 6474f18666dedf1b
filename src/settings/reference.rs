//! The reference of a subcommand's settings, from their definition.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use super::{is_setting, key, variable};

const HEAD: &str = "\
# Settings of `regatta SUBCOMMAND`

<!-- Printed by `regatta reference` from the definition of the command line; a test holds it. -->

Each setting can be said on the command line, in the environment, or in a YAML file that `--config FILE` (or
`PREFIX_CONFIG`) names. A flag wins over a variable, a variable over the file, the file over the default. Of two settings
that exclude each other, the one said at the higher place wins.

```yaml
root: /data
listen: 0.0.0.0:5000
externalUrl:
  - https://registry.example.com
  - https://registry.internal
tlsCert: /etc/regatta/tls/tls.crt
tlsKey: /etc/regatta/tls/tls.key
htpasswdFile: /etc/regatta/htpasswd
admin: [ada]
```

A setting that takes several values is a list in the file, is given several times on the command line, and is parted by
commas in the environment; a higher place replaces the whole list. A key that is not known, a variable that begins with
`PREFIX_` and is no setting's, a value that cannot be, and what is missing beside it or excludes it are refused at the
start, with the file's line or the variable, the key, and what was expected. Variables that Kubernetes makes for a Service
of such a name (`PREFIX_SERVICE_HOST`, `PREFIX_PORT_5000_TCP` ...) are let be. `--print-config` prints the settings in force,
as a file, with where each came from, and ends. Secrets are in files that settings name, never in settings. Paths are taken
from the working directory.

| in the file | flag | variable | default | |
|---|---|---|---|---|
";

/// A page in Markdown. `command` is what [`super::with_variables`] made.
pub fn page(command: &Command, subcommand: &str) -> String {
    let prefix = format!("REGATTA_{}", subcommand.to_ascii_uppercase());
    let mut page = HEAD.replace("SUBCOMMAND", subcommand).replace("PREFIX", &prefix);
    let mut built = command.clone();
    built.build();
    let Some(layered) = built.find_subcommand(subcommand) else { return page };
    for argument in layered.get_arguments().filter(|argument| is_setting(argument)) {
        let _ = writeln!(
            page,
            "| `{}` | `--{}` | `{}` | {} | {} |",
            key(argument),
            flag(argument),
            variable(subcommand, argument),
            default(argument),
            help(argument)
        );
    }
    page
}

fn flag(argument: &Arg) -> String {
    let long = argument.get_long().unwrap_or_default();
    let name = argument.get_value_names().and_then(|names| names.first());
    match name.filter(|_| argument.get_action().takes_values()) {
        Some(name) => format!("{long} {name}"),
        None => long.to_owned(),
    }
}

fn default(argument: &Arg) -> String {
    let values: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    match (values.as_slice(), argument.get_action().takes_values()) {
        ([], true) => String::new(),
        ([], false) => "`false`".to_owned(),
        (values, _) => format!("`{}`", values.join(",")),
    }
}

/// What `--help` says, in a cell of a table.
fn help(argument: &Arg) -> String {
    let long = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = long.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    if !text.is_empty() && !text.ends_with('.') {
        text.push('.');
    }
    let values: Vec<_> = argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if !values.is_empty() && argument.get_action().takes_values() {
        let _ = write!(text, " One of {}.", values.join(", "));
    }
    if matches!(argument.get_action(), ArgAction::Append) {
        text.push_str(" A list.");
    }
    text.trim_start().to_owned()
}
