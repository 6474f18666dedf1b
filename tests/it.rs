//! The integration tests, in one binary.

/// The modules lie in `it/`.
mod it {
    mod crds;
    mod operator;
    pub(super) mod support;
}

use it::support;
