//! The plugin of kubectl: `kubectl memgraph`.

use std::process::ExitCode;

use clap::Parser;
use memgraph_operator::kubectl::{self, Arguments};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Only a second call could fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    kubectl::call(Arguments::parse()).await
}
