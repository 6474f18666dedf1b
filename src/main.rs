//! The binary.

use clap::Parser;
use regatta::commands::replicate::{ReplicateArgs, run};

#[derive(Parser)]
#[command(name = "regatta")]
enum Cli {
    /// Make a destination registry equal to its source
    Replicate(Box<ReplicateArgs>),
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("REGATTA_LOG").unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();
    let Cli::Replicate(args) = Cli::parse();
    match run(*args).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}
