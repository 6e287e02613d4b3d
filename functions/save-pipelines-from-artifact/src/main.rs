//! The `save-pipelines-from-artifact` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(
        gennaker_save_pipelines_from_artifact::SavePipelinesFromArtifact::connect,
    )
    .await
}
