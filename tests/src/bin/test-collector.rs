//! The collector as shipped, but for its clock: `test-collector CLOCK_FILE SETTINGS` reads the time from a file.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use vigie_platform::clock::FileClock;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(clock), Some(config)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: test-collector CLOCK_FILE SETTINGS");
        return ExitCode::from(2);
    };
    let clock = FileClock::open(clock).expect("the scenario has written the clock");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime can be had");
    runtime
        .block_on(vigie_collector::app::run(
            config,
            Vec::new(),
            Arc::new(clock),
        ))
        .into()
}
