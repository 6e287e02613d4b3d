//! The newest image with a package's name and certain tags: `findImageFromTags`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::app_version::{self, AppVersion};
use super::context::{self, ContextError};

/// Letters that a package's name has at least: what is shorter is in the name of nearly every image.
const SHORTEST_NAME: usize = 3;
/// Images that a refusal names.
const NAMED: usize = 5;

/// How the images of a package are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The image of this id, whoever owns it.
    Id(String),
    /// The images whose names match: `*` stands for any text, `?` for one character, all else for itself.
    Name(String),
}

impl Query {
    /// `ami-` and 8 or 17 hexadecimal digits are an id. A name is found anywhere in an image's name, unless it has
    /// wildcards of its own.
    #[must_use]
    pub fn of(package: &str) -> Self {
        let digits = package.strip_prefix("ami-").filter(|digits| {
            matches!(digits.len(), 8 | 17)
                && digits
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
        if digits.is_some() {
            Self::Id(package.to_owned())
        } else if package.contains(['*', '?']) {
            Self::Name(package.to_owned())
        } else {
            Self::Name(format!("*{package}*"))
        }
    }

    fn finds(&self, image: &TaggedImage) -> bool {
        match self {
            Self::Id(id) => *id == image.id,
            Self::Name(pattern) => pattern_matches(pattern, &image.name),
        }
    }
}

/// Whether a whole text matches a pattern: `*` stands for any text, `?` for one character. Takes at most as many steps as the product of their lengths.
#[must_use]
pub fn pattern_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    // After the last `*`: where the pattern goes on, and how far the text was read when it was met.
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = text.get(read) {
        match (pattern.get(at), star) {
            (Some('*'), _) => {
                at += 1;
                star = Some((at, read));
            }
            (Some(wanted), _) if *wanted == '?' || wanted == letter => {
                at += 1;
                read += 1;
            }
            (_, Some((after, from))) => {
                (at, read) = (after, from + 1);
                star = Some((after, from + 1));
            }
            _ => return false,
        }
    }
    pattern.iter().skip(at).all(|left| *left == '*')
}

/// What a `findImageFromTags` stage asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindImageFromTags {
    /// The package: a part of the image's name, a pattern, or an image id.
    pub package: String,
    /// Tags that an image has to have, all of them; capital and small letters are the same.
    pub tags: BTreeMap<String, String>,
    /// The regions, at least one.
    pub regions: Vec<String>,
    /// Whose images count; none is those of every account that is known.
    pub owner: Option<String>,
}

impl FindImageFromTags {
    /// Reads the context of a stage. A stage that names no region looks where deploys after it deploy to:
    /// `later_regions`.
    ///
    /// # Errors
    /// A package name that is missing or too short, tags that are no texts, no region at all.
    pub fn from_context(
        context: &Map<String, Value>,
        later_regions: &[String],
    ) -> Result<Self, Unusable> {
        let package = context::filled_text(context, "packageName").unwrap_or_default();
        let package = package.trim();
        if package.chars().count() < SHORTEST_NAME {
            return Err(Unusable::PackageName(package.to_owned()));
        }
        let mut regions: Vec<String> = Vec::new();
        let named = context::text_list(context, "regions").unwrap_or_default();
        let named = named.into_iter().filter(|region| !region.is_empty());
        for region in named {
            if !regions.contains(&region) {
                regions.push(region);
            }
        }
        if regions.is_empty() {
            regions = later_regions.to_vec();
        }
        if regions.is_empty() {
            return Err(Unusable::NoRegion);
        }
        Ok(Self {
            package: package.to_owned(),
            tags: tags_of(context)?,
            regions,
            owner: context::filled_text(context, "imageOwnerAccount"),
        })
    }

    /// How its images are looked up.
    #[must_use]
    pub fn query(&self) -> Query {
        Query::of(&self.package)
    }
}

fn tags_of(context: &Map<String, Value>) -> Result<BTreeMap<String, String>, ContextError> {
    let tags = match context.get("tags") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(tags)) => tags,
        Some(other) => return Err(ContextError::new("tags", other, "an object of texts")),
    };
    let text = |(key, value): (&String, &Value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            other => {
                let place = format!("tags.{key}");
                return Err(ContextError::new(&place, other, "a text"));
            }
        };
        Ok((key.clone(), text))
    };
    tags.iter().map(text).collect()
}

/// Why a stage cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// There is no package name, or next to none.
    #[error(
        "`packageName` is `{0}`: an image is looked for by at least {SHORTEST_NAME} characters of its name"
    )]
    PackageName(String),
    /// No region is named, here or later.
    #[error("the stage names no region, and no deploy after it does")]
    NoRegion,
    /// Tags that cannot be read.
    #[error(transparent)]
    Tags(#[from] ContextError),
}

