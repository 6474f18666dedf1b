//! The collector: marks what is needed, condemns what is not, rescues what came to be needed, purges the rest.
//!
//! Planned purely ([`plan()`]) from a [`survey()`] of the store, carried out by [`collect()`]; a dry run plans and carries
//! nothing out. What is collected are manifests that nothing keeps, links that no manifest of the repository needs, and
//! bytes that no link or manifest needs.
//!
//! `mode: ReadOnly`: the store is held read-only meanwhile. The collector puts the hold, claims the next number of
//! every journal, and only then surveys; so whatever is written behind its back was named in a journal before, and
//! counts as needed. It looks at its hold before every batch, surveys a second time before it purges, and purges a
//! thing under its exact name in the trash: a collector that froze and wakes up late can hit nothing that came later.

pub mod collect;
pub mod plan;
pub mod survey;

pub use collect::{CollectError, Collection, collect};
pub use plan::{Counts, Options, Plan, plan};
pub use survey::{Survey, survey};

#[cfg(test)]
pub(crate) mod tests;
