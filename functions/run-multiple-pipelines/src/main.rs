//! The `run-multiple-pipelines` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_run_multiple_pipelines::RunMultiplePipelines::connect).await
}
