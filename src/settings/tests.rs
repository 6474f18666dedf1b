//! Of a command that has what the registry's has: a list, a switch, what excludes and what requires another.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tempfile::NamedTempFile;

use super::{Origin, Parsed, SettingsError, file, parse, reference, show, with_variables};

#[derive(Debug, Parser)]
#[command(name = "regatta", version = "1", propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Chosen,
}

#[derive(Debug, Subcommand)]
enum Chosen {
    Registry(Box<Settings>),
    Other,
}

#[derive(Debug, Args, PartialEq, Eq)]
struct Settings {
    /// Settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    store: Store,
    /// Where clients are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// What clients use.
    #[arg(long, value_name = "URL", value_parser = url)]
    external_url: Vec<String>,
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    htpasswd_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", conflicts_with = "htpasswd_file")]
    admin_password_file: Option<PathBuf>,
    /// Let manifests name what is not there.
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true")]
    sparse: bool,
    #[arg(long)]
    plain: bool,
    #[arg(long, value_name = "SECONDS", default_value_t = 580)]
    grace_seconds: u64,
}

#[derive(Debug, Args, PartialEq, Eq)]
#[group(required = true, multiple = false)]
struct Store {
    /// The directory.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

fn url(text: &str) -> Result<String, &'static str> {
    if text == "nowhere" { Err("no URL") } else { Ok(text.to_owned()) }
}

fn command() -> clap::Command {
    with_variables(Cli::command(), "registry")
}

fn parsed(file: &str, flags: &[&str]) -> Result<Parsed, SettingsError> {
    read(written(file).path(), flags)
}

fn written(file: &str) -> NamedTempFile {
    let on_disk = NamedTempFile::new().unwrap();
    std::fs::write(on_disk.path(), file).unwrap();
    on_disk
}

fn read(file: &Path, flags: &[&str]) -> Result<Parsed, SettingsError> {
    let mut line: Vec<OsString> = vec!["regatta".into(), "registry".into(), "--config".into()];
    line.push(file.into());
    line.extend(flags.iter().map(OsString::from));
    parse(command(), "registry", line)
}

fn settings(file: &str, flags: &[&str]) -> Settings {
    match Cli::from_arg_matches(&parsed(file, flags).unwrap().matches).unwrap().command {
        Chosen::Registry(settings) => Settings { config: None, ..*settings },
        Chosen::Other => panic!("another command"),
    }
}

/// The message, with the line but without the file's name.
fn refused(file: &str, flags: &[&str]) -> String {
    match parsed(file, flags).unwrap_err() {
        SettingsError::Wrong { origin: Origin::File(_, line), why } => format!("{line}: {why}"),
        other => other.to_string(),
    }
}

#[test]
fn what_the_file_says_is_taken_as_if_it_had_been_flags() {
    let file = "# all of it\nroot: /data\nlisten: \"[::]:80\"\nexternalUrl:\n  - https://a\n  - https://b\ntlsCert: c\ntlsKey: k\n\
                sparse: true\nplain: true\ngraceSeconds: 7\n";
    let flags = [
        "--root=/data",
        "--listen=[::]:80",
        "--external-url=https://a",
        "--external-url=https://b",
        "--tls-cert=c",
        "--tls-key=k",
        "--sparse",
        "--plain",
        "--grace-seconds=7",
    ];
    assert_eq!(settings(file, &[]), settings("", &flags));
    assert_eq!(settings("root: /data\nsparse: false\n", &[]), settings("", &["--root=/data"]));
    assert_eq!(settings("root: /data\nplain: false\n", &[]), settings("", &["--root=/data"]));
    assert_eq!(settings("root: /data\nexternalUrl: https://a\n", &[]).external_url, ["https://a"]);
}

#[test]
fn a_flag_wins_over_the_file_and_replaces_a_whole_list() {
    let file = "root: /data\nlisten: 1.1.1.1:1\nexternalUrl: [https://a, https://b]\n";
    let found = settings(file, &["--listen", "2.2.2.2:2", "--external-url", "https://c"]);
    assert_eq!(found.listen.to_string(), "2.2.2.2:2");
    assert_eq!(found.external_url, ["https://c"]);
    assert_eq!(found.store.root.unwrap(), PathBuf::from("/data"));
    assert!(!settings("root: /data\nsparse: true\n", &["--sparse=false"]).sparse);
    assert!(settings("root: /data\nsparse: false\n", &["--sparse"]).sparse);
}

