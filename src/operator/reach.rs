//! Ways to a registry's pods: its keys, its addresses, and clients for them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::context::{Context, lock};
use super::failure::Failure;
use super::labels;
use super::secrets;
use crate::admin::KeySet;
use crate::admin::client::{Client, Credentials};
use crate::api::conditions::reason;

/// Secrets are looked at again after so long.
const KEYS_AGE: Duration = Duration::from_mins(5);

/// A registry, as far as it takes to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Namespace of the Registry.
    pub namespace: String,
    /// Name of the Registry.
    pub name: String,
    /// UID of the Registry.
    pub uid: String,
}

/// What the operator holds of a registry's keys Secret.
#[derive(Debug, Clone)]
pub struct Keys {
    /// What is signed with.
    pub set: KeySet,
    /// PEM of the authority of the internal certificate.
    pub authority: Vec<u8>,
    /// The Secret's UID: another one means other keys.
    pub secret_uid: String,
    read: Instant,
}

/// A pod's internal port.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it answers clients: a terminating pod that still serves does.
    pub serving: bool,
    /// Speaks to it.
    pub client: Client,
}

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub struct Reach {
    keys: Mutex<HashMap<String, Keys>>,
    clients: Mutex<HashMap<(String, SocketAddr), (String, Client)>>,
}

impl Reach {
    /// The registry is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.keys).remove(uid);
        lock(&self.clients).retain(|(of, _), _| of != uid);
    }
}

/// The keys of a registry; Waiting where they are not made yet.
pub async fn keys(context: &Context, target: &Target) -> Result<Keys, Failure> {
    if let Some(keys) = lock(&context.reach.keys).get(&target.uid)
        && keys.read.elapsed() < KEYS_AGE
    {
        return Ok(keys.clone());
    }
    let name = labels::keys_secret(&target.name);
    let secret = secrets::get(context, &target.namespace, &name)
        .await?
        .filter(|secret| secret.metadata.owner_references.iter().flatten().any(|owner| owner.uid == target.uid));
    let Some(secret) = secret else {
        let message = format!("the Secret {name} is not made yet");
        return Err(Failure::waiting(Duration::from_secs(1), reason::PROGRESSING, message));
    };
    let keys = read(&secret, &name)?;
    lock(&context.reach.keys).insert(target.uid.clone(), keys.clone());
    Ok(keys)
}

/// Forget the keys: a registry refused them.
pub fn forget_keys(context: &Context, target: &Target) {
    lock(&context.reach.keys).remove(&target.uid);
}

fn read(secret: &Secret, name: &str) -> Result<Keys, Failure> {
    let broken = |key: &str| {
        let message = format!("the Secret {name} has no usable {key}: delete the Secret, and it is made anew");
        Failure::stalled(reason::SECRET_INVALID, message)
    };
    let set = secrets::value(secret, "keys.json").and_then(|bytes| serde_json::from_slice(bytes).ok());
    Ok(Keys {
        set: set.ok_or_else(|| broken("keys.json"))?,
        authority: secrets::value(secret, "ca.crt").ok_or_else(|| broken("ca.crt"))?.to_vec(),
        secret_uid: secret.metadata.uid.clone().unwrap_or_default(),
        read: Instant::now(),
    })
}

/// Every pod of the registry, whatever its conditions, ordered by address, serving ones first.
pub fn pods(context: &Context, target: &Target, keys: &Keys) -> Result<Vec<Pod>, Failure> {
    let slices = context.caches.slices_of(&target.namespace, &labels::registry_child(&target.name));
    let mut addresses: Vec<(bool, SocketAddr)> = slices.iter().flat_map(|slice| addresses(slice)).collect();
    addresses.sort_by_key(|(serving, address)| (!serving, *address));
    addresses.dedup_by_key(|(_, address)| *address);
    let pod = |(serving, address)| Ok(Pod { address, serving, client: client(context, target, keys, address)? });
    addresses.into_iter().map(pod).collect()
}

fn addresses(slice: &EndpointSlice) -> Vec<(bool, SocketAddr)> {
    let ports = slice.ports.iter().flatten();
    let port = ports.filter(|port| port.name.as_deref() == Some("internal")).find_map(|port| port.port);
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { return vec![] };
    let of_endpoint = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let serving = conditions.serving.or(conditions.ready).unwrap_or(true);
        let ips: Vec<IpAddr> = endpoint.addresses.iter().filter_map(|address| address.parse().ok()).collect();
        ips.into_iter().map(move |ip| (serving, SocketAddr::new(ip, port)))
    };
    slice.endpoints.iter().flat_map(of_endpoint).collect()
}

fn client(context: &Context, target: &Target, keys: &Keys, address: SocketAddr) -> Result<Client, Failure> {
    let key = (target.uid.clone(), address);
    if let Some((secret, client)) = lock(&context.reach.clients).get(&key)
        && *secret == keys.secret_uid
    {
        return Ok(client.clone());
    }
    let credentials = Credentials::Operator { keys: keys.set.clone(), registry_uid: target.uid.clone() };
    let server_name = labels::server_name(&target.name, &target.namespace);
    let client = Client::pinned(&server_name, address, &keys.authority, credentials)?;
    let mut clients = lock(&context.reach.clients);
    // Pods come and go; what is forgotten here is made again.
    if clients.len() > 4096 {
        clients.clear();
    }
    clients.insert(key, (keys.secret_uid.clone(), client.clone()));
    Ok(client)
}
