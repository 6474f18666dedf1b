//! `regatta replicate`: one run by hand (`--from`, `--to`), or a registry's follower (`--follow`).

pub mod follow;
pub mod home;
pub mod once;
pub mod options;

use std::path::PathBuf;

use crate::{client::ClientError, replicate::ReplicateError};

pub use options::{DeletionsArg, End};

/// Make a destination registry equal to its source.
#[derive(Debug, Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("mode").required(true).args(["follow", "from"])))]
pub struct Args {
    /// Source registry, such as `https://registry.example:5000`
    #[arg(long, value_name = "URL", requires = "to", help_heading = "By hand")]
    pub from: Option<String>,
    /// Destination registry, likewise
    #[arg(long, value_name = "URL", requires = "from", help_heading = "By hand")]
    pub to: Option<String>,
    /// Repositories: `*` within a path component, `**` across, `?` one character; repeatable [default: all]
    #[arg(long, value_name = "GLOB", help_heading = "By hand")]
    pub repository: Vec<String>,
    /// Tags, likewise; repeatable [default: all]
    #[arg(long, value_name = "GLOB", help_heading = "By hand")]
    pub tag: Vec<String>,
    /// Whether what the source does not have is deleted at the destination
    #[arg(long, value_enum, default_value_t = DeletionsArg::Propagate, help_heading = "By hand")]
    pub deletions: DeletionsArg,
    /// Say what would be done, and do nothing
    #[arg(long, help_heading = "By hand")]
    pub dry_run: bool,
    /// Carry out withheld deletions: the hash that an earlier run printed
    #[arg(long, value_name = "HASH", help_heading = "By hand")]
    pub approve_deletions: Option<String>,
    /// Images that are copied at a time
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "By hand")]
    pub workers: u16,
    /// Directory with the files `username` and `password` for the source
    #[arg(long, value_name = "DIR", conflicts_with = "from_username", help_heading = "By hand")]
    pub from_credentials: Option<PathBuf>,
    /// User at the source
    #[arg(long, value_name = "USER", requires = "from_password_file", help_heading = "By hand")]
    pub from_username: Option<String>,
    /// File with the password at the source
    #[arg(long, value_name = "FILE", requires = "from_username", help_heading = "By hand")]
    pub from_password_file: Option<PathBuf>,
    /// CA certificates (PEM) to trust at the source beside the public ones
    #[arg(long, value_name = "FILE", help_heading = "By hand")]
    pub from_ca: Option<PathBuf>,
    /// Directory with the files `username` and `password` for the destination
    #[arg(long, value_name = "DIR", conflicts_with = "to_username", help_heading = "By hand")]
    pub to_credentials: Option<PathBuf>,
    /// User at the destination
    #[arg(long, value_name = "USER", requires = "to_password_file", help_heading = "By hand")]
    pub to_username: Option<String>,
    /// File with the password at the destination
    #[arg(long, value_name = "FILE", requires = "to_username", help_heading = "By hand")]
    pub to_password_file: Option<PathBuf>,
    /// CA certificates (PEM) to trust at the destination beside the public ones
    #[arg(long, value_name = "FILE", help_heading = "By hand")]
    pub to_ca: Option<PathBuf>,
    /// Do not verify certificates
    #[arg(long, help_heading = "By hand")]
    pub insecure: bool,
    /// Write a JSON summary here
    #[arg(long, value_name = "FILE", help_heading = "By hand")]
    pub summary: Option<PathBuf>,

    /// Run the edges of a registry for ever
    #[arg(long, requires = "internal_url", conflicts_with = "from", help_heading = "Following")]
    pub follow: bool,
    /// Internal URL of the source registry: admin API and /v2/
    #[arg(long, value_name = "URL", requires = "follow", help_heading = "Following")]
    pub internal_url: Option<String>,
    /// The certificate (PEM) that the internal port is pinned to
    #[arg(long, value_name = "FILE", requires = "follow", help_heading = "Following")]
    pub internal_ca: Option<PathBuf>,
    /// Directory with the files `username` and `password` of the registry's own replicator
    #[arg(long, value_name = "DIR", requires = "follow", help_heading = "Following")]
    pub credentials_dir: Option<PathBuf>,
    /// Directory of remotes: `<name>/credentials/{username,password}`, `<name>/ca/ca.crt`
    #[arg(long, value_name = "DIR", requires = "follow", help_heading = "Following")]
    pub remotes_dir: Option<PathBuf>,
    /// Serve /healthz and /readyz here
    #[arg(long, value_name = "ADDR", requires = "follow", help_heading = "Following")]
    pub health_listen: Option<std::net::SocketAddr>,
    /// Serve /metrics here
    #[arg(long, value_name = "ADDR", requires = "follow", help_heading = "Following")]
    pub metrics_listen: Option<std::net::SocketAddr>,
}

/// Why a replication ended badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A registry's address, credentials or certificates are not usable.
    #[error("{option} cannot be used")]
    Option {
        /// The option that is wrong.
        option: &'static str,
        /// What is wrong with it.
        source: Box<ClientError>,
    },
    /// A file cannot be read or written.
    #[error("{option} {}: the file cannot be used", .path.display())]
    File {
        /// The option that names it.
        option: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An option is missing that another demands.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Nothing could be compared.
    #[error(transparent)]
    Replicate(Box<ReplicateError>),
    /// Some things could not be copied.
    #[error("{failed} of {planned} could not be replicated; the first: {first}")]
    Failed {
        /// How many failed.
        failed: usize,
        /// Of how many.
        planned: usize,
        /// The first, and why.
        first: String,
    },
    /// Everything has vanished from the source.
    #[error(
        "nothing is left at the source of what is covered: {deletions} deletions were withheld; if that is right, \
         run again with --approve-deletions {hash}"
    )]
    Withheld {
        /// How many.
        deletions: u64,
        /// What approves them.
        hash: String,
    },
    /// The admin API's client cannot be made.
    #[error("--internal-url: {0}")]
    Home(String),
    /// An address cannot be listened on.
    #[error("cannot listen at {address}")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A signal came.
    #[error("ended by a signal; run again to go on")]
    Interrupted,
}

impl From<ReplicateError> for Error {
    fn from(error: ReplicateError) -> Self {
        Self::Replicate(Box::new(error))
    }
}

/// Runs the subcommand.
pub async fn run(args: Args) -> Result<(), Error> {
    if args.follow { follow::run(&args).await } else { once::run(&args).await }
}