#[test]
fn a_flag_wins_over_what_it_excludes_in_the_file() {
    let found = settings("store: file.yaml\nadminPasswordFile: p\n", &["--root", "/data", "--htpasswd-file", "h"]);
    assert_eq!((found.store.store, found.admin_password_file), (None, None));
    let found = settings("root: /data\nhtpasswdFile: h\n", &["--admin-password-file", "p"]);
    assert_eq!((found.htpasswd_file, found.admin_password_file), (None, Some(PathBuf::from("p"))));
}

#[test]
fn what_is_passed_over_is_told_with_its_place() {
    let file = "root: /data\nadminPasswordFile: p\nlisten: 1.1.1.1:1\n";
    let found = parsed(file, &["--htpasswd-file", "h", "--listen", "1.1.1.1:2"]).unwrap();
    let told = found.told();
    assert_eq!(told.len(), 1, "what is said anew is no surprise: {told:?}");
    assert!(told[0].starts_with("`adminPasswordFile` of ") && told[0].contains(":2 is not in force"), "{told:?}");
    assert!(told[0].ends_with("`htpasswdFile` (command line) excludes it"), "{told:?}");
}

#[test]
fn what_is_not_known_or_wrong_is_refused_with_its_line_its_name_and_what_was_expected() {
    let messages = [
        "root: /data\nlisen: 1.1.1.1:1\n",
        "root: /data\nexternal-url: https://a\n",
        "root: /data\nconfig: other.yaml\n",
        "root: /data\n\n# soon\nlisten: everywhere\n",
        "root: /data\ngraceSeconds: soon\n",
        "root: /data\nsparse: perhaps\n",
        "root: /data\nplain: perhaps\n",
        "root: [/data, /more]\n",
        "root:\n",
        "root: {path: /data}\n",
        "root: /data\nexternalUrl:\n  - https://a\n  - [https://b]\n",
        "root: /data\nlisten: 1.1.1.1:1\nroot: /more\n",
        "- root: /data\n",
        "root: /data\n  listen: x\n",
    ]
    .map(|file| refused(file, &[]));
    insta::assert_snapshot!(messages.join("\n"));
}

/// These were clap's words, of flags that nobody gave.
#[test]
fn what_belongs_together_or_excludes_each_other_is_said_with_its_line() {
    let lines = |file: &str, flags: &[&str]| match parsed(file, flags).unwrap_err() {
        SettingsError::Wrong { origin: Origin::File(path, line), why } => {
            format!("{line}: {}", why.replace(path.to_str().unwrap(), "FILE"))
        }
        other => other.to_string(),
    };
    assert_eq!(lines("root: /data\ntlsCert: c\n", &[]), "2: `tlsCert` needs `tlsKey`, of which nothing is said");
    assert_eq!(lines("tlsKey: c\n", &["--root", "/data"]), "1: `tlsKey` needs `tlsCert`, of which nothing is said");
    assert_eq!(lines("root: /data\nstore: s\n", &[]), "2: `store` and `root` (FILE:1) exclude each other");
    assert_eq!(
        lines("adminPasswordFile: p\nroot: /data\nhtpasswdFile: h\n", &[]),
        "3: `htpasswdFile` and `adminPasswordFile` (FILE:1) exclude each other"
    );
    let message = refused("root: /data\n", &["--tls-cert", "c"]);
    assert!(message.contains("--tls-key"), "the command line's own: {message}");
}

/// Clap named neither the file nor what to write into it.
#[test]
fn what_must_be_said_and_is_not_is_told_with_the_file_and_both_ways_to_say_it() {
    let file = written("listen: 1.1.1.1:1\n");
    let SettingsError::Missing { file: named, why } = read(file.path(), &[]).unwrap_err() else {
        panic!("not missing")
    };
    assert_eq!(named, file.path());
    let both = "say it here, or on the command line with `--root <DIR>` or `--store <FILE>`";
    assert_eq!(why, format!("nothing is said of `root` or `store`: {both}"));
    let error = parse(command(), "registry", ["regatta", "registry"].map(OsString::from).to_vec()).unwrap_err();
    assert!(matches!(error, SettingsError::Clap(_)), "without a file it is the command line's own: {error}");
}