impl Unusable {
    /// The field of the stage that is meant.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::PackageName(_) => "packageName",
            Self::NoRegion => "regions",
            Self::Tags(_) => "tags",
        }
    }
}

/// An image as a region shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaggedImage {
    /// The region.
    pub region: String,
    /// `ami-…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// `available`, `pending`, `failed`, …
    pub state: String,
    /// When it was created, in ISO 8601, so that the texts sort by time.
    pub created: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl TaggedImage {
    fn has(&self, tags: &BTreeMap<String, String>) -> bool {
        tags.iter().all(|(key, wanted)| {
            self.tags.iter().any(|(known, value)| {
                known.to_lowercase() == key.to_lowercase()
                    && value.to_lowercase() == wanted.to_lowercase()
            })
        })
    }

    fn is_of(&self, package: &str) -> bool {
        AppVersion::of(&self.tags).is_some_and(|version| version.package == package)
    }

    /// The entry of `amiDetails` and `deploymentDetails`.
    #[must_use]
    pub fn deployment_detail(&self, ref_id: &str) -> Value {
        let mut detail = app_version::build_info(&self.tags);
        for (key, value) in [
            ("ami", self.id.as_str()),
            ("imageId", &self.id),
            ("imageName", &self.name),
            ("name", &self.name),
            ("region", &self.region),
            ("cloudProvider", "aws"),
            ("refId", ref_id),
        ] {
            detail.insert(key.to_owned(), value.into());
        }
        detail.insert("jenkins".to_owned(), self.jenkins());
        Value::Object(detail)
    }

    /// The build, null where the tags name none.
    fn jenkins(&self) -> Value {
        AppVersion::of(&self.tags).map_or(Value::Null, |version| {
            json!({
                "host": app_version::tag(&self.tags, "build_host"),
                "name": version.job,
                "number": version.build_number,
            })
        })
    }

    /// The artifact, without an id of its own.
    #[must_use]
    pub fn artifact(&self) -> Value {
        let metadata = match self.jenkins() {
            Value::Null => json!({}),
            jenkins => json!({
                "build_info_url": jenkins.get("host"),
                "build_number": jenkins.get("number"),
            }),
        };
        json!({
            "customKind": false,
            "type": "aws/image",
            "name": self.name,
            "location": self.region,
            "reference": self.id,
            "metadata": metadata,
        })
    }
}

impl std::fmt::Display for TaggedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}) in {}", self.id, self.name, self.region)
    }
}

/// No image that counts is there, and what is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Could not find tagged image for package: {package} and tags: {} in {}: {}",
    shown(.tags), .regions.join(", "), there(.others)
)]
pub struct NotFound {
    /// The package.
    pub package: String,
    /// The tags.
    pub tags: BTreeMap<String, String>,
    /// The regions.
    pub regions: Vec<String>,
    /// Images of that name that do not count: other tags, or not available.
    pub others: Vec<TaggedImage>,
}

