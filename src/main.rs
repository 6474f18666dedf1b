//! The binary.

use clap::Parser;

/// Fleets of container registries on Kubernetes.
#[derive(Debug, Parser)]
enum Command {
    /// Print the manifests of the five kinds.
    Crds(regatta::commands::crds::Args),
    /// Reconcile the five kinds.
    Operator(regatta::commands::operator::Args),
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("REGATTA_LOG").unwrap_or_else(|_| "info".into()))
        .init();
    match Command::parse() {
        Command::Crds(args) => regatta::commands::crds::run(&args)?,
        Command::Operator(args) => regatta::commands::operator::run(args).await?,
    }
    Ok(())
}
