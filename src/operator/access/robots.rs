//! Robots' credentials: how they are made, written as a pull secret, and read back.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::operator::secrets;

/// The key of a pull secret.
pub const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// The type of a pull secret.
pub const DOCKER_CONFIG_TYPE: &str = "kubernetes.io/dockerconfigjson";

/// One that is given as input must have so many characters.
pub const LEAST_LENGTH: usize = 32;

/// The name that a robot logs in with.
pub fn login(namespace: &str, name: &str) -> String {
    format!("robot+{namespace}+{name}")
}

/// A new secret: 256 random bits, prefixed so that scanners find it, and with a checksum so that a typing error is
/// told from a wrong secret.
pub fn generate() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    let body = format!("regatta_robot_{}", URL_SAFE_NO_PAD.encode(bytes));
    let checksum = hex::encode(&Sha256::digest(body.as_bytes())[..4]);
    Ok(format!("{body}_{checksum}"))
}

/// What the access document has of a secret.
pub fn fingerprint(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// The content of a pull secret: the same credentials for each host.
pub fn docker_config(hosts: &[String], login: &str, secret: &str) -> Value {
    let auth = STANDARD.encode(format!("{login}:{secret}"));
    let entry = json!({ "username": login, "password": secret, "auth": auth });
    let auths: BTreeMap<&str, &Value> = hosts.iter().map(|host| (host.as_str(), &entry)).collect();
    json!({ "auths": auths })
}

/// The robot's secret in a Secret of either form: a pull secret that has its login, or `password`.
pub fn read(secret: &Secret, login: &str) -> Option<String> {
    if let Some(config) = secrets::value(secret, DOCKER_CONFIG) {
        return from_docker_config(config, login);
    }
    let password = secrets::value(secret, "password")?;
    String::from_utf8(password.to_vec()).ok()
}

fn from_docker_config(config: &[u8], login: &str) -> Option<String> {
    let config: Value = serde_json::from_slice(config).ok()?;
    let entries = config.get("auths")?.as_object()?.values();
    entries.filter_map(credentials).find(|(username, _)| username == login).map(|(_, password)| password)
}

fn credentials(entry: &Value) -> Option<(String, String)> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    if let (Some(username), Some(password)) = (text("username"), text("password")) {
        return Some((username, password));
    }
    let decoded = String::from_utf8(STANDARD.decode(text("auth")?).ok()?).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

/// The hosts of a pull secret.
pub fn hosts(secret: &Secret) -> Vec<String> {
    let config = secrets::value(secret, DOCKER_CONFIG).and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
    let auths = config.as_ref().and_then(|config| config.get("auths")).and_then(Value::as_object);
    auths.into_iter().flat_map(|auths| auths.keys().cloned()).collect()
}

/// `host[:port]` of an URL: what an image's name begins with.
pub fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret_with(key: &str, value: &[u8]) -> Secret {
        Secret { data: Some(BTreeMap::from([(key.to_owned(), ByteString(value.to_vec()))])), ..Secret::default() }
    }

    #[test]
    fn a_generated_secret_has_its_prefix_and_its_checksum() {
        let secret = generate().unwrap();
        let (body, checksum) = secret.rsplit_once('_').unwrap();
        assert_eq!(body.len(), "regatta_robot_".len() + 43);
        assert_eq!(checksum, hex::encode(&Sha256::digest(body.as_bytes())[..4]));
    }

    #[test]
    fn what_is_written_as_a_pull_secret_is_read_back() {
        let config = docker_config(&["a:5000".to_owned(), "b".to_owned()], "robot+ns+r", "s").to_string();
        let secret = secret_with(DOCKER_CONFIG, config.as_bytes());
        assert_eq!(read(&secret, "robot+ns+r").as_deref(), Some("s"));
        assert_eq!(read(&secret, "robot+ns+other"), None);
        assert_eq!(hosts(&secret), ["a:5000", "b"]);
    }

    #[test]
    fn a_pull_secret_with_nothing_but_auth_is_read_too() {
        let config = json!({ "auths": { "h": { "auth": STANDARD.encode("robot+ns+r:s:t") } } }).to_string();
        assert_eq!(read(&secret_with(DOCKER_CONFIG, config.as_bytes()), "robot+ns+r").as_deref(), Some("s:t"));
    }

    #[test]
    fn a_host_is_what_an_image_name_begins_with() {
        assert_eq!(host_of("https://10.0.0.1:30500"), "10.0.0.1:30500");
        assert_eq!(host_of("http://registry.example/"), "registry.example");
    }
}