fn shown(tags: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = tags
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

fn there(others: &[TaggedImage]) -> String {
    if others.is_empty() {
        return "no image has this name".to_owned();
    }
    let image = |image: &TaggedImage| {
        let state = Some(image.state.as_str()).filter(|state| *state != "available");
        let state = state.map_or_else(String::new, |state| format!(", {state}"));
        format!("{image}{state}, tags {}", shown(&image.tags))
    };
    let mut lines: Vec<String> = others.iter().take(NAMED).map(image).collect();
    if others.len() > NAMED {
        lines.push(format!("and {} more", others.len() - NAMED));
    }
    format!("there are {}", lines.join("; "))
}

/// The newest image in each region, in the order asked; a region without one is left out.
///
/// An image counts that is available, has the package's name or id, and all the tags. If the `appversion` of any of
/// them names exactly this package, only images of such names count: `shop` is in the name of `shop-api`, too.
///
/// # Errors
/// [`NotFound`] if there is none in any region.
pub fn newest_images(
    ask: &FindImageFromTags,
    images: &[TaggedImage],
) -> Result<Vec<TaggedImage>, NotFound> {
    let query = ask.query();
    let of_name: Vec<&TaggedImage> = images
        .iter()
        .filter(|image| ask.regions.contains(&image.region) && query.finds(image))
        .collect();
    let candidates: Vec<&TaggedImage> = of_name
        .iter()
        .copied()
        .filter(|image| image.state == "available" && image.has(&ask.tags))
        .collect();
    if candidates.is_empty() {
        let mut others: Vec<TaggedImage> = of_name.into_iter().cloned().collect();
        others.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        return Err(NotFound {
            package: ask.package.clone(),
            tags: ask.tags.clone(),
            regions: ask.regions.clone(),
            others,
        });
    }
    // By name: tags stay behind when an image is copied to another region.
    let exact: BTreeSet<&str> = candidates
        .iter()
        .filter(|image| image.is_of(&ask.package))
        .map(|image| image.name.as_str())
        .collect();
    let counts = |image: &&&TaggedImage| exact.is_empty() || exact.contains(image.name.as_str());
    let newest = |region: &String| {
        candidates
            .iter()
            .filter(|image| image.region == *region)
            .filter(counts)
            .min_by_key(|image| (std::cmp::Reverse(&image.created), &image.name, &image.id))
            .map(|image| (*image).clone())
    };
    Ok(ask.regions.iter().filter_map(newest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(region: &str, id: &str, name: &str, day: u32, tags: &[(&str, &str)]) -> TaggedImage {
        TaggedImage {
            region: region.to_owned(),
            id: id.to_owned(),
            name: name.to_owned(),
            state: "available".to_owned(),
            created: format!("2026-01-{day:02}T00:00:00.000Z"),
            tags: tags
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn ask(context: Value) -> FindImageFromTags {
        FindImageFromTags::from_context(context.as_object().unwrap(), &[]).unwrap()
    }

    fn ids(ask: &FindImageFromTags, images: &[TaggedImage]) -> Vec<String> {
        let found = newest_images(ask, images).unwrap();
        found.into_iter().map(|image| image.id).collect()
    }

    const EAST: &str = "us-east-1";
    const WEST: &str = "us-west-2";

    #[test]
    fn the_newest_image_of_each_region_is_found_in_the_order_asked() {
        let asked = ask(
            json!({"packageName": "shop", "tags": {"stack": "prod"}, "regions": [WEST, EAST, "eu-west-1"]}),
        );
        let prod = [("stack", "prod")];
        let images = [
            image(EAST, "ami-1", "shop-1.0", 1, &prod),
            image(EAST, "ami-2", "shop-2.0", 2, &prod),
            image(EAST, "ami-3", "shop-3.0", 3, &[("stack", "test")]),
            image(EAST, "ami-4", "cart-4.0", 4, &prod),
            image(WEST, "ami-5", "shop-1.0", 5, &prod),
        ];
        assert_eq!(ids(&asked, &images), ["ami-5", "ami-2"]);
    }

    #[test]
    fn images_whose_appversion_names_the_package_come_before_those_that_only_have_it_in_their_name()
    {
        let asked = ask(json!({"packageName": "shop", "regions": [EAST, WEST]}));
        let images = [
            image(
                EAST,
                "ami-1",
                "shop-1.0-x",
                1,
                &[("appversion", "shop-1.0-h1.abc")],
            ),
            image(
                EAST,
                "ami-2",
                "shop-api-2.0-x",
                2,
                &[("appversion", "shop-api-2.0-h2.abc")],
            ),
            // Copied without its tags.
            image(WEST, "ami-3", "shop-1.0-x", 3, &[]),
            image(WEST, "ami-4", "shop-api-2.0-x", 4, &[]),
        ];
        assert_eq!(ids(&asked, &images), ["ami-1", "ami-3"]);
        assert_eq!(ids(&asked, &images[1..2]), ["ami-2"]);
    }

    #[test]
    fn tags_are_compared_without_regard_to_capital_letters_and_all_of_them_have_to_fit() {
        let images = [image(
            EAST,
            "ami-1",
            "shop-1",
            1,
            &[("Stack", "Prod"), ("rank", "2")],
        )];
        let found = |tags: Value| {
            newest_images(
                &ask(json!({"packageName": "shop", "tags": tags, "regions": [EAST]})),
                &images,
            )
            .is_ok()
        };
        assert!(found(json!({"stack": "prod", "rank": 2})));
        assert!(found(json!({})) && found(json!(null)));
        assert!(!found(json!({"stack": "prod", "rank": "3"})));
        assert!(!found(json!({"stack": "pro"})));
        assert!(!found(json!({"stack": "prod", "owner": "me"})));
    }

    #[test]
    fn an_image_that_is_not_available_does_not_count_and_is_told() {
        let mut pending = image(EAST, "ami-2", "shop-2.0", 2, &[]);
        pending.state = "pending".to_owned();
        let asked = ask(json!({"packageName": "shop", "regions": [EAST]}));
        let older = image(EAST, "ami-1", "shop-1.0", 1, &[]);
        assert_eq!(ids(&asked, &[older, pending.clone()]), ["ami-1"]);
        let told = newest_images(&asked, &[pending]).unwrap_err().to_string();
        assert!(
            told.contains("ami-2 (shop-2.0) in us-east-1, pending"),
            "{told}"
        );
    }

    #[test]
    fn says_what_was_asked_and_what_there_is_when_nothing_fits() {
        let asked =
            ask(json!({"packageName": "shop", "tags": {"stack": "prod"}, "regions": [EAST]}));
        assert_eq!(
            newest_images(&asked, &[]).unwrap_err().to_string(),
            "Could not find tagged image for package: shop and tags: {stack=prod} in us-east-1: \
             no image has this name"
        );
        let many: Vec<TaggedImage> = (1..=9)
            .map(|day| {
                image(
                    EAST,
                    &format!("ami-{day}"),
                    "shop-1",
                    day,
                    &[("stack", "test")],
                )
            })
            .collect();
        let told = newest_images(&asked, &many).unwrap_err().to_string();
        assert!(
            told.contains("there are ami-9 (shop-1) in us-east-1, tags {stack=test}; "),
            "{told}"
        );
        assert!(told.ends_with("; and 4 more"), "{told}");
    }

    #[test]
    fn a_package_is_a_part_of_a_name_a_pattern_or_an_id() {
        let finds = |package: &str, name: &str| {
            Query::of(package).finds(&image(EAST, "ami-0123456789abcdef0", name, 1, &[]))
        };
        assert!(finds("shop", "my-shop-1.0") && finds("sh?p-*", "shop-1.0"));
        assert!(!finds("sh?p-*", "my-shop-1.0") && !finds("Shop", "my-shop-1.0"));
        assert!(finds("*-1*0", "shop-1.0.0") && !finds("*-1*0", "shop-1.0.1"));
        assert!(finds("ami-0123456789abcdef0", "anything"));
        assert!(!finds("ami-0123456789abcdef1", "ami-0123456789abcdef1"));
        assert!(finds("ami-builder", "the-ami-builder-1"));
    }

    #[test]
    fn a_stage_that_cannot_be_read_says_which_field() {
        let read = |context: Value, later: &[String]| {
            FindImageFromTags::from_context(context.as_object().unwrap(), later)
                .map_err(|error| error.field())
        };
        let later = [WEST.to_owned()];
        for (context, field) in [
            (json!({"regions": [EAST]}), "packageName"),
            (
                json!({"packageName": " ab ", "regions": [EAST]}),
                "packageName",
            ),
            (json!({"packageName": "shop"}), "regions"),
            (
                json!({"packageName": "shop", "regions": [EAST], "tags": "x"}),
                "tags",
            ),
            (
                json!({"packageName": "shop", "regions": [EAST], "tags": {"a": null}}),
                "tags",
            ),
        ] {
            assert_eq!(read(context.clone(), &[]), Err(field), "{context}");
        }
        let read = read(json!({"packageName": "shop", "regions": []}), &later).unwrap();
        assert_eq!(read.regions, later);
    }

    #[test]
    fn a_long_pattern_on_a_long_name_takes_no_time() {
        let name = "a".repeat(2_000);
        assert!(!pattern_matches(&format!("{}b", "*a".repeat(1_000)), &name));
    }

    #[test]
    fn what_it_leaves_names_the_image_and_the_build() {
        let found = image(
            EAST,
            "ami-1",
            "shop-1.0",
            1,
            &[
                ("appversion", "shop-1.0-h7.abc/shop-release/7"),
                ("build_host", "https://ci/"),
            ],
        );
        let jenkins = json!({"host": "https://ci/", "name": "shop-release", "number": "7"});
        let detail = found.deployment_detail("3");
        assert_eq!(
            (&detail["ami"], &detail["imageId"]),
            (&json!("ami-1"), &json!("ami-1"))
        );
        assert_eq!(
            (&detail["region"], &detail["refId"]),
            (&json!(EAST), &json!("3"))
        );
        assert_eq!(detail["jenkins"], jenkins);
        assert_eq!(detail["buildInfo"]["version"], "1.0");
        let artifact = found.artifact();
        assert_eq!(artifact["reference"], "ami-1");
        let metadata = json!({"build_info_url": "https://ci/", "build_number": "7"});
        assert_eq!(artifact["metadata"], metadata);
        let bare = image(EAST, "ami-2", "shop", 1, &[]);
        assert_eq!(bare.deployment_detail("3")["jenkins"], Value::Null);
        assert_eq!(bare.artifact()["metadata"], json!({}));
    }
}
