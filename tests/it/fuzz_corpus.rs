//! What the fuzzer (scripts/fuzz.sh) has found worth keeping, and what once was a finding, by every run of the tests.

#[path = "../../fuzz/src/targets.rs"]
mod targets;

#[test]
fn every_input_of_the_corpora_keeps_its_promises() {
    let corpora = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
    for (name, target) in targets::ALL {
        let directory =
            std::fs::read_dir(format!("{corpora}/{name}")).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut inputs: Vec<_> = directory.map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name} has no input");
        for input in inputs {
            eprintln!("{}", input.display());
            target(&std::fs::read(&input).unwrap());
        }
    }
    let known = std::fs::read_dir(corpora).unwrap().count();
    assert_eq!(known, targets::ALL.len(), "a directory of {corpora} belongs to no target");
}
