//! `memgraph-sim`: takes the place of Memgraph's own binary.

use std::process::ExitCode;

use memgraph_sim::server;

fn main() -> ExitCode {
    match server::run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code() as u8)
        }
    }
}
