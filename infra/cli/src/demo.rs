//! `gennaker local demo`: an image push becomes a running release, from nothing.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use gennaker_domain::{Problem, Status};
use gennaker_local::{LocalCloud, ObservedCluster, ObservedServerGroup, World};
use serde_json::Value;

use crate::accounts;
use crate::arguments::Demo;
use crate::cluster::{lines, named};
use crate::event::{self, Event};
use crate::execution::{attend, verdict};
use crate::failure::Failure;
use crate::input;
use crate::local::{self, Ground, Setting, StaysUp};
use crate::output::{BOLD, Output, elapsed};
use crate::run::{Answers, Hand, price_line, started_by_event, summary_json, transitions};
use crate::saved::save_pipeline;
use crate::surroundings::now_millis;
use crate::view::Seen;

const PIPELINE: &str = include_str!("../demo/pipeline.json");
const WORLD: &str = include_str!("../demo/world.json");
const CLUSTER: &str = "shop-prod-web";
const REPOSITORY: &str = "shop/web";
const TAG: &str = "v2";
/// Polls every half second instead of every ten: nobody wants to watch a poll interval.
const WAIT_SCALE: f64 = 0.05;
const LOOK_EVERY: Duration = Duration::from_millis(200);
const TIME_LIMIT_MILLIS: i64 = 10 * 60 * 1000;

/// Runs the command.
pub(crate) async fn run(arguments: Demo, prefix: &str, output: &Output) -> Result<(), Failure> {
    if !arguments.approve && !output.interactive {
        return Err(Failure::input(
            Problem::error(
                "approval-needed",
                "$",
                "the demo asks for an approval, and there is no terminal to ask in",
            )
            .with_hint("gennaker local demo --approve"),
        ));
    }
    let world = world(arguments.world.as_deref())?;
    let setting = Setting {
        prefix: prefix.to_owned(),
        world,
        port: None,
        wait_scale: WAIT_SCALE,
        detached: arguments.keep,
    };
    let ground = local::start(setting.clone(), output).await?;
    let _stays = arguments.keep.then(|| StaysUp(*output));
    let outcome = release(&ground, &arguments, &setting, prefix, output).await;
    ground.explain(outcome).await
}

/// From the push to the end, in a cloud that is up.
async fn release(
    ground: &Ground,
    arguments: &Demo,
    setting: &Setting,
    prefix: &str,
    output: &Output,
) -> Result<(), Failure> {
    let began = now();
    let pipeline = input::parse(PIPELINE, "the demo's pipeline")?;
    let seeding = pipeline.clone();
    ground
        .with(move |cloud| cloud.seed_for_pipeline(&seeding, false))
        .await?;
    let installation = ground.installation(prefix).await;
    let mut names = accounts::named(&pipeline);
    names.extend(accounts::of_world(&setting.world));
    accounts::register(&names, &installation).await?;
    let saved = save_pipeline(PIPELINE, None, &installation, output).await?;
    let pipeline_id = saved
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    say(
        output,
        "saved the pipeline `shop/release web` (infra/cli/demo/pipeline.json)",
    );
    let before = ground.with(LocalCloud::clusters).await?;
    let event = ground
        .with(|cloud| cloud.push_image(REPOSITORY, TAG, "the second release"))
        .await?;
    event::send(ground, &Event::Bridge(event), 1).await?;
    say(output, &format!("pushed {REPOSITORY}:{TAG}"));
    let id = started_by_event(&installation, &pipeline_id).await?;
    let execution = installation.execution(id.as_str()).await?;
    let mut hand = Hand {
        installation: &installation,
        output,
        answers: if arguments.approve {
            Answers::Approve
        } else {
            Answers::Given(Vec::new())
        },
        wait_scale: WAIT_SCALE,
        until: now_millis() + TIME_LIMIT_MILLIS,
        over_time: false,
        answered: HashSet::new(),
        seen: Seen::default(),
    };
    let snapshot = attend(&installation, output, execution, LOOK_EVERY, &mut hand).await?;
    let after = ground.with(LocalCloud::clusters).await?;
    let transitions = transitions(ground, &installation, &snapshot).await?;
    if output.json {
        output.compact(&summary_json(
            &snapshot,
            &after,
            &named(&pipeline),
            transitions,
        ))?;
    } else {
        output.line(&output.paint("before", BOLD))?;
        for line in lines(&before, output) {
            output.line(&line)?;
        }
        output.line(&output.paint("after", BOLD))?;
        for line in lines(&after, output) {
            output.line(&line)?;
        }
        let execution = &snapshot.execution;
        output.line(&format!("state machine {}", execution.state_machine))?;
        output.line(&format!(
            "execution     {}, run {}",
            execution.id,
            execution.id.run(execution.run)
        ))?;
        output.line(&price_line(transitions))?;
        let seconds = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        output.line(&format!(
            "{} {} from the push to the end",
            snapshot.execution.status,
            elapsed(seconds)
        ))?;
    }
    verdict(&snapshot)?;
    if snapshot.execution.status == Status::Succeeded {
        released(&before, &after)?;
        say(
            output,
            "the release is there: read back from Auto Scaling and the target group",
        );
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "the demo tells how long it took")]
fn now() -> Instant {
    Instant::now()
}

