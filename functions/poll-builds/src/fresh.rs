//! Which builds are new.

use gennaker_cloud::store::builds::Mark;

use crate::build::Build;

/// How long ago a build may have ended that is seen at the first look at its job: Igor's look-back window.
pub const LOOK_BACK_MILLIS: i64 = 600_000;

/// The builds of one job that ended and are not done with, oldest first, and the mark that says so afterwards.
///
/// A build that runs holds the mark back: those after it are named one by one until it has ended. A job whose numbers
/// began anew is known by builds that ended after the mark, all of them with smaller numbers.
#[must_use]
pub fn fresh<'a>(builds: &[&'a Build], mark: Option<&Mark>, now: i64) -> (Vec<&'a Build>, Mark) {
    let mut builds: Vec<&Build> = builds.to_vec();
    builds.sort_by_key(|build| build.number);
    let last = builds.last().map_or(0, |build| build.number);
    let newest = builds
        .iter()
        .filter(|build| build.result.is_some())
        .map(|build| build.at)
        .max();
    let began_anew = |mark: &Mark| last < mark.up_to && newest.is_some_and(|at| at > mark.at);
    let is_new = |build: &Build| match mark {
        None => now.saturating_sub(build.at) <= LOOK_BACK_MILLIS,
        Some(mark) if began_anew(mark) => build.at > mark.at,
        Some(mark) => build.number > mark.up_to && !mark.also.contains(&build.number),
    };
    let found: Vec<&Build> = builds
        .iter()
        .filter(|build| build.result.is_some() && is_new(build))
        .copied()
        .collect();
    let kept = mark
        .filter(|mark| !began_anew(mark))
        .cloned()
        .unwrap_or_default();
    let running = builds
        .iter()
        .find(|build| build.result.is_none() && build.number > kept.up_to);
    let up_to = running
        .map_or(last, |build| build.number - 1)
        .max(kept.up_to);
    let also = builds
        .iter()
        .filter(|build| build.result.is_some() && build.number > up_to)
        .map(|build| build.number)
        .collect();
    let before = mark.map_or(0, |mark| mark.at);
    let at = newest.unwrap_or(before).max(before);
    (found, Mark { up_to, also, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(number: i64, ended: bool, at: i64) -> Build {
        Build {
            job: "api".to_owned(),
            number,
            result: ended.then(|| "SUCCESS".to_owned()),
            at,
            url: None,
        }
    }

    fn look(builds: &[Build], mark: Option<&Mark>, now: i64) -> (Vec<i64>, Mark) {
        let builds: Vec<&Build> = builds.iter().collect();
        let (found, mark) = fresh(&builds, mark, now);
        (found.iter().map(|one| one.number).collect(), mark)
    }

    #[test]
    fn the_first_look_sees_what_ended_just_now_and_later_looks_what_is_new() {
        let now = 10_000_000;
        let mut builds = vec![build(1, true, 5), build(2, true, now - 1_000)];
        let (found, mark) = look(&builds, None, now);
        assert_eq!(found, [2]);
        assert_eq!(look(&builds, Some(&mark), now).0, Vec::<i64>::new());
        builds.push(build(3, true, 7));
        let (found, mark) = look(&builds, Some(&mark), now);
        assert_eq!((found, mark.up_to), (vec![3], 3));
    }

    #[test]
    fn a_build_that_runs_is_seen_when_it_ends_though_later_ones_ended_before() {
        let mark = Mark {
            up_to: 1,
            also: vec![],
            at: 1,
        };
        let running = [build(1, true, 1), build(2, false, 0), build(3, true, 30)];
        let (found, mark) = look(&running, Some(&mark), 40);
        assert_eq!(
            (found, mark.up_to, mark.also.clone()),
            (vec![3], 1, vec![3])
        );
        assert_eq!(look(&running, Some(&mark), 40).0, Vec::<i64>::new());
        let ended = [build(1, true, 1), build(2, true, 35), build(3, true, 30)];
        let (found, mark) = look(&ended, Some(&mark), 40);
        assert_eq!((found, mark.up_to, mark.also), (vec![2], 3, vec![]));
    }

    #[test]
    fn a_job_whose_numbers_begin_anew_goes_on() {
        let mark = Mark {
            up_to: 90,
            also: vec![],
            at: 100,
        };
        let (found, mark) = look(
            &[build(1, true, 150), build(2, true, 160)],
            Some(&mark),
            200,
        );
        assert_eq!((found, mark.up_to), (vec![1, 2], 2));
        let unseen = look(&[], Some(&mark), 200);
        assert_eq!(unseen.1.up_to, 2);
    }
}
