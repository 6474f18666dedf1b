//! Variables that look like a setting's and are none's.
//!
//! One that is misspelt would be ignored without a word. But Kubernetes gives pods variables for each Service of their
//! namespace, and those of a Service `regatta-registry`, or of one whose name begins so, look like settings:
//! `REGATTA_REGISTRY_SERVICE_HOST`, `REGATTA_REGISTRY_SERVICE_PORT_HTTP`, `REGATTA_REGISTRY_PORT`,
//! `REGATTA_REGISTRY_PORT_5000_TCP_ADDR` (kubernetes.io, "Accessing the Service"). Those are let be.

use std::ffi::OsString;

use clap::Command;

use super::{CONFIG, Origin, SettingsError, is_setting, near, variable};

/// Refuses one that is no setting's of the subcommand, nor another subcommand's.
pub(super) fn refuse_unknown(
    built: &Command,
    layered: &Command,
    subcommand: &str,
    names: impl Iterator<Item = OsString>,
) -> Result<(), SettingsError> {
    let prefix = format!("REGATTA_{}_", subcommand.to_ascii_uppercase());
    let settings = layered.get_arguments().filter(|argument| is_setting(argument) || argument.get_id() == CONFIG);
    let known: Vec<String> = settings.map(|argument| variable(subcommand, argument)).collect();
    let elsewhere = |name: &str| {
        let mut arguments = built.get_subcommands().flat_map(Command::get_arguments);
        arguments.any(|argument| argument.get_env().is_some_and(|env| env == name))
    };
    let names = names.filter_map(|name| name.into_string().ok());
    let wrong = names
        .filter(|name| name.starts_with(&prefix) && !is_of_a_service(name))
        .find(|name| !known.contains(name) && !elsewhere(name));
    let Some(name) = wrong else { return Ok(()) };
    // All begin alike, which would make all of them like each other.
    let end = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
    let why = match near(&end(&name), known.iter().map(|known| (end(known), known.clone()))).as_str() {
        "" => format!("no setting has this variable; there are {}", known.join(", ")),
        near => format!("no setting has this variable; is it {near}?"),
    };
    Err(SettingsError::Wrong { origin: Origin::Variable(name), why })
}

/// Whether Kubernetes would make a variable of this name for a Service.
fn is_of_a_service(name: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_protocol = |word: &str| matches!(word, "TCP" | "UDP" | "SCTP");
    let is_number = |word: &str| word.parse::<u16>().is_ok();
    let has_named_port = words.windows(2).any(|pair| pair == ["SERVICE", "PORT"]);
    let is_address = match words.as_slice() {
        [.., "PORT"] | [.., "SERVICE", "HOST"] => true,
        [.., "PORT", number, protocol] | [.., "PORT", number, protocol, "PROTO" | "ADDR"] => {
            is_number(number) && is_protocol(protocol)
        }
        _ => false,
    };
    has_named_port || is_address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_says_of_services_is_none_of_ours() {
        for name in [
            "REGATTA_REGISTRY_SERVICE_HOST",
            "REGATTA_REGISTRY_SERVICE_PORT",
            "REGATTA_REGISTRY_SERVICE_PORT_HTTPS_ALT",
            "REGATTA_REGISTRY_PORT",
            "REGATTA_REGISTRY_PORT_5000_TCP",
            "REGATTA_REGISTRY_PORT_5000_TCP_PROTO",
            "REGATTA_REGISTRY_PORT_5000_TCP_PORT",
            "REGATTA_REGISTRY_PORT_5000_UDP_ADDR",
            "REGATTA_REGISTRY_INTERNAL_SERVICE_HOST",
        ] {
            assert!(is_of_a_service(name), "{name}");
        }
        for name in ["REGATTA_REGISTRY_LISEN", "REGATTA_REGISTRY_PORT_X", "REGATTA_REGISTRY_PORT_5000_HTTP"] {
            assert!(!is_of_a_service(name), "{name}");
        }
    }
}
