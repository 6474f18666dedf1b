//! Settings of the very program: from a file, the environment and the command line.

use std::path::Path;
use std::process::{Command, Output};

use crate::program::{Program, regatta};

fn registry(directory: &Path) -> Command {
    plain(directory, "registry")
}

fn plain(directory: &Path, subcommand: &str) -> Command {
    let mut command = regatta();
    command.arg(subcommand).current_dir(directory).env_clear();
    command
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_flag_wins_over_a_variable_that_over_the_file_and_that_over_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let file = "root: data\nlisten: 127.0.0.1:1\nhealthListen: 127.0.0.1:2\nmetricsListen: 127.0.0.1:3\nadmin: [ada]\nhtpasswdFile: users\n";
    std::fs::write(directory.path().join("registry.yaml"), file).unwrap();
    let mut command = registry(directory.path());
    command.args(["--print-config", "--listen", "127.0.0.1:11"]);
    command.env("REGATTA_REGISTRY_CONFIG", "registry.yaml");
    command.env("REGATTA_REGISTRY_LISTEN", "127.0.0.1:21").env("REGATTA_REGISTRY_HEALTH_LISTEN", "127.0.0.1:22");
    command.env("REGATTA_REGISTRY_EXTERNAL_URL", "https://a,https://b");
    let text = printed(&command.output().unwrap());
    for line in [
        "root: data  # registry.yaml:1",
        "listen: 127.0.0.1:11  # command line",
        "healthListen: 127.0.0.1:22  # REGATTA_REGISTRY_HEALTH_LISTEN",
        "metricsListen: 127.0.0.1:3  # registry.yaml:4",
        "graceSeconds: 580  # default",
        "# tlsCert: not set",
        "externalUrl:  # REGATTA_REGISTRY_EXTERNAL_URL\n  - https://a\n  - https://b",
        "admin:  # registry.yaml:5\n  - ada",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} is not in:\n{text}");
    }
    assert!(!directory.path().join("data").exists(), "who asks for settings gets nothing else");

    std::fs::write(directory.path().join("printed.yaml"), &text).unwrap();
    let again =
        printed(&registry(directory.path()).args(["--config", "printed.yaml", "--print-config"]).output().unwrap());
    let values = |text: &str| text.lines().map(|line| line.split("  #").next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&again), values(&text));
}

/// A bucket in the environment and a directory on the command line, and the like: there is one store, the one that is said
/// at the highest place, and it is told what was passed over. At one place they are refused.
#[tokio::test]
async fn of_settings_that_exclude_each_other_the_one_at_the_higher_place_wins() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("registry.yaml");
    let print = |file_says: &str, variables: &[(&str, &str)], flags: &[&str]| {
        std::fs::write(&file, file_says).unwrap();
        let mut command = registry(directory.path());
        command.args(["--print-config", "--config", "registry.yaml"]).args(flags).envs(variables.iter().copied());
        command.output().unwrap()
    };
    let (root, store) = (("REGATTA_REGISTRY_ROOT", "r-env"), ("REGATTA_REGISTRY_STORE", "s-env.yaml"));
    let because = |what: &str, origin: &str, by: &str| {
        format!("# {what}: not set; what is said of {origin} is not in force: {by} excludes it")
    };
    for (file_says, variables, flags, wins, lost) in [
        (
            "{}\n",
            &[store][..],
            &["--root", "r"][..],
            "root: r  # command line",
            because("store", "REGATTA_REGISTRY_STORE", "`root` (command line)"),
        ),
        (
            "{}\n",
            &[root],
            &["--store", "s.yaml"],
            "store: s.yaml  # command line",
            because("root", "REGATTA_REGISTRY_ROOT", "`store` (command line)"),
        ),
        (
            "root: r-file\n",
            &[store],
            &[],
            "store: s-env.yaml  # REGATTA_REGISTRY_STORE",
            because("root", "registry.yaml:1", "`store` (REGATTA_REGISTRY_STORE)"),
        ),
        (
            "store: s-file.yaml\n",
            &[root],
            &[],
            "root: r-env  # REGATTA_REGISTRY_ROOT",
            because("store", "registry.yaml:1", "`root` (REGATTA_REGISTRY_ROOT)"),
        ),
        (
            "store: s-file.yaml\n",
            &[],
            &["--root", "r"],
            "root: r  # command line",
            because("store", "registry.yaml:1", "`root` (command line)"),
        ),
        // All three: a flag over a variable of the same, over another of the file.
        (
            "root: r-file\n",
            &[store],
            &["--store", "s.yaml"],
            "store: s.yaml  # command line",
            because("root", "registry.yaml:1", "`store` (command line)"),
        ),
        (
            "root: r-file\n",
            &[store],
            &["--root", "r"],
            "root: r  # command line",
            because("store", "REGATTA_REGISTRY_STORE", "`root` (command line)"),
        ),
        (
            "root: r-file\n",
            &[("REGATTA_REGISTRY_ADMIN_PASSWORD_FILE", "p")],
            &["--htpasswd-file", "h"],
            "htpasswdFile: h  # command line",
            because("adminPasswordFile", "REGATTA_REGISTRY_ADMIN_PASSWORD_FILE", "`htpasswdFile` (command line)"),
        ),
    ] {
        let text = printed(&print(file_says, variables, flags));
        for line in [wins, &lost] {
            assert!(text.contains(&format!("\n{line}\n")), "{line} is not in:\n{text}");
        }
    }
    let both = refused(&print("{}\n", &[root, store], &[]));
    assert!(both.contains("exclude each other") && both.contains("REGATTA_REGISTRY_ROOT"), "{both}");
    let both = refused(&print("root: r\nstore: s\n", &[], &[]));
    assert_eq!(both, "regatta: registry.yaml:2: `store` and `root` (registry.yaml:1) exclude each other\n");
    let both = refused(&print("{}\n", &[], &["--root", "r", "--store", "s"]));
    assert!(both.contains("'--root <DIR>' cannot be used with '--store <FILE>'"), "{both}");

    // Who does not print them is told in the log.
    let mut command = registry(directory.path());
    command.args(["--root", "data", "--listen", "127.0.0.1:0"]).envs([store]);
    let program = Program::spawn(&mut command);
    let told = program.line("it is told", |line| line["message"] == "a setting is passed over").await;
    let why = told["why"].as_str().unwrap();
    assert_eq!(why, "`store` of REGATTA_REGISTRY_STORE is not in force: `root` (command line) excludes it");
    let serving = program.line("it serves", |line| line["message"] == "serving").await;
    assert_eq!(serving["store"], "data");
}

