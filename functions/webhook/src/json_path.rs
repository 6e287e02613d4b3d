//! What a JSON path of the stage finds in an answer.

use gennaker_expressions::JsonPath;
use serde_json::Value;

/// Why a path gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is no path.
    #[error("`{path}` is no JSON path: {reason}")]
    Invalid {
        /// As written.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing there.
    #[error("JSON property '{path}' not found in response body")]
    NotFound {
        /// As written.
        path: String,
    },
    /// It visits too much.
    #[error("`{path}` takes too long on this answer")]
    TooSlow {
        /// As written.
        path: String,
    },
}

/// What the path finds: the value where it is definite, the list of all values where it is not.
///
/// # Errors
/// [`PathError`].
pub fn read(value: &Value, path: &str) -> Result<Value, PathError> {
    let written = || path.to_owned();
    let parsed = JsonPath::parse(path).map_err(|error| PathError::Invalid {
        path: written(),
        reason: error.to_string(),
    })?;
    let found = parsed
        .find_in(value)
        .map_err(|_| PathError::TooSlow { path: written() })?;
    if !parsed.is_definite() {
        return Ok(Value::Array(found));
    }
    let first = found.into_iter().next();
    first.ok_or_else(|| PathError::NotFound { path: written() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body() -> Value {
        json!({
            "fields": { "status": { "name": "Done" }, "a b": 1, "none": null },
            "items": [
                { "name": "web", "size": 3, "up": true },
                { "name": "api", "size": 5 },
                { "name": "job", "size": 7, "up": false },
            ],
        })
    }

    #[test]
    fn a_definite_path_is_its_value() {
        for (path, expected) in [
            ("$.fields.status.name", json!("Done")),
            ("fields.status.name", json!("Done")),
            ("$['fields']['a b']", json!(1)),
            ("$.fields[\"a b\"]", json!(1)),
            ("['fields'].status['name']", json!("Done")),
            ("$.items[0].name", json!("web")),
            ("items[-1].name", json!("job")),
            ("$.fields.none", json!(null)),
            ("$", body()),
        ] {
            assert_eq!(read(&body(), path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_that_is_not_definite_is_a_list() {
        for (path, expected) in [
            ("$..name", json!(["Done", "web", "api", "job"])),
            ("$.items[*].size", json!([3, 5, 7])),
            ("$.items.*.size", json!([3, 5, 7])),
            ("$.items[0,2].size", json!([3, 7])),
            ("$.items[1:].size", json!([5, 7])),
            ("$.items[:-1].size", json!([3, 5])),
            ("$.items[?(@.name == 'api')].size", json!([5])),
            (
                "$.items[?(@.size >= 5 && @.name != \"job\")].name",
                json!(["api"]),
            ),
            (
                "$.items[?(@.size < 4 || @.size > 6)].name",
                json!(["web", "job"]),
            ),
            ("$.items[?(@.up)].name", json!(["web", "job"])),
            ("$.items[?(@.up == true)].name", json!(["web"])),
            ("$.items[5:9]", json!([])),
            ("$..[0].name", json!(["web"])),
        ] {
            assert_eq!(read(&body(), path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_there_and_what_is_no_path_are_told_apart() {
        for path in [
            "$.nothing",
            "items[9]",
            "fields.status.name.more",
            "items.name",
        ] {
            assert!(
                matches!(read(&body(), path), Err(PathError::NotFound { .. })),
                "{path}"
            );
        }
        for path in [
            "$.",
            "$.a[",
            "$[a]",
            "$.a[?(@.b == )]",
            "$['a",
            "$.a b",
            "$..",
            "$[1:2:3]",
            "[",
        ] {
            assert!(
                matches!(read(&body(), path), Err(PathError::Invalid { .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn a_path_that_multiplies_what_it_visits_ends() {
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "a": deep });
        }
        let path = format!("${}", "..*".repeat(20));
        assert!(matches!(read(&deep, &path), Err(PathError::TooSlow { .. })));
        assert!(read(&deep, &"$.a".repeat(5_000)).is_err());
    }
}
