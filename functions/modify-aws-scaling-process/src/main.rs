//! The `modify-aws-scaling-process` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(
        gennaker_modify_aws_scaling_process::ModifyAwsScalingProcess::connect,
    )
    .await
}
