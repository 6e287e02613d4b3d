//! The `save-pipeline-stage` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_save_pipeline_stage::SavePipelineStage::connect).await
}
