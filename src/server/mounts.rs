//! Mounts (distribution-spec, "Mounting a blob from another repository").
//!
//! A blob is mounted out of a repository that links it now; bytes that nobody links are not there.
//!
//! With `from`: pull is needed there, of the identity and of its token; a token that does not cover it is asked for
//! again. A source that the identity may not read and one that does not exist look alike: an upload begins.
//!
//! Without `from`: from any repository that the identity may pull. A token cannot cover what its client does not know
//! by name, so the identity's own rights decide alone; what it gets must be pushed to a repository that the token
//! covers, and its digest known. The target's own namespace is looked at first, then the projects that the identity may
//! pull, and only so many repositories (see `registry::find`). Where they are does not depend on where the blob is: time
//! tells nothing of what may not be seen.
//!
//! Admins with a password may pull everything. So may replicators, for whom `from` is only where to look first: one POST
//! answers them, whatever they remember. `regatta replicate` with an admin's password names the target itself where it
//! remembers nothing, which is as if it named none.

use axum::response::Response;

use super::Fault;
use super::dispatch::Call;
use super::uploads::{created, invalid_digest};
use crate::auth::{Identity, Permission, Scope};
use crate::oci::{Digest, RepositoryName};
use crate::registry::find::{ELSEWHERE, NEARBY};

/// Links the blob that `?mount=` names; `None` where that cannot be, and an upload is to begin.
pub async fn mount(call: &Call, name: &RepositoryName) -> Result<Option<Response>, Fault> {
    let Some(digest) = call.query("mount") else { return Ok(None) };
    let digest: Digest = digest.parse().map_err(invalid_digest)?;
    let registry = call.server.registry();
    let from = call.query("from").filter(|from| !from.is_empty());
    let source = match &from {
        Some(from) => named(call, name, from)?,
        None if call.may_read_everything() => None,
        None => anywhere(call, name, &digest).await?,
    };
    if let Some(source) = source
        && registry.mount(name, &source, &digest, &call.author()).await?
    {
        return Ok(Some(created(name, &digest)));
    }
    // From the target itself: it is asked whether the blob is there already, and if not, elsewhere.
    let is_named = from.is_some_and(|from| from != name.as_str());
    let mounted =
        looks_everywhere(call, is_named) && registry.mount_from_anywhere(name, &digest, &call.author()).await?;
    Ok(mounted.then(|| created(name, &digest)))
}

fn looks_everywhere(call: &Call, is_named: bool) -> bool {
    let is_replicator = matches!(call.caller.identity, Identity::Replicator { .. });
    call.may_read_everything() && (is_replicator || !is_named)
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
    let nearby = vec![name.namespace().to_owned()];
    if let Some(found) = registry.find_link(nearby, digest, &may, NEARBY).await? {
        return Ok(Some(found));
    }
    Ok(registry.find_link(places(call), digest, &may, ELSEWHERE).await?)
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
    access.projects.keys().filter(may).take(ELSEWHERE).cloned().collect()
}
