//! vigie-collector: wires arguments, logs and signals to the program. What it does is told in `lib.rs`.

use clap::Parser as _;
use vigie_collector::commands::{Arguments, Command, carry_out};
use vigie_platform::process::Exit;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let variables: Vec<_> = std::env::vars_os().collect();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(cause) => {
            eprintln!("cannot start the runtime: {cause}");
            return Exit::Internal.into();
        }
    };
    let exit = match arguments.command {
        Command::Run => runtime.block_on(vigie_collector::app::run(
            arguments.config,
            variables,
            std::sync::Arc::new(vigie_platform::clock::SystemClock),
        )),
        _ => runtime.block_on(carry_out(arguments, variables)),
    };
    exit.into()
}
