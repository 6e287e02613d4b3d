#![doc = include_str!("../README.md")]

pub mod recipe;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::code_build::{AwsCodeBuild, Build};
use gennaker_cloud::{CodeBuild, Connection, Key, Write};
use gennaker_domain::Intent;
use gennaker_lambda::{Invocation, Stage, StageError, Step, Undo};
use gennaker_server_groups::config::later_regions;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::recipe::Recipe;

/// Spinnaker's time-out of a bake: one hour.
const TIME_LIMIT_MILLIS: i64 = 60 * 60 * 1_000;
/// How long CodeBuild remembers a token: five minutes.
const TOKEN_MILLIS: i64 = 5 * 60 * 1_000;

/// Bakes images.
pub struct Bake {
    builds: Arc<dyn CodeBuild>,
    project: String,
}

impl Bake {
    /// With builds of this project.
    #[must_use]
    pub fn new(builds: Arc<dyn CodeBuild>, project: impl Into<String>) -> Self {
        Self {
            builds,
            project: project.into(),
        }
    }

    /// On AWS. The project is `BAKE_PROJECT`, `<prefix>-bake` if that is not set.
    #[must_use]
    pub fn connect(connection: &Connection) -> Self {
        let project = gennaker_lambda::setting("BAKE_PROJECT")
            .unwrap_or_else(|| format!("{}-bake", gennaker_lambda::prefix()));
        Self::new(Arc::new(AwsCodeBuild::new(connection)), project)
    }
}

/// One region's bake as this stage knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Region {
    /// Baked before, with the same key.
    Baked { image: String, name: String },
    /// At work; ours, or another execution's with the same key.
    Building { build: String, ours: bool },
}

fn token(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

fn bake_key(recipe: &Recipe, region: &str) -> Key {
    Key::new(format!("BAKE#{}", recipe.key(region)), region)
}

fn action(region: &str) -> String {
    format!("bake {region}")
}

fn own_token(invocation: &Invocation<'_>, region: &str) -> String {
    token(&[
        invocation.run.execution.as_str(),
        &invocation.run.number.to_string(),
        &invocation.stage.ref_id,
        region,
    ])
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str)
}

impl Bake {
    /// Finds the bake of a region or starts it.
    async fn region(
        &self,
        invocation: &Invocation<'_>,
        recipe: &Recipe,
        region: &str,
    ) -> Result<Region, StageError> {
        let remembered = invocation
            .memory
            .get("builds")
            .and_then(|builds| builds.get(region));
        if let Some(remembered) = remembered.and_then(Value::as_object)
            && let Some(build) = text(remembered, "build")
        {
            return Ok(Region::Building {
                build: build.to_owned(),
                ours: remembered.get("ours") == Some(&Value::Bool(true)),
            });
        }
        let key = bake_key(recipe, region);
        let own_token = own_token(invocation, region);
        if !recipe.rebake
            && let Some(record) = invocation.store().table().get(&key).await?
        {
            if let Some(image) = text(&record, "imageId") {
                return Ok(Region::Baked {
                    image: image.to_owned(),
                    name: text(&record, "imageName").unwrap_or_default().to_owned(),
                });
            }
            if let Some(build) = text(&record, "build") {
                return Ok(Region::Building {
                    build: build.to_owned(),
                    ours: text(&record, "token") == Some(own_token.as_str()),
                });
            }
        }
        let undo = json!({ "region": region, "token": own_token });
        invocation.intend(&action(region), undo).await?;
        let build = self
            .builds
            .start_build(&self.project, &own_token, &recipe.variables(region))
            .await?;
        let record = Map::from_iter([
            ("build".to_owned(), json!(build)),
            ("token".to_owned(), json!(own_token)),
            ("execution".to_owned(), json!(invocation.run.execution)),
        ]);
        invocation
            .store()
            .table()
            .write(Write::put(key, record))
            .await?;
        invocation.done(&action(region)).await?;
        Ok(Region::Building { build, ours: true })
    }

    /// Registers what a build reports.
    async fn register(
        &self,
        invocation: &Invocation<'_>,
        recipe: &Recipe,
        region: &str,
        build: &Build,
    ) -> Result<Option<(String, String)>, StageError> {
        let Some(image) = build.exported.get("IMAGE_ID").filter(|id| !id.is_empty()) else {
            return Ok(None);
        };
        let name = build
            .exported
            .get("IMAGE_NAME")
            .filter(|name| !name.is_empty())
            .cloned()
            .unwrap_or_else(|| recipe.image_name.clone());
        let set = Map::from_iter([
            ("imageId".to_owned(), json!(image)),
            ("imageName".to_owned(), json!(name)),
            ("bakedAt".to_owned(), json!(invocation.now)),
        ]);
        invocation
            .store()
            .table()
            .write(Write::set(bake_key(recipe, region), set))
            .await?;
        Ok(Some((image.clone(), name)))
    }
}

