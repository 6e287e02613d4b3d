//! What the benchmarks evaluate.

use serde_json::{Value, json};

/// A chain of 100 stages: a bake first, the current stage last.
pub fn execution() -> Value {
    let mut stages = vec![json!({
        "id": "s0", "refId": "0", "type": "bake", "name": "Bake", "status": "SUCCEEDED", "requisiteStageRefIds": [],
        "context": {"amiDetails": [{"imageId": "ami-0aaa", "region": "us-east-1"}]}, "outputs": {"ami": "ami-0aaa"}
    })];
    for index in 1..100 {
        stages.push(json!({
            "id": format!("s{index}"), "refId": index.to_string(), "type": "wait", "name": format!("Stage {index}"),
            "status": "SUCCEEDED", "requisiteStageRefIds": [(index - 1).to_string()],
            "context": {"waitTime": 30, "note": "x"}, "outputs": {format!("out{index}"): index}
        }));
    }
    json!({
        "type": "PIPELINE", "id": "01EXEC", "application": "demo", "name": "Deploy", "status": "RUNNING",
        "trigger": {"type": "docker", "account": "reg", "repository": "team/app", "tag": "v1.2.3-0a1b2c3", "parameters": {"env": "prod"}},
        "stages": stages
    })
}

/// A stage configuration of about 200 KB with 500 expressions.
pub fn configuration() -> Value {
    let filler = "x".repeat(360);
    let containers: Vec<Value> = (0..500)
        .map(|index| {
            let expression = match index % 5 {
                0 => "${trigger['tag'].toString().substring(0,7)}".to_string(),
                1 => "${parameters.env}".to_string(),
                2 => format!("app-${{parameters.env}}-{index}"),
                3 => "${#stage('Bake').context.amiDetails[0].imageId}".to_string(),
                _ => "${out50 + 1}".to_string(),
            };
            json!({"name": format!("c{index}"), "value": expression, "note": filler})
        })
        .collect();
    json!({ "manifest": { "kind": "Deployment", "containers": containers } })
}

/// The two expressions with a bound, as Orca rewrites them, and a key that nobody has.
pub const TEXTS: [(&str, &str); 3] = [
    ("trigger tag", "${trigger['tag'].toString().substring(0,7)}"),
    (
        "stage context",
        "${#stage( #root.execution, 'Bake').context.amiDetails[0].imageId}",
    ),
    ("missing key", "${nope}"),
];
