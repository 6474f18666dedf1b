//! What is in the store: every register's head, every byte's size and age. Reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::oci::{Algorithm, Digest, Manifest, MediaType, RepositoryName};
use crate::registry::enumerate::{Hint, Trashed};
use crate::registry::{Head, Op, Register, Registry, RegistryError, journal};

/// The whole store.
#[derive(Debug, Default)]
pub struct Survey {
    /// By name.
    pub repositories: BTreeMap<RepositoryName, Repository>,
    /// The names in the catalog.
    pub catalog: BTreeSet<RepositoryName>,
    /// Bytes in place: size, and when they were written in milliseconds since the epoch.
    pub data: BTreeMap<Digest, (u64, u64)>,
    /// Bytes in the trash.
    pub trash: Vec<Trashed>,
    /// What unsettled journal records name: it counts as needed.
    pub unsettled: BTreeSet<Register>,
    /// What could not be read; everything in its repository is kept.
    pub errors: Vec<String>,
}

/// One repository.
#[derive(Debug, Default)]
pub struct Repository {
    /// What set tags point to.
    pub tagged: BTreeSet<Digest>,
    /// Manifests that are set or condemned.
    pub manifests: BTreeMap<Digest, Item>,
    /// Links that are set or condemned.
    pub links: BTreeMap<Digest, Item>,
    /// What each manifest names, and what it is about.
    pub named: BTreeMap<Digest, Named>,
    /// Deleted manifests, and the version that says so.
    pub ended: BTreeMap<Digest, u64>,
    /// Hints of referrers.
    pub hints: Vec<Hint>,
    /// Something in here could not be read: keep everything.
    pub unreadable: bool,
}

/// A register that is set or condemned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// The number of the version that says so.
    pub version: u64,
    /// Since when it is that, in milliseconds since the epoch.
    pub since: u64,
    /// Whether it is condemned.
    pub condemned: bool,
}

/// What a manifest names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Config, layers and children.
    pub references: Vec<Digest>,
    /// What it refers to.
    pub subject: Option<Digest>,
}

/// Reads everything. `progress` is told what is being read.
pub async fn survey(registry: &Registry, mut progress: impl FnMut(&Survey)) -> Result<Survey, RegistryError> {
    let now = registry.clock().now_millis();
    let identity = registry.identity().identity.clone();
    let mut survey = Survey::default();
    // The journal first: what lands after this was named in it before, or comes after the hold.
    let read = journal::read(registry.store(), &identity, None, now).await?;
    survey.unsettled = read.unsettled.into_iter().map(|seen| seen.register).collect();
    survey.catalog = registry.repositories(None, usize::MAX).await?.into_iter().collect();
    for name in registry.all_repositories().await? {
        let repository = read_repository(registry, &name, &mut survey).await?;
        survey.repositories.insert(name, repository);
        progress(&survey);
    }
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for fan in 0..=u8::MAX {
            for (digest, meta) in registry.data_in_fan(algorithm, fan).await? {
                survey.data.insert(digest, (meta.size, millis(meta.modified)));
            }
            progress(&survey);
        }
    }
    survey.trash = registry.all_trash().await?;
    Ok(survey)
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

impl Item {
    /// What a head says; `None` where the register was deleted.
    pub fn of(head: &Head) -> Option<Self> {
        let condemned = match head.entry.op {
            Op::Set => false,
            Op::Condemn => true,
            Op::Delete => return None,
        };
        Some(Self { version: head.version, since: head.entry.clock.millis, condemned })
    }
}

async fn read_repository(
    registry: &Registry,
    name: &RepositoryName,
    survey: &mut Survey,
) -> Result<Repository, RegistryError> {
    // Hints before the registers that they belong to: one that has landed meanwhile is then seen to be set.
    let mut repository = Repository { hints: registry.all_hints(name).await?, ..Repository::default() };
    for tag in registry.all_tags(name).await? {
        let head = registry.head_if_set(&Register::Tag(name.clone(), tag)).await?;
        repository.tagged.extend(head.map(|head| head.entry.digest));
    }
    for digest in registry.all_links(name).await? {
        let head = registry.head(&Register::Link(name.clone(), digest.clone())).await?;
        repository.links.extend(head.as_ref().and_then(Item::of).map(|item| (digest, item)));
    }
    for digest in registry.all_manifests(name).await? {
        let Some(head) = registry.head(&Register::Manifest(name.clone(), digest.clone())).await? else { continue };
        let Some(item) = Item::of(&head) else {
            repository.ended.insert(digest, head.version);
            continue;
        };
        read_named(registry, name, &digest, head.entry.media_type.as_ref(), &mut repository, survey).await;
        repository.manifests.insert(digest, item);
    }
    // A manifest about to land has its bytes in place already.
    let coming: Vec<Digest> = survey.unsettled.iter().filter_map(|register| coming(register, name)).collect();
    for digest in coming {
        if !repository.named.contains_key(&digest) && registry.data(&digest).await?.is_some() {
            read_named(registry, name, &digest, None, &mut repository, survey).await;
        }
    }
    Ok(repository)
}

fn coming(register: &Register, name: &RepositoryName) -> Option<Digest> {
    match register {
        Register::Manifest(of, digest) if of == name => Some(digest.clone()),
        Register::Manifest(..) | Register::Tag(..) | Register::Link(..) => None,
    }
}

async fn read_named(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    media_type: Option<&MediaType>,
    repository: &mut Repository,
    survey: &mut Survey,
) {
    match read_manifest(registry, digest, media_type).await {
        Ok(manifest) => {
            let references = manifest.references().map(|named| named.digest.clone()).collect();
            let named = Named { references, subject: manifest.subject.map(|subject| subject.digest) };
            repository.named.insert(digest.clone(), named);
        }
        Err(why) => {
            repository.unreadable = true;
            survey.errors.push(format!("{name}@{digest}: {why}"));
        }
    }
}

async fn read_manifest(
    registry: &Registry,
    digest: &Digest,
    media_type: Option<&MediaType>,
) -> Result<Manifest, String> {
    let object = registry.open_data(digest).await.map_err(|error| error.to_string())?;
    let object = object.ok_or("its bytes are missing")?;
    let bytes = object.read().await.map_err(|error| error.to_string())?;
    let parsed = Manifest::parse(media_type, &bytes);
    // One that says nothing of its type is an OCI manifest, as its PUT would have been read.
    let parsed = parsed.or_else(|_| Manifest::parse(media_type.or(Some(&MediaType::oci_manifest())), &bytes));
    // Nothing says yet what it is put as; it may be somebody's own format.
    let own = |_| match media_type {
        None => Manifest::parse(Some(&MediaType::octets()), &bytes),
        Some(media_type) => Manifest::parse(Some(media_type), &bytes),
    };
    parsed.or_else(own).map_err(|error| error.to_string())
}
