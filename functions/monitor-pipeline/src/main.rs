//! The `monitor-pipeline` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_monitor_pipeline::MonitorPipeline::connect).await
}
