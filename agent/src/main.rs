//! `vigie-agent`: hands the command line and the environment to [`vigie_agent::commands`].

use std::process::ExitCode;

fn main() -> ExitCode {
    vigie_agent::commands::main(std::env::args_os(), std::env::vars_os()).into()
}
