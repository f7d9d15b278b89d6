//! An orderly stop: the runner, `agent.stop`, the last lines, the last samples, within `STOP_WITHIN`.

use std::time::Duration;

use tracing::{info, warn};
use vigie_core::{entry::Draft, observation::Facts, reason::vigie};
use vigie_platform::process::Drain;

use super::Running;
use crate::admin;

/// How long a stop may take; systemd waits 90 s by default before it kills.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How much of that the last lines have for themselves before the last samples go too.
const LINES_ALONE_FOR: Duration = Duration::from_secs(5);

impl Running {
    pub(super) async fn stop(self) {
        self.surroundings.systemd.stopping();
        info!("stopping");
        self.runner.abort();
        let (stop, stop_samples) = (&self.stop, &self.stop_samples);
        let lane = &self.lane;
        let mut stopped = self.stopped;
        let samples_stopped = self.samples_stopped;
        let drained = Drain::new()
            .step("the ledger", async move {
                let facts = Facts::from([("signal", "term".into())]);
                // Without a ledger there is nothing to write and nothing to wait for.
                let _ = lane.write(Draft::own(vigie::AGENT_STOP, facts)).await;
                let _ = lane.settle().await;
            })
            .step("the last lines to the collector", async move {
                stop.send_replace(true);
                let ended = tokio::time::timeout(LINES_ALONE_FOR, &mut stopped).await;
                // If nobody answers the lines, the spools of samples still need their time.
                stop_samples.send_replace(true);
                if ended.is_err() {
                    let _ = stopped.await;
                }
            })
            .step("the last samples", async move {
                let _ = samples_stopped.await;
            })
            .run(STOP_WITHIN)
            .await;
        if !drained.is_complete() {
            warn!(unfinished = ?drained.unfinished, "stopped all the same; what is left is sent after the next start");
        }
        // A leftover file would only make a reader wait for nobody.
        let _ = std::fs::remove_file(self.state_dir.join(admin::SOCKET));
    }
}
