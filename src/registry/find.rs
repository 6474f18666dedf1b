//! Finds a repository that links a blob, for mounts that do not say from where. There is no index of that: directories
//! of repositories are walked, level by level, and only so many of them.

use futures::{StreamExt as _, TryStreamExt as _};

use super::{Registry, RegistryError, Result, layout};
use crate::oci::{Digest, RepositoryName};

/// How many directories are looked at together.
const TOGETHER: usize = 16;

/// How many names of one directory are read.
const NAMES: usize = 1_000;

/// Which repositories are asked about.
pub type May<'a> = &'a (dyn Fn(&RepositoryName) -> bool + Send + Sync);

impl Registry {
    /// A repository at or below one of these places (names' beginnings of whole components, or the empty one for all)
    /// that links the blob and of which `may` is true. Looks at `most` directories.
    pub async fn find_link(
        &self,
        places: Vec<String>,
        digest: &Digest,
        may: May<'_>,
        most: usize,
    ) -> Result<Option<RepositoryName>> {
        let (mut level, mut left) = (places, most);
        while !level.is_empty() && left > 0 {
            level.truncate(left);
            left -= level.len();
            let looks = std::mem::take(&mut level).into_iter().map(|place| self.look_in(place, digest, may));
            let mut looks = futures::stream::iter(looks).buffered(TOGETHER);
            while let Some((found, below)) = looks.try_next().await? {
                if found.is_some() {
                    return Ok(found);
                }
                level.extend(below.into_iter().take(left));
            }
        }
        Ok(None)
    }

    /// The repository of this name, if it links the blob; and the names below it.
    async fn look_in(
        &self,
        place: String,
        digest: &Digest,
        may: May<'_>,
    ) -> Result<(Option<RepositoryName>, Vec<String>)> {
        let directory = layout::repositories_below(&place);
        let children = self.inner.store.children(&directory, None, NAMES).await?;
        let (own, below): (Vec<_>, Vec<_>) = children.into_iter().partition(|child| child.name.starts_with('_'));
        let below = below.into_iter().filter(|child| child.is_directory).map(|child| match place.as_str() {
            "" => child.name,
            place => format!("{place}/{}", child.name),
        });
        let below = below.collect();
        let has_links = own.iter().any(|child| child.name == "_links");
        let Some(name) = place.parse::<RepositoryName>().ok().filter(|name| has_links && may(name)) else {
            return Ok((None, below));
        };
        match self.blob(&name, digest).await {
            Ok(_) => Ok((Some(name), below)),
            Err(RegistryError::BlobUnknown { .. }) => Ok((None, below)),
            Err(error) => Err(error),
        }
    }
}