#[async_trait]
impl Stage for Bake {
    async fn step(&self, invocation: &Invocation<'_>) -> Result<Step, StageError> {
        let recipe = Recipe::of(
            invocation.context,
            invocation.trigger,
            &later_regions(invocation),
            invocation.started,
        )?;
        let mut regions: Vec<(&String, Region)> = Vec::new();
        for region in &recipe.regions {
            regions.push((region, self.region(invocation, &recipe, region).await?));
        }
        let ids: Vec<String> = regions
            .iter()
            .filter_map(|(_, state)| match state {
                Region::Building { build, .. } => Some(build.clone()),
                Region::Baked { .. } => None,
            })
            .collect();
        let builds = self.builds.builds(&ids).await?;
        let mut images: Vec<(&String, String, String, bool)> = Vec::new();
        let mut waiting = Vec::new();
        let mut remembered = Map::new();
        for (region, state) in regions {
            let (id, ours) = match state {
                Region::Baked { image, name } => {
                    images.push((region, image, name, true));
                    continue;
                }
                Region::Building { build, ours } => (build, ours),
            };
            let keep = json!({ "build": id, "ours": ours });
            let Some(build) = builds.iter().find(|build| build.id == id) else {
                remembered.insert(region.clone(), keep);
                waiting.push(format!("build `{id}` in {region} is not there yet"));
                continue;
            };
            match build.status.as_str() {
                "IN_PROGRESS" => {
                    remembered.insert(region.clone(), keep);
                    waiting.push(format!(
                        "build `{id}` for {region}: {}",
                        build.phase.to_lowercase()
                    ));
                }
                "SUCCEEDED" => match self.register(invocation, &recipe, region, build).await? {
                    Some((image, name)) => images.push((region, image, name, !ours)),
                    None => return Ok(failed(build, region, "it exported no `IMAGE_ID`")),
                },
                _ if !ours => {
                    // Another execution's; ours is not bound to its end.
                    let key = bake_key(&recipe, region);
                    invocation.store().table().write(Write::delete(key)).await?;
                    waiting.push(format!("build `{id}` for {region} is replaced"));
                }
                status => return Ok(failed(build, region, status)),
            }
        }
        if waiting.is_empty() {
            return Ok(succeeded(invocation, &recipe, &images));
        }
        let reason = waiting.join("; ");
        if invocation.spent() > TIME_LIMIT_MILLIS
            && !invocation.context.contains_key("stageTimeoutMs")
        {
            return Ok(Step::failed(format!("not done after one hour: {reason}")));
        }
        Ok(Step::Waiting {
            reason,
            memory: Map::from_iter([("builds".to_owned(), Value::Object(remembered))]),
            poll: None,
        })
    }

    async fn undo(&self, invocation: &Invocation<'_>, intent: &Intent) -> Result<Undo, StageError> {
        let region = intent
            .undo
            .get("region")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let done = |result: String| Ok(Undo::Done { result });
        let recipe = Recipe::of(
            invocation.context,
            invocation.trigger,
            &later_regions(invocation),
            invocation.started,
        )?;
        let own_token = own_token(invocation, region);
        let record = invocation
            .store()
            .table()
            .get(&bake_key(&recipe, region))
            .await?
            .filter(|record| text(record, "token") == Some(own_token.as_str()));
        let known = record.as_ref().and_then(|record| text(record, "build"));
        let build = match known {
            Some(build) => build.to_owned(),
            // Started, and died before it was written down: the same token answers the same build, or one that is
            // stopped at once.
            None if invocation.now.saturating_sub(intent.at) < TOKEN_MILLIS => {
                self.builds
                    .start_build(&self.project, &own_token, &recipe.variables(region))
                    .await?
            }
            None => return done(format!("no build for {region} is known")),
        };
        let finished = record.is_some_and(|record| record.contains_key("imageId"));
        if finished {
            return done(format!("the image for {region} was baked and stays"));
        }
        self.builds.stop_build(&build).await?;
        done(format!("build `{build}` for {region} is stopped"))
    }
}

fn failed(build: &Build, region: &str, why: &str) -> Step {
    Step::Failed {
        reason: format!(
            "build `{}` for {region} ended: {why}, in phase {}",
            build.id,
            build.phase.to_lowercase()
        ),
        details: json!({ "build": build.id, "region": region, "log": build.log }),
    }
}

fn succeeded(
    invocation: &Invocation<'_>,
    recipe: &Recipe,
    images: &[(&String, String, String, bool)],
) -> Step {
    let ref_id = &invocation.stage.ref_id;
    let details: Vec<Value> = images
        .iter()
        .map(|(region, image, name, _)| {
            let mut detail = recipe.detail();
            for (key, value) in [
                ("ami", image.as_str()),
                ("imageId", image),
                ("imageName", name),
                ("amiName", name),
                ("region", region),
                ("refId", ref_id),
            ] {
                detail.insert(key.to_owned(), value.into());
            }
            Value::Object(detail)
        })
        .collect();
    let artifacts: Vec<Value> = images
        .iter()
        .map(|(region, image, name, _)| {
            json!({ "type": "aws/image", "name": name, "location": region, "reference": image })
        })
        .collect();
    let previously = images.iter().all(|(.., previously)| *previously);
    let mut context = Map::from_iter([
        ("previouslyBaked".to_owned(), Value::Bool(previously)),
        ("amiDetails".to_owned(), json!(details)),
        ("artifacts".to_owned(), json!(artifacts)),
    ]);
    if let [(_, image, name, _)] = images {
        for (key, value) in [("ami", image), ("imageId", image), ("imageName", name)] {
            context.insert(key.to_owned(), json!(value));
        }
    }
    Step::Succeeded {
        outputs: Map::from_iter([
            ("deploymentDetails".to_owned(), json!(details)),
            ("artifacts".to_owned(), json!(artifacts)),
        ]),
        context,
    }
}

/// Variables of a build: environment names to values.
pub type Variables = BTreeMap<String, String>;
