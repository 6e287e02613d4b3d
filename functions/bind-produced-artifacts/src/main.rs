//! The `bind-produced-artifacts` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_bind_produced_artifacts::BindProducedArtifacts::connect)
        .await
}
