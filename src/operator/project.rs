//! Project: a name in a registry's access document. It has no children: building and applying it is the access
//! document's business (see [`super::access`]); here it is said how that stands.

mod dereference;
mod status;
mod validate;

use kube::ResourceExt;

use super::conditions::requested_at;
use super::context::Context;
use super::driver::{Kind, Settled};
use super::failure::Failure;
use crate::api::{Project, ProjectStatus};
pub use dereference::{Whose, whose};

impl Kind for Project {
    type Status = ProjectStatus;

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    async fn steps(&self, context: &Context, status: &mut Self::Status) -> Result<Settled, Failure> {
        status.last_handled_request = requested_at(self.annotations());
        validate::name(&self.spec.name)?;
        let registry = dereference::registry(context, self)?;
        status::settle(context, self, &registry, status)
    }
}
