//! Mounts (distribution-spec, "Mounting a blob from another repository").
//!
//! With `from`: pull is needed there, of the identity and of its token; a token that does not cover it is asked for
//! again. A source that the identity may not read and one that does not exist look alike: an upload begins.
//!
//! Without `from`: from any repository that the identity may pull. A token cannot cover what its client does not know
//! by name, so the identity's own rights decide alone; what it gets must be pushed to a repository that the token
//! covers, and its digest known. The target's own namespace is looked at first, then the projects that the identity may
//! pull, and only so many repositories. Where they are does not depend on where the blob is: time tells nothing of
//! what may not be seen.

use axum::response::Response;

use super::Fault;
use super::dispatch::Call;
use super::uploads::{created, invalid_digest};
use crate::auth::{Permission, Scope};
use crate::oci::{Digest, RepositoryName};

/// How many directories of repositories are looked at for a blob, in each of two walks.
const LOOKED_AT: usize = 256;

/// Links the blob that `?mount=` names; `None` where that cannot be, and an upload is to begin.
pub async fn mount(call: &Call, name: &RepositoryName) -> Result<Option<Response>, Fault> {
    let Some(digest) = call.query("mount") else { return Ok(None) };
    let digest: Digest = digest.parse().map_err(invalid_digest)?;
    let registry = call.server.registry();
    if call.may_read_everything() {
        // Wherever it is: one POST then answers a replicator, whatever it remembers.
        let mounted = registry.mount_from_anywhere(name, &digest, &call.author()).await?;
        return Ok(mounted.then(|| created(name, &digest)));
    }
    let source = match call.query("from").filter(|from| !from.is_empty()) {
        Some(from) => named(call, name, &from)?,
        None => anywhere(call, name, &digest).await?,
    };
    let Some(source) = source else { return Ok(None) };
    let mounted = registry.mount(name, &source, &digest, &call.author()).await?;
    Ok(mounted.then(|| created(name, &digest)))
}

/// What a challenge asks for beside push, where a mount names its source.
pub fn scope_of_source(call: &Call) -> Option<String> {
    call.query("mount")?;
    let from: RepositoryName = call.query("from")?.parse().ok()?;
    Some(Scope::required(Permission::Pull, &from))
}

fn named(call: &Call, name: &RepositoryName, from: &str) -> Result<Option<RepositoryName>, Fault> {
    let Ok(from) = from.parse::<RepositoryName>() else { return Ok(None) };
    if !call.gate.allows(&call.caller, Permission::Pull, &from) {
        return Ok(None);
    }
    match &call.caller.scope {
        Some(scope) if !scope.covers(Permission::Pull, &from) => {
            let both = [Scope::required(Permission::Push, name), Scope::required(Permission::Pull, &from)].join(" ");
            Err(Fault::insufficient_scope(both))
        }
        Some(_) | None => Ok(Some(from)),
    }
}

async fn anywhere(call: &Call, name: &RepositoryName, digest: &Digest) -> Result<Option<RepositoryName>, Fault> {
    let (registry, gate, caller) = (call.server.registry(), &call.gate, &call.caller);
    let may = |name: &RepositoryName| gate.allows(caller, Permission::Pull, name);
    let namespace = name.as_str().split('/').next().unwrap_or_default().to_owned();
    if let Some(found) = registry.find_link(vec![namespace], digest, &may, LOOKED_AT).await? {
        return Ok(Some(found));
    }
    Ok(registry.find_link(places(call), digest, &may, LOOKED_AT).await?)
}

/// Where there may be something that the caller may pull: in projects, and for admins anywhere.
fn places(call: &Call) -> Vec<String> {
    let access = call.gate.access();
    if access.admins.contains(&call.caller.identity) {
        return vec![String::new()];
    }
    let may = |name: &&String| {
        let name = name.parse::<RepositoryName>();
        name.is_ok_and(|name| call.gate.allows(&call.caller, Permission::Pull, &name))
    };
    access.projects.keys().filter(may).take(LOOKED_AT).cloned().collect()
}
