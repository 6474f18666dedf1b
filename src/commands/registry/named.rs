//! What turns out to be wrong when a setting is used, with the setting and where it is said.

use std::net::SocketAddr;
use std::path::Path;

use super::files::FileError;
use super::{Args, Error, OpenError};
use crate::settings::{Origin, key_of};

/// Tells an error by the setting that names its file or address.
pub(super) fn named(args: &Args, error: Error) -> Error {
    let found = match (path(&error), address(&error)) {
        (Some(path), _) => files(args).into_iter().find(|(_, file)| *file == Some(path)).map(|(id, _)| id),
        (None, Some(address)) => addresses(args).into_iter().find(|(_, of)| *of == Some(address)).map(|(id, _)| id),
        (None, None) => None,
    };
    let origin = found.and_then(|id| Some((id, args.origins.get(id)?.clone())));
    match origin {
        None | Some((_, Origin::Default)) => error,
        Some((id, origin)) => Error::Setting { origin, key: key_of(id), source: Box::new(error) },
    }
}

fn path(error: &Error) -> Option<&Path> {
    match error {
        Error::File(FileError::Read { path, .. } | FileError::Malformed { path, .. })
        | Error::Tls { path, .. }
        | Error::Store(
            OpenError::Read { path, .. }
            | OpenError::Malformed { path, .. }
            | OpenError::NotOne { path, .. }
            | OpenError::Field { file: path, .. },
        ) => Some(path),
        Error::Store(
            OpenError::Store(_)
            | OpenError::None
            | OpenError::Variable { .. }
            | OpenError::Incomplete { .. }
            | OpenError::Thread(_)
            | OpenError::Client(_),
        )
        | Error::NotAlone { .. }
        | Error::Registry(_)
        | Error::Listen { .. }
        | Error::Setting { .. }
        | Error::Thread(_)
        | Error::Signal(_) => None,
    }
}

fn address(error: &Error) -> Option<SocketAddr> {
    let Error::Listen { address, .. } = error else { return None };
    Some(*address)
}

fn files(args: &Args) -> [(&'static str, Option<&Path>); 9] {
    [
        ("tls_cert", args.tls_cert.as_deref()),
        ("tls_key", args.tls_key.as_deref()),
        ("internal_tls_cert", args.internal_tls_cert.as_deref()),
        ("internal_tls_key", args.internal_tls_key.as_deref()),
        ("keys_file", args.keys_file.as_deref()),
        ("htpasswd_file", args.htpasswd_file.as_deref()),
        ("admin_password_file", args.admin_password_file.as_deref()),
        ("replicators_dir", args.replicators_dir.as_deref()),
        ("store", args.store.file()),
    ]
}

fn addresses(args: &Args) -> [(&'static str, Option<SocketAddr>); 4] {
    [
        ("listen", Some(args.listen)),
        ("internal_listen", args.internal_listen),
        ("health_listen", args.health_listen),
        ("metrics_listen", args.metrics_listen),
    ]
}