fn say(output: &Output, text: &str) {
    output.say(&format!(
        "{} {text}",
        output.paint("✔", crate::output::GREEN)
    ));
}

fn world(file: Option<&Path>) -> Result<World, Failure> {
    match file {
        Some(file) => local::world(Some(file)),
        None => Ok(World::parse(WORLD, "the demo's world")?),
    }
}

/// Whether the release is really there: a new server group of another image, healthy in its target group, and the
/// old ones out of traffic.
fn released(before: &[ObservedCluster], after: &[ObservedCluster]) -> Result<(), Failure> {
    let groups = |clusters: &[ObservedCluster]| -> Vec<ObservedServerGroup> {
        clusters
            .iter()
            .filter(|cluster| cluster.name == CLUSTER)
            .flat_map(|cluster| cluster.server_groups.clone())
            .collect()
    };
    let (before, after) = (groups(before), groups(after));
    let no = |reason: String| Err(Failure::No(format!("the release is not there: {reason}")));
    let new: Vec<&ObservedServerGroup> = after
        .iter()
        .filter(|group| before.iter().all(|old| old.name != group.name))
        .collect();
    let [new] = new.as_slice() else {
        return no(format!("{} new server groups, not one", new.len()));
    };
    let (_, desired, _) = new.capacity.bounds();
    if !new.enabled {
        return no(format!("`{}` is disabled", new.name));
    }
    if desired == 0 || new.healthy < desired {
        return no(format!(
            "{} of {desired} instances of `{}` are healthy",
            new.healthy, new.name
        ));
    }
    if new.in_traffic.is_empty() || new.in_traffic.values().any(|count| *count < desired) {
        return no(format!(
            "`{}` is not in traffic with {desired} instances: {:?}",
            new.name, new.in_traffic
        ));
    }
    if before.iter().any(|old| old.image == new.image) {
        return no(format!("`{}` runs the image that ran before", new.name));
    }
    for old in after.iter().filter(|group| group.name != new.name) {
        if old.enabled || old.in_traffic.values().any(|count| *count > 0) {
            return no(format!("`{}` still serves", old.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gennaker_local::Capacity;

    fn group(name: &str, image: &str, enabled: bool, healthy: u32) -> ObservedServerGroup {
        ObservedServerGroup {
            name: name.to_owned(),
            image: image.to_owned(),
            capacity: Capacity::Fixed(3),
            enabled,
            healthy,
            instances: 3,
            in_traffic: [("shop-web".to_owned(), if enabled { healthy } else { 0 })].into(),
            suspended: Vec::new(),
        }
    }

    fn cluster(server_groups: Vec<ObservedServerGroup>) -> Vec<ObservedCluster> {
        vec![ObservedCluster {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            name: CLUSTER.to_owned(),
            server_groups,
        }]
    }

    #[test]
    fn the_release_is_there_only_if_the_new_group_serves_alone_with_another_image() {
        let old = |enabled| group("shop-prod-web-v000", "ami-1", enabled, 3);
        let new = |enabled, healthy| group("shop-prod-web-v001", "ami-2", enabled, healthy);
        let before = cluster(vec![old(true)]);
        assert!(released(&before, &cluster(vec![old(false), new(true, 3)])).is_ok());
        for wrong in [
            vec![old(true)],
            vec![old(true), new(true, 3)],
            vec![old(false), new(false, 3)],
            vec![old(false), new(true, 2)],
            vec![old(false), group("shop-prod-web-v001", "ami-1", true, 3)],
        ] {
            assert!(
                released(&before, &cluster(wrong.clone())).is_err(),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn the_demos_files_are_a_pipeline_that_compiles_and_a_world() {
        let options = gennaker_compiler::Options {
            mode: gennaker_compiler::Mode::Save,
            ..Default::default()
        };
        let compiled = gennaker_compiler::compile_text(PIPELINE, &options).unwrap();
        assert_eq!(compiled.warnings, []);
        world(None).unwrap();
    }
}
