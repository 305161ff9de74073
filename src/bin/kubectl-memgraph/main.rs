//! The plugin of kubectl: `kubectl memgraph`.

use std::process::ExitCode;

use clap::Parser;
use memgraph_operator::{
    controller::chain,
    kubectl::{self, Arguments},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Only a second call could fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Colours are left out where nobody sees them.
    let (mut out, mut progress) = (anstream::stdout(), anstream::stderr());
    match kubectl::run(Arguments::parse(), &mut out, &mut progress).await {
        Ok(outcome) => outcome.code().into(),
        Err(kubectl::Error::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("kubectl memgraph: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}
