//! The agent as shipped, but for its clock: `test-agent CLOCK_FILE SETTINGS` reads the time from a file.

use std::{error::Error, path::PathBuf, process::ExitCode, sync::Arc};

use vigie_agent::{
    app::{Surroundings, build},
    commands::runtime,
    settings,
};
use vigie_platform::{
    clock::FileClock,
    disk::RealDisk,
    file_watch::FileWatch,
    process::{Signals, Systemd},
    telemetry::{self, Level},
};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(clock), Some(config)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: test-agent CLOCK_FILE SETTINGS");
        return ExitCode::from(2);
    };
    let runtime = runtime().expect("a runtime can be had");
    match runtime.block_on(Box::pin(serve(clock, config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("{cause}: {:?}", cause.source());
            ExitCode::FAILURE
        }
    }
}

async fn serve(clock: PathBuf, config: PathBuf) -> Result<(), Box<dyn Error>> {
    let signals = Signals::listen()?;
    let watch = FileWatch::start(&config).await;
    let settings = settings::load::<&str, &str>(&config, [])?;
    let telemetry = telemetry::start(&Level::chosen(None, None)?)?;
    let surroundings = Surroundings {
        config,
        watch,
        variables: Vec::new(),
        clock: Arc::new(FileClock::open(clock)?),
        disk: Arc::new(RealDisk),
        systemd: Systemd::absent(),
        telemetry: Some(telemetry),
    };
    build(settings, surroundings).await?.run(signals).await?;
    Ok(())
}
