//! Where a connection takes region and credentials from. A process cannot change its own environment safely: each test
//! runs this program again, with the environment in question and the test `child` alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_credential_types::provider::ProvideCredentials;
use gennaker_cloud::Connection;

const MARK: &str = "CONNECTION_TEST_CHILD";

fn directory(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// `region access-key` as the child sees them, or what it could not find.
fn seen(name: &str, environment: &[(&str, &str)]) -> String {
    let home = directory(name);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env_clear()
        .env(MARK, "yes")
        .env("HOME", &home)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.split_once("seen: "));
    line.unwrap_or_else(|| panic!("{text}")).1.to_owned()
}

fn profile(name: &str) -> String {
    let file = directory(name).join("config");
    std::fs::write(
        &file,
        "[profile sails]\nregion = eu-west-1\naws_access_key_id = FROMPROFILE\naws_secret_access_key = x\n",
    )
    .unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn child() {
    if std::env::var(MARK).is_err() {
        return; // It only means something as a process of its own.
    }
    let connection = Connection::from_env().await;
    let region = connection.config().region().map(ToString::to_string);
    let provider = connection.config().credentials_provider().unwrap();
    let key = match provider.provide_credentials().await {
        Ok(credentials) => credentials.access_key_id().to_owned(),
        Err(_) => "nobody".to_owned(),
    };
    println!("\nseen: {} {key}", region.unwrap_or("nowhere".to_owned()));
}

#[test]
fn lambdas_environment_names_region_and_credentials() {
    let environment = [
        ("AWS_REGION", "us-west-2"),
        ("AWS_ACCESS_KEY_ID", "FROMENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
    ];
    assert_eq!(seen("lambda", &environment), "us-west-2 FROMENVIRONMENT");
}

#[test]
fn a_profile_is_found_where_the_environment_names_nothing() {
    let file = profile("profile");
    let environment = [("AWS_CONFIG_FILE", file.as_str()), ("AWS_PROFILE", "sails")];
    assert_eq!(seen("profile", &environment), "eu-west-1 FROMPROFILE");
}

#[test]
fn the_environment_goes_before_a_profile() {
    let file = profile("both");
    let environment = [
        ("AWS_CONFIG_FILE", file.as_str()),
        ("AWS_PROFILE", "sails"),
        ("AWS_ACCESS_KEY_ID", "FROMENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
    ];
    assert_eq!(seen("both", &environment), "eu-west-1 FROMENVIRONMENT");
}

#[test]
fn without_any_credentials_there_is_an_error_and_no_wait() {
    assert_eq!(seen("nothing", &[]), "nowhere nobody");
}

#[tokio::test]
async fn a_client_is_made_at_its_first_use_and_only_once() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let connection = Connection::from_env().await;
    let client = connection.client(|_| MADE.fetch_add(1, Ordering::Relaxed));
    assert_eq!(MADE.load(Ordering::Relaxed), 0);
    assert_eq!((*client, *client), (0, 0));
    assert_eq!(*client.clone(), 0, "a clone keeps what was made");
    assert_eq!(MADE.load(Ordering::Relaxed), 1);
}
