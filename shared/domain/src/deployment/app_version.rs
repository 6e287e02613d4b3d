//! What an image's tags say about the build that made it: `appversion` and its companions, as bakes write them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

/// Frigga's grammar: `package-version-h<build>[.<commit>][/<job>/<build>]`, or with the commit before the build.
static GRAMMAR: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"\A([-a-zA-Z0-9._~^]+)-([0-9.a-zA-Z~]+)-([a-zA-Z0-9_]+)(?:[.]([a-zA-Z0-9_]+))?",
        r"(?:/([-a-zA-Z0-9._~^]+)/([0-9]+))?\z",
    ))
    .ok()
});

/// The build that an `appversion` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppVersion {
    /// The package, such as `shop-api`.
    pub package: String,
    /// Its version, such as `1.2`.
    pub version: String,
    /// The commit it was built from.
    pub commit: Option<String>,
    /// The number of the build.
    pub build_number: Option<String>,
    /// The job that built it.
    pub job: Option<String>,
}

impl AppVersion {
    /// Reads the value of the tag; none where it is not of that form.
    #[must_use]
    pub fn parse(tag: &str) -> Option<Self> {
        let parts = GRAMMAR.as_ref()?.captures(tag)?;
        let part = |at: usize| parts.get(at).map(|part| part.as_str().to_owned());
        // `-h<build>.<commit>` since commits are hashes; before that `-<commit>.h<build>`.
        let (first, second) = (part(3), part(4));
        let build_first = first.as_ref().is_some_and(|first| first.starts_with('h'));
        let (build, commit) = if build_first {
            (first, second)
        } else {
            (second, first)
        };
        Some(Self {
            package: part(1)?,
            version: part(2)?,
            commit,
            // What stands before the number is an `h`.
            build_number: build.map(|build| build.chars().skip(1).collect()),
            job: part(5),
        })
    }

    /// What the tag `appversion` says.
    #[must_use]
    pub fn of(tags: &BTreeMap<String, String>) -> Option<Self> {
        Self::parse(tag(tags, "appversion")?)
    }
}

/// The value of a tag. Spinnaker does not tell capital from small letters in its key.
#[must_use]
pub fn tag<'a>(tags: &'a BTreeMap<String, String>, key: &str) -> Option<&'a str> {
    let same = |(known, _): &(&String, &String)| known.eq_ignore_ascii_case(key);
    let found = tags.get(key);
    found
        .or_else(|| tags.iter().find(same).map(|(_, value)| value))
        .map(String::as_str)
}

/// `buildInfo` of an image with these tags; empty where they name no build.
#[must_use]
pub fn build_info(tags: &BTreeMap<String, String>) -> Map<String, Value> {
    let Some(build) = AppVersion::of(tags) else {
        return Map::new();
    };
    let mut info = Map::new();
    info.insert("package_name".to_owned(), build.package.into());
    info.insert("version".to_owned(), build.version.into());
    if let Some(commit) = build.commit {
        info.insert("commit".to_owned(), commit.into());
    }
    if let Some(job) = build.job {
        let mut jenkins = json!({ "name": job, "number": build.build_number });
        if let (Some(host), Some(jenkins)) = (tag(tags, "build_host"), jenkins.as_object_mut()) {
            jenkins.insert("host".to_owned(), host.into());
        }
        info.insert("jenkins".to_owned(), jenkins);
    }
    if let Some(url) = tag(tags, "build_info_url") {
        info.insert("buildInfoUrl".to_owned(), url.into());
    }
    Map::from_iter([("buildInfo".to_owned(), Value::Object(info))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        all.iter().map(owned).collect()
    }

    #[test]
    fn the_build_is_read_from_the_images_tags() {
        let info = build_info(&tags(&[
            ("appversion", "shop-api-1.2-h7.abc123/release/7"),
            ("build_host", "https://ci/"),
        ]));
        let info = &info["buildInfo"];
        assert_eq!(info["package_name"], "shop-api");
        assert_eq!(info["version"], "1.2");
        assert_eq!(info["commit"], "abc123");
        assert_eq!(info["jenkins"]["number"], "7");
        assert_eq!(info["jenkins"]["host"], "https://ci/");
        assert!(build_info(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn the_commit_stands_before_or_after_the_build() {
        let read = |tag: &str| {
            let build = AppVersion::parse(tag).unwrap();
            (build.package, build.commit, build.build_number)
        };
        let some = |text: &str| Some(text.to_owned());
        let package = || "shop".to_owned();
        assert_eq!(
            read("shop-1.0.0-h150.58f6499/SHOP-release/150"),
            (package(), some("58f6499"), some("150"))
        );
        assert_eq!(
            read("shop-1.0.0-586499.h150"),
            (package(), some("586499"), some("150"))
        );
        assert_eq!(read("shop-1.0.0-586499"), (package(), some("586499"), None));
        assert_eq!(read("shop-1.0.0-h1.local").2, some("1"));
    }

    #[test]
    fn what_has_another_form_names_no_build() {
        for text in ["", "shop", "shop-1.0", "shop 1.0-h1", "shop-1.0-h1/release"] {
            assert_eq!(AppVersion::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_tags_key_is_found_however_it_is_written() {
        let tags = tags(&[("AppVersion", "shop-1.0.0-h1")]);
        assert_eq!(AppVersion::of(&tags).unwrap().package, "shop");
    }
}
