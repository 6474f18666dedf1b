//! libFuzzer over the targets of `targets.rs`, one a process: `REGATTA_FUZZ` names it.
//!
//! One binary, because each would link the whole of Regatta again.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

mod targets;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

fn chosen() -> targets::Target {
    let name = std::env::var("REGATTA_FUZZ").unwrap_or_default();
    let known: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    match targets::ALL.iter().find(|(known, _)| *known == name) {
        Some((_, target)) => *target,
        None => panic!("REGATTA_FUZZ is `{name}`; it names one of {}", known.join(", ")),
    }
}

fuzz_target!(|data: &[u8]| TARGET.get_or_init(chosen)(data));
