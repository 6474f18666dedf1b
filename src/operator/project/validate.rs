//! validate: the schema knows the grammar already; an older CRD may not.

use crate::operator::failure::Failure;

/// A project's name is a repository path.
pub(super) fn name(name: &str) -> Result<(), Failure> {
    name.parse::<crate::oci::RepositoryName>().map(drop).map_err(|error| {
        Failure::invalid(format!("spec.name is not a repository path: {error}; make a new Project with another name"))
    })
}
