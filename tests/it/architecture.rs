//! Holds every import of the crate against the table of rooms in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What each room may use; `None` for everything.
type Table = BTreeMap<String, Option<BTreeSet<String>>>;

fn names(cell: &str) -> Vec<String> {
    let quoted = Regex::new("`([a-z]+)`").unwrap();
    quoted.captures_iter(cell).map(|found| found[1].to_owned()).collect()
}

/// The table: rows of three columns of which the first has names in backquotes, and the last names or words.
fn table() -> Table {
    let text = fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap();
    let mut table = Table::new();
    for line in
        text.lines().skip_while(|line| !line.starts_with("| room")).skip(2).take_while(|line| line.starts_with('|'))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [rooms, _, may] = cells.as_slice() else { panic!("three columns expected: {line}") };
        let may = (may.trim() != "everything").then(|| names(may).into_iter().collect());
        table.extend(names(rooms).into_iter().map(|room| (room, may.clone())));
    }
    assert!(table.len() >= 10, "the table was not found: {table:?}");
    table
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn room(path: &Path) -> String {
    let relative = path.strip_prefix(Path::new(ROOT).join("src")).unwrap();
    relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Rooms named by `crate::room` or `crate::{room, room::x}`, also in code that is not an import.
fn rooms_used(text: &str) -> BTreeSet<String> {
    let direct = Regex::new(r"\bcrate::([a-z_]+)").unwrap();
    let group = Regex::new(r"(?s)\bcrate::\{(.*?)\};").unwrap();
    let mut used: BTreeSet<String> = direct.captures_iter(text).map(|found| found[1].to_owned()).collect();
    for found in group.captures_iter(text) {
        // Only the first level: `{admin::{a, b}, oci}` names admin and oci.
        let mut depth = 0;
        let mut item = String::new();
        for character in found[1].chars().chain([',']) {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    used.extend(item.trim().split("::").next().filter(|name| !name.is_empty()).map(str::to_owned));
                    item.clear();
                }
                _ if depth == 0 => item.push(character),
                _ => {}
            }
        }
    }
    used
}

/// Comments may say whatever they like.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn each_source(mut look: impl FnMut(&str, &Path, &str)) {
    let mut found = Vec::new();
    sources(&Path::new(ROOT).join("src"), &mut found);
    for path in found {
        look(&room(&path), &path, &code(&fs::read_to_string(&path).unwrap()));
    }
}

#[test]
fn every_room_uses_only_what_the_table_lets_it() {
    let table = table();
    let mut wrong = Vec::new();
    each_source(|room, path, text| {
        if room == "lib" {
            return;
        }
        let Some(may) = table.get(room) else {
            wrong.push(format!("{}: the room `{room}` is not in the table", path.display()));
            return;
        };
        let Some(may) = may else { return };
        let used = rooms_used(text);
        let strange = used.iter().filter(|used| *used != room && table.contains_key(*used) && !may.contains(*used));
        wrong.extend(strange.map(|used| format!("{}: `{room}` may not use `{used}`", path.display())));
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_must_never_be_is_not() {
    let never: [(&[&str], &[&str]); 4] = [
        (
            &["registry", "gc", "store", "auth", "server", "oci", "clock", "client", "replicate"],
            &["kube", "k8s_openapi"],
        ),
        (&["operator", "registry", "gc", "auth", "store", "replicate", "client"], &["axum"]),
        (&["oci"], &["tokio", "reqwest", "axum"]),
        (&["registry", "gc", "store", "auth", "operator"], &["hyper"]),
    ];
    let mut wrong = Vec::new();
    each_source(|room, path, text| {
        for (rooms, crates) in never {
            for name in crates.iter().filter(|_| rooms.contains(&room)) {
                if Regex::new(&format!(r"\b{name}::")).unwrap().is_match(text) {
                    wrong.push(format!("{}: `{room}` must never use {name}", path.display()));
                }
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_of_the_table_is_there() {
    let missing = |room: &String| !Path::new(ROOT).join("src").join(format!("{room}.rs")).exists();
    let missing: Vec<String> = table().into_keys().filter(missing).collect();
    assert!(missing.is_empty(), "in ARCHITECTURE.md and not in src/: {missing:?}");
}

#[test]
fn groups_of_imports_are_read_too() {
    let used = rooms_used("use crate::{admin::{Edge, Key}, oci, store::fs::FsStore};\nlet x = crate::clock::System;");
    assert_eq!(used, ["admin", "clock", "oci", "store"].map(str::to_owned).into());
}

#[test]
fn files_are_named_for_what_is_in_them() {
    let mut found = Vec::new();
    sources(&Path::new(ROOT).join("src"), &mut found);
    let strange: Vec<_> = found.iter().filter(|path| path.ends_with("mod.rs")).collect();
    assert!(strange.is_empty(), "modules are `foo.rs` and `foo/`: {strange:?}");
}
