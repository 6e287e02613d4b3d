#![doc = include_str!("../README.md")]

mod case;
mod machine;
mod report;
mod scripted;
mod world;

use gennaker_cloud::CloudError;
use gennaker_domain::Problem;
use gennaker_lambda::FunctionError;
use serde_json::{Value, json};

pub use case::CaseError;

/// Why a case has no result.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The case cannot be read.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// The compiler refuses one of its pipelines.
    #[error("{} problems, the first: {}", .0.len(), .0.first().map_or("", |problem| problem.message.as_str()))]
    Refused(Vec<Problem>),
    /// A function failed as it would on AWS.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// The table in memory refused a write.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The definition or the play around it went wrong.
    #[error("{0}")]
    Machine(String),
}

/// Evaluates one case: `{"id"?,"result":{…}}`, or `{"id"?,"problems":[…]}` if the compiler refuses the pipeline, or
/// `{"id"?,"error"}`. The same case gives the same answer.
pub async fn evaluate_case(case: &Value) -> Value {
    let (name, value) = match evaluate(case).await {
        Ok(result) => ("result", result),
        Err(EvaluateError::Refused(problems)) => ("problems", json!(problems)),
        Err(error) => ("error", error.to_string().into()),
    };
    let mut answer = serde_json::Map::new();
    if let Some(id) = case.get("id") {
        answer.insert("id".to_owned(), id.clone());
    }
    answer.insert(name.to_owned(), value);
    Value::Object(answer)
}

/// Runs one case to its end.
///
/// # Errors
/// See [`EvaluateError`].
pub async fn evaluate(case: &Value) -> Result<Value, EvaluateError> {
    let mut world = world::World::new(case::Case::read(case)?).await?;
    world.run().await?;
    report::report(&world).await
}
