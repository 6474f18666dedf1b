//! What a manifest names: looked for before it is taken, and taken back from the collector.
//!
//! Each thing is looked at once, however often it is named, and some of them together: in a bucket a look takes a while.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, try_join_all};

use super::journal::Ticket;
use super::manifests::Incoming;
use super::register::{Author, Draft, Head, Op, Permit};
use super::{Register, Registry, RegistryError, Result, blobs};
use crate::oci::{Digest, Manifest, RepositoryName};

/// How deep rescuing follows indexes of indexes.
const DEEPEST: usize = 16;

/// How many things are looked at together.
const AT_ONCE: usize = 16;

/// So many missing things are named; then looking ends.
const MISSING: usize = 1_000;

/// How many different things a manifest may name: each is looked for, more than once.
pub(super) const NAMED: usize = 10_000;

/// As what a manifest names a digest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct As {
    /// As its configuration or a layer.
    blob: bool,
    /// In an index.
    child: bool,
    /// Not only by types that registries need not hold.
    required: bool,
}

type Named = Vec<(Digest, As)>;

/// What a manifest names, each once.
fn named(manifest: &Manifest) -> Named {
    let mut all = BTreeMap::<&Digest, As>::new();
    let blobs = manifest.config.iter().chain(&manifest.layers).map(|blob| (blob, false));
    for (descriptor, is_child) in blobs.chain(manifest.manifests.iter().map(|child| (child, true))) {
        let required = !descriptor.media_type.is_non_distributable();
        let known = all.entry(&descriptor.digest).or_default();
        known.child |= is_child;
        known.blob |= !is_child && required;
        known.required |= required;
    }
    all.into_iter().map(|(digest, named)| (digest.clone(), named)).collect()
}

/// For whom, and under which record.
#[derive(Clone, Copy)]
struct Rescue<'a> {
    repository: &'a RepositoryName,
    author: &'a Author,
    ticket: &'a Ticket,
    required: bool,
}

impl Registry {
    /// An error that names what is missing. Blobs must be linked here, children may be manifests or blobs.
    pub(super) async fn check_references(&self, incoming: &Incoming<'_>) -> Result<()> {
        let mut named = named(&incoming.manifest);
        if named.len() > NAMED {
            return Err(RegistryError::TooManyReferences { named: named.len(), most: NAMED });
        }
        if incoming.sparse {
            return Ok(());
        }
        named.retain(|(_, named)| named.required);
        let mut missing = BTreeSet::new();
        for together in named.chunks(AT_ONCE) {
            let looks = together.iter().map(|(digest, named)| self.is_here(incoming.repository, digest, !named.blob));
            let here = try_join_all(looks).await?;
            let absent = together.iter().zip(here).filter(|(_, here)| !here);
            missing.extend(absent.map(|((digest, _), _)| digest.clone()));
            if missing.len() >= MISSING {
                break;
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(RegistryError::ReferencesUnknown {
            repository: incoming.repository.clone(),
            missing: missing.into_iter().collect(),
        })
    }

    /// Whether the repository has what is named, condemned or not, and its bytes are somewhere.
    async fn is_here(&self, repository: &RepositoryName, digest: &Digest, or_manifest: bool) -> Result<bool> {
        let link = Register::Link(repository.clone(), digest.clone());
        let mut known = self.head(&link).await?.filter(Head::is_readable);
        if known.is_none() && or_manifest {
            let manifest = Register::Manifest(repository.clone(), digest.clone());
            known = self.head(&manifest).await?.filter(Head::is_readable);
        }
        let Some(known) = known else { return Ok(false) };
        let data = match self.data(digest).await? {
            None => self.open_data(digest).await?.map(|object| object.meta),
            data => data,
        };
        let Some(data) = data else { return Ok(false) };
        if let Err(damaged) = blobs::whole(digest, known.entry.size, data.size) {
            tracing::error!(digest = %digest, error = %damaged, "a manifest that names it is refused");
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes back whatever of the named things was condemned, with all that those reach. Where they are `required`, one
    /// that is not there is an error.
    pub(super) fn rescue_references<'a>(
        &'a self,
        repository: &'a RepositoryName,
        manifest: &'a Manifest,
        author: &'a Author,
        ticket: &'a Ticket,
        required: bool,
    ) -> BoxFuture<'a, Result<()>> {
        self.rescue_below(Rescue { repository, author, ticket, required }, manifest, 0)
    }

    fn rescue_below<'a>(
        &'a self,
        rescue: Rescue<'a>,
        manifest: &'a Manifest,
        depth: usize,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            for together in named(manifest).chunks(AT_ONCE) {
                try_join_all(together.iter().map(|(digest, named)| self.rescue_one(rescue, digest, *named, depth)))
                    .await?;
            }
            Ok(())
        })
    }

    async fn rescue_one(&self, rescue: Rescue<'_>, digest: &Digest, named: As, depth: usize) -> Result<()> {
        let Rescue { repository, author, ticket, required } = rescue;
        let missing =
            || RegistryError::ReferencesUnknown { repository: repository.clone(), missing: vec![digest.clone()] };
        let link = Register::Link(repository.clone(), digest.clone());
        let child = Register::Manifest(repository.clone(), digest.clone());
        let (link_head, _) = self.rescue(&link, author, ticket).await?;
        let (child_head, rescued) = self.rescue(&child, author, ticket).await?;
        let required = required && named.required;
        // The register too, not only the bytes: a client may have deleted the link since the first look.
        let is_set = self.secure(&link, link_head).await? || (named.child && self.secure(&child, child_head).await?);
        if required && depth == 0 && !is_set {
            return Err(missing());
        }
        if !self.secure_data(digest).await? && required {
            return Err(missing());
        }
        if rescued && depth < DEEPEST {
            let inner = self.read_manifest(repository, digest).await?;
            self.rescue_below(Rescue { required, ..rescue }, &inner, depth + 1).await?;
        }
        Ok(())
    }

    /// Whether a register is set by its head, and will be after a power cut: what is put on top of it must not be left
    /// without it.
    async fn secure(&self, register: &Register, head: Option<Head>) -> Result<bool> {
        let Some(head) = head.filter(Head::is_set) else { return Ok(false) };
        self.make_durable(register, &head).await?;
        Ok(true)
    }

    /// Sets a register that is condemned. Answers its head, and whether it was.
    async fn rescue(&self, register: &Register, author: &Author, ticket: &Ticket) -> Result<(Option<Head>, bool)> {
        loop {
            let head = self.head(register).await?;
            let Some(condemned) = head.as_ref().filter(|head| head.entry.op == Op::Condemn) else {
                return Ok((head, false));
            };
            let draft = Draft::from_entry(&condemned.entry, Op::Set);
            let landed = self.land(register, Some(condemned), &draft, author, Permit::Recorded(ticket)).await?;
            if landed.is_some() {
                return Ok((landed, true));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_named_once_as_all_that_it_is_named_as() {
        let digest = |text: &str| Digest::sha256(text.as_bytes());
        let entry =
            |media_type: &str, text| serde_json::json!({ "mediaType": media_type, "digest": digest(text), "size": 1 });
        let (layer, foreign) =
            ("application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar");
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry(layer, "a"), entry(foreign, "b"), entry(layer, "a"), entry(foreign, "a")],
        });
        let manifest = Manifest::parse(None, index.to_string().as_bytes()).unwrap();
        let mut named = named(&manifest);
        named.sort_by_key(|(_, named)| !named.required);
        let child = As { child: true, required: true, blob: false };
        assert_eq!(named, [(digest("a"), child), (digest("b"), As { required: false, ..child })]);
    }
}