#[test]
fn what_is_wrong_in_a_file_or_a_variable_is_said_with_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("registry.yaml");
    std::fs::write(&file, "root: data\nlisten: everywhere\n").unwrap();
    let said = refused(&registry(directory.path()).args(["--config", "registry.yaml"]).output().unwrap());
    assert!(said.starts_with("regatta: registry.yaml:2: `listen` is `everywhere`: "), "{said}");
    std::fs::write(&file, "root: data\nhtpaswdFile: users\n").unwrap();
    let said = refused(&registry(directory.path()).args(["--config", "registry.yaml"]).output().unwrap());
    assert_eq!(said, "regatta: registry.yaml:2: `htpaswdFile` is no setting; is it `htpasswdFile`?\n");
    let said = refused(&registry(directory.path()).env("REGATTA_REGISTRY_LISTEN", "everywhere").output().unwrap());
    assert!(said.starts_with("regatta: REGATTA_REGISTRY_LISTEN: `listen` is `everywhere`: "), "{said}");
    let said = refused(&registry(directory.path()).args(["--listen", "everywhere"]).output().unwrap());
    assert!(said.contains("'everywhere' for '--listen <ADDRESS>'"), "{said}");
}

/// It was found after the store was made and a password printed, or not at all, and told without its place.
#[test]
fn what_is_wrong_is_said_with_its_place_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("registry.yaml");
    for (text, print, said) in [
        (
            "root: data\nexternalUrl: https://a/path\n",
            true,
            "registry.yaml:2: `externalUrl` is `https://a/path`: not `http",
        ),
        ("root: data\nexternalUrl:\n  - https://a\n  - b\n", true, "registry.yaml:4: `externalUrl` is `b`: not `http"),
        ("root: data\nexternalUrl: [\"https://a,b\"]\n", true, "registry.yaml:2: `externalUrl` is `https://a,b`: not"),
        (
            "root: data\ntlsCert: none.crt\n",
            true,
            "registry.yaml:2: `tlsCert` needs `tlsKey`, of which nothing is said",
        ),
        (
            "root: data\nstore: s3.yaml\n",
            true,
            "registry.yaml:2: `store` and `root` (registry.yaml:1) exclude each other",
        ),
        (
            "root: data\nlogFilter: inof\n",
            true,
            "registry.yaml:2: `logFilter` is `inof`: `inof` is neither off, error,",
        ),
        ("root: data\ntlsCert: no.crt\ntlsKey: no.key\n", false, "registry.yaml:2: `tlsCert`: no.crt cannot be read: "),
        ("root: data\nhtpasswdFile: users\n", false, "registry.yaml:2: `htpasswdFile`: users cannot be read: "),
        ("store: s3.yaml\n", false, "registry.yaml:1: `store`: s3.yaml cannot be read: "),
    ] {
        std::fs::write(&file, text).unwrap();
        let mut runs = vec![vec!["--config", "registry.yaml"]];
        runs.extend(print.then(|| vec!["--config", "registry.yaml", "--print-config"]));
        for args in runs {
            let output = registry(directory.path()).args(args).output().unwrap();
            let found = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && found.contains(&format!("regatta: {said}")), "{text}: {found}");
            assert!(output.stdout.is_empty() && !directory.path().join("data").exists(), "{text}: nothing is made");
        }
    }
}

