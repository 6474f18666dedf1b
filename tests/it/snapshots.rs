//! A snapshot that no test looks at says nothing, and looks as if it did.

use std::fs;
use std::path::{Path, PathBuf};

/// Every snapshot below a directory.
fn snapshots(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshots(&path));
        } else if path.extension().is_some_and(|extension| extension == "snap") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_snapshot_is_that_of_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all: Vec<PathBuf> = ["src", "tests"].iter().flat_map(|room| snapshots(&root.join(room))).collect();
    assert!(!all.is_empty());
    for snapshot in all {
        let text = fs::read_to_string(&snapshot).unwrap();
        let source = text.lines().find_map(|line| line.strip_prefix("source: ")).expect("where it comes from");
        let code = fs::read_to_string(root.join(source)).unwrap_or_default();
        let stem = snapshot.file_stem().unwrap().to_str().unwrap();
        let name = stem.rsplit("__").next().unwrap();
        let body =
            code.split_once(&format!("fn {name}()")).map(|(_, rest)| rest.split("\n}").next().unwrap_or_default());
        assert!(body.is_some_and(|body| body.contains("insta::assert")), "{stem}: no test of {source} looks at it");
    }
}
