//! The binary.

use clap::Parser;

/// Fleets of container registries on Kubernetes.
#[derive(Debug, Parser)]
enum Command {
    /// Print the manifests of the five kinds.
    Crds(regatta::commands::crds::Args),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Command::parse() {
        Command::Crds(args) => regatta::commands::crds::run(&args)?,
    }
    Ok(())
}
