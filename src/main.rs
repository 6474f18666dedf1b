//! `regatta`: the operator, the registry server, and the tools of both.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use regatta::cli::Cli;
use regatta::telemetry;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::start();
    // One provider for the whole process; installing it a second time would be the only failure.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let outcome = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = outcome.map_err(|error| error.to_string()).and_then(|runtime| {
        let outcome = runtime.block_on(cli.run()).map_err(|error| regatta::server::fault::chain(&error));
        // Threads that wait for a volume which hangs would be waited for in vain.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "regatta: {message}");
            ExitCode::FAILURE
        }
    }
}