/// A word that is no level was taken for a target, or for `info`; a variable that no setting has, for nothing.
#[test]
fn variables_that_say_nothing_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let said = |variables: &[(&str, &str)], command: &str| {
        refused(&plain(directory.path(), command).envs(variables.iter().copied()).output().unwrap())
    };
    let root = ("REGATTA_REGISTRY_ROOT", "data");
    let filter = said(&[root, ("REGATTA_LOG", "loud")], "registry");
    assert!(filter.starts_with("regatta: REGATTA_LOG: `logFilter` is `loud`: "), "{filter}");
    let filter = said(&[("REGATTA_LOG", "regatta=loud")], "crds");
    assert!(filter.starts_with("regatta: REGATTA_LOG: `regatta=loud` is neither "), "{filter}");
    let unknown = said(&[root, ("REGATTA_REGISTRY_LISEN", "127.0.0.1:1")], "registry");
    assert!(
        unknown.contains("REGATTA_REGISTRY_LISEN: no setting has this variable; is it `REGATTA_REGISTRY_LISTEN`"),
        "{unknown}"
    );
    let conflict = said(&[root, ("REGATTA_REGISTRY_STORE", "s3.yaml")], "registry");
    assert!(conflict.contains("exclude each other") && conflict.contains("(REGATTA_REGISTRY_ROOT)"), "{conflict}");
    // What Kubernetes says of a Service `regatta-registry`.
    let mut command = registry(directory.path());
    command.env("REGATTA_REGISTRY_SERVICE_HOST", "10.0.0.1").env("REGATTA_REGISTRY_PORT", "tcp://10.0.0.1:5000");
    command.env("REGATTA_REGISTRY_PORT_5000_TCP_ADDR", "10.0.0.1").env("REGATTA_LOG", "info,regatta::access=off");
    let text = printed(&command.args(["--root", "data", "--print-config"]).output().unwrap());
    assert!(text.contains("\nlogFilter: info,regatta::access=off  # REGATTA_LOG\n"), "{text}");
}

/// Each was taken, and served nobody, or was ignored without a word.
#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let said = |args: &[&str]| refused(&registry(directory.path()).args(args).output().unwrap());
    std::fs::write(directory.path().join("registry.yaml"), "root: data\nmaxConnections: 0\n").unwrap();
    let file = said(&["--config", "registry.yaml"]);
    assert!(file.starts_with("regatta: registry.yaml:2: `maxConnections` is `0`: "), "{file}");
    for (args, name) in [
        (&["--max-connections", "0"][..], "--max-connections"),
        (&["--registry-uid", "u", "--keys-file", "k", "--admin-password-file", "p"], "--admin-password-file"),
        (&["--internal-tls-cert", "c", "--internal-tls-key", "k"], "--internal-listen"),
    ] {
        let flags = said(&[&["--root", "data"], args].concat());
        assert!(flags.contains(name), "{args:?}: {flags}");
    }
}

#[tokio::test]
async fn a_registry_serves_as_its_file_says() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("registry.yaml"), "root: data\nlisten: \"127.0.0.1:0\"\n").unwrap();
    let mut command = registry(directory.path());
    command.args(["--config", "registry.yaml"]);
    let program = Program::spawn(&mut command);
    let serving = program.line("it serves", |line| line["message"] == "serving").await;
    assert_eq!((serving["store"].as_str(), serving["config"].as_str()), (Some("data"), Some("registry.yaml")));
    assert!(directory.path().join("data").is_dir());
}
