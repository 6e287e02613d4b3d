//! The `save-pipeline` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_function(gennaker_save_pipeline::SavePipeline::connect).await
}
