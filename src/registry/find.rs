//! Finds a repository that links a blob, for mounts that do not say from where. There is no index of that: repositories
//! are walked, each namespace to its end before the next, and only so many of them.
//!
//! Why no index: it would be a key a link, under the blob's digest, as referrers' hints are. Each first push of a layer to
//! a repository would make up to three directories, a file and a link more (in a bucket, one request more), and the
//! collector would have to list, verify and remove them; all of that for a request that clients seldom send, who name the
//! source where they know one, and whose failing costs an upload. So the walk stays, and its bound is documented.

use futures::{StreamExt as _, TryStreamExt as _};

use super::{Registry, RegistryError, Result, layout};
use crate::oci::{Digest, RepositoryName};

/// How many repositories beside the target, in its namespace, are looked at for a blob.
pub const NEARBY: usize = 256;

/// How many repositories are looked at for a blob, wherever they are.
pub const ELSEWHERE: usize = 1_024;

/// How many directories are looked at together.
const TOGETHER: usize = 16;

/// How many directories are looked at for each repository that may be: names have components without one.
const DIRECTORIES: usize = 4;

/// How many names of a repository's directory are its own.
const OWN: usize = 4;

/// Which repositories are asked about.
pub type May<'a> = &'a (dyn Fn(&RepositoryName) -> bool + Send + Sync);

/// What is at a place.
struct Seen {
    /// The repository, if it links the blob.
    found: Option<RepositoryName>,
    /// Whether there is a repository.
    is_repository: bool,
    /// The names below it.
    below: Vec<String>,
}

impl Registry {
    /// A repository at or below one of these places (names' beginnings of whole components, or the empty one for all)
    /// that links the blob and of which `may` is true. Looks at `most` repositories, or a few more.
    pub async fn find_link(
        &self,
        mut places: Vec<String>,
        digest: &Digest,
        may: May<'_>,
        most: usize,
    ) -> Result<Option<RepositoryName>> {
        places.reverse();
        let (mut left, mut directories) = (most, most.saturating_mul(DIRECTORIES));
        while !places.is_empty() && left > 0 && directories > 0 {
            let together = places.len().min(TOGETHER).min(left).min(directories);
            directories -= together;
            // The last ones are the next ones: what is below a place is looked at before what is behind it.
            let next = places.split_off(places.len() - together).into_iter().rev();
            let looks = next.map(|place| self.look_in(place, digest, may, most));
            let mut looks = futures::stream::iter(looks).buffered(TOGETHER);
            let mut below = Vec::new();
            while let Some(seen) = looks.try_next().await? {
                if seen.found.is_some() {
                    return Ok(seen.found);
                }
                left = left.saturating_sub(usize::from(seen.is_repository));
                below.extend(seen.below);
            }
            places.extend(below.into_iter().rev());
        }
        Ok(None)
    }

    /// The repository of this name, and the names below it.
    async fn look_in(&self, place: String, digest: &Digest, may: May<'_>, most: usize) -> Result<Seen> {
        let directory = layout::repositories_below(&place);
        let children = self.inner.store.children(&directory, None, most.saturating_add(OWN)).await?;
        let (own, below): (Vec<_>, Vec<_>) = children.into_iter().partition(|child| child.name.starts_with('_'));
        let below = below.into_iter().filter(|child| child.is_directory).map(|child| match place.as_str() {
            "" => child.name,
            place => format!("{place}/{}", child.name),
        });
        let is_repository = own.iter().any(|child| child.name == "_links");
        let seen = Seen { found: None, is_repository, below: below.collect() };
        let Some(name) = place.parse::<RepositoryName>().ok().filter(|name| is_repository && may(name)) else {
            return Ok(seen);
        };
        match self.blob(&name, digest).await {
            Ok(_) => Ok(Seen { found: Some(name), ..seen }),
            Err(RegistryError::BlobUnknown { .. }) => Ok(seen),
            Err(error) => Err(error),
        }
    }
}