/// They were told by the line of their key, and parted at commas.
#[test]
fn each_item_of_a_list_has_its_line_and_is_one_value() {
    let file = "root: /data\nexternalUrl:\n  - https://a\n  - nowhere\n";
    assert_eq!(
        refused(file, &[]),
        "4: `externalUrl` is `nowhere`: no URL; expected URL, or a list of them (What clients use)"
    );
    assert_eq!(settings("root: /data\nexternalUrl: [\"https://a,b\"]\n", &[]).external_url, ["https://a,b"]);
    assert_eq!(settings("root: /data\n", &["--external-url", "https://a,b"]).external_url, ["https://a,b"]);
}

#[test]
fn a_variable_that_no_setting_has_is_refused() {
    let mut built = command();
    built.build();
    let layered = built.find_subcommand("registry").unwrap();
    let refused = |name: &str| {
        let names = [name, "PATH", "REGATTA_REGISTRY_LISTEN", "REGATTA_LOG"].map(OsString::from).into_iter();
        super::variables::refuse_unknown(&built, layered, "registry", names).map_err(|error| error.to_string())
    };
    assert_eq!(refused("REGATTA_REGISTRY_TLS_KEY"), Ok(()));
    assert_eq!(refused("REGATTA_REGISTRY_PORT_5000_TCP"), Ok(()), "it is a Service's");
    let said = refused("REGATTA_REGISTRY_LISEN").unwrap_err();
    assert_eq!(said, "REGATTA_REGISTRY_LISEN: no setting has this variable; is it `REGATTA_REGISTRY_LISTEN`?");
    let said = refused("REGATTA_REGISTRY_XYZ").unwrap_err();
    assert!(said.contains("there are REGATTA_REGISTRY_") && said.contains("REGATTA_REGISTRY_GRACE_SECONDS"), "{said}");
}

#[test]
fn a_wrong_flag_is_claps_to_say_also_where_there_is_a_file() {
    let message = refused("root: /data\nlisten: 1.1.1.1:1\n", &["--listen", "everywhere"]);
    assert!(message.contains("--listen <ADDRESS>") && message.contains("everywhere"), "{message}");
    let message = refused("root: /data\n", &["--lisen", "x"]);
    assert!(message.contains("--lisen"), "{message}");
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let line = ["regatta", "registry", "--config", "/nowhere/at/all"].map(OsString::from).to_vec();
    let error = parse(command(), "registry", line).unwrap_err();
    assert_eq!(error.to_string(), "/nowhere/at/all cannot be read");
}

#[test]
fn other_subcommands_know_no_file() {
    let line = ["regatta", "other"].map(OsString::from).to_vec();
    let parsed = parse(command(), "registry", line).unwrap();
    assert_eq!(parsed.matches.subcommand_name(), Some("other"));
}

#[test]
fn what_is_printed_is_a_file_that_gives_the_same() {
    let file = "root: \"/data: #1\"\nexternalUrl: [https://a, \"yes\", \"007\"]\nsparse: true\n";
    let flags = ["--grace-seconds", "7"];
    let printed = show(&command(), "registry", &parsed(file, &flags).unwrap());
    assert_eq!(settings(&printed, &[]), settings(file, &flags));
    let on_disk = written(file);
    let printed = show(&command(), "registry", &read(on_disk.path(), &flags).unwrap());
    insta::assert_snapshot!(printed.replace(on_disk.path().to_str().unwrap(), "FILE"));
}

#[test]
fn the_page_has_a_row_a_setting() {
    let page = reference::page(&command(), "registry");
    insta::assert_snapshot!(page[page.find("| in the file").unwrap()..].to_owned());
}

#[test]
fn help_is_given_with_a_file_too() {
    let SettingsError::Clap(error) = parsed("root: /data\n", &["--help"]).unwrap_err() else { panic!("not clap's") };
    assert_eq!(error.kind(), clap::error::ErrorKind::DisplayHelp);
    assert!(error.to_string().contains("[env: REGATTA_REGISTRY_LISTEN]"), "{error}");
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(file::parse(""), Ok(vec![]));
    assert_eq!(file::parse("# nothing\n"), Ok(vec![]));
}
