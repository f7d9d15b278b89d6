//! The agent as shipped, but for its clock: `test-agent CLOCK_FILE SETTINGS` reads the time from a file.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use vigie_agent::{
    app::{Surroundings, build},
    commands::runtime,
    settings,
};
use vigie_platform::{
    clock::FileClock,
    disk::RealDisk,
    process::{Signals, Systemd},
    telemetry::{self, Level},
};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(clock), Some(config)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: test-agent CLOCK_FILE SETTINGS");
        return ExitCode::from(2);
    };
    let level = Level::chosen(None, None).expect("the default is a level");
    let surroundings = Surroundings {
        config: config.clone(),
        variables: Vec::new(),
        clock: Arc::new(FileClock::open(clock).expect("the scenario has written the clock")),
        disk: Arc::new(RealDisk),
        systemd: Systemd::absent(),
        telemetry: Some(telemetry::start(&level).expect("this is the first start")),
    };
    let settings = match settings::load::<&str, &str>(&config, []) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(2);
        }
    };
    let runtime = runtime().expect("a runtime can be had");
    runtime.block_on(Box::pin(async move {
        let signals = Signals::listen().expect("signals can be had");
        let app = match build(settings, surroundings).await {
            Ok(app) => app,
            Err(cause) => {
                eprintln!("{cause}: {:?}", std::error::Error::source(&cause));
                return ExitCode::from(2);
            }
        };
        match app.run(signals).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(lost) => {
                eprintln!("{lost}");
                ExitCode::from(70)
            }
        }
    }))
}
