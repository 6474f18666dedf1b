//! The integration tests, in one binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends where it finds something unexpected, and prints what it saw and how long it took"
)]

/// The modules lie in `it/`.
mod it {
    mod crds;
    mod operator;
    pub(super) mod support;
}

use it::support;
