//! The `watch-alarms` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_watch_alarms::WatchAlarms::connect).await
}
