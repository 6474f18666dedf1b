//! `regatta`: the operator, the registry server, and the tools of both.

use std::io::Write as _;
use std::process::ExitCode;

use regatta::cli::{self, Asked};
use regatta::settings::SettingsError;
use regatta::store::fs::THREADS;
use regatta::telemetry;

/// What clap ends with where a command line is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(Asked::Run(cli)) => cli,
        Ok(Asked::Print(text)) => {
            let written = std::io::stdout().lock().write_all(text.as_bytes());
            return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Err(SettingsError::Clap(error)) => error.exit(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "regatta: {}", regatta::server::fault::chain(&error));
            return ExitCode::from(USAGE);
        }
    };
    // One provider for the whole process; installing it a second time would be the only failure.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(THREADS).build();
    let outcome = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let telemetry = telemetry::start(runtime.handle(), cli.log());
        let outcome = runtime.block_on(cli.run()).map_err(|error| regatta::server::fault::chain(&error));
        // What it has still to send it sends by the runtime.
        telemetry.finish();
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
