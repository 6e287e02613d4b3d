//! The `notify-deploy-completed` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_notify_deploy_completed::NotifyDeployCompleted::connect)
        .await
}
