//! The `notify-deploy-starting` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_notify_deploy_starting::NotifyDeployStarting::connect).await
}
