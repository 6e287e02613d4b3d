//! The stage against Debian's Prometheus, which scrapes two groups of this test.
//!
//! The package is unpacked below the target directory, not installed. Where Debian's packages cannot be reached, the
//! test says `skipped`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use gennaker_cloud::CloudError;
use gennaker_cloud::metrics::Metrics;
use gennaker_http::{AddressPolicy, HttpClient};
use gennaker_kayenta_canary::KayentaCanary;
use gennaker_kayenta_canary::stores::Stores;
use gennaker_metrics::cloudwatch::DataQuery;
use gennaker_metrics::{Scope, Series};
use gennaker_testkit::{Behaviour, Drive, End, MemorySecrets, drive};
use serde_json::json;

/// So many scrapes, two a second, are a point a second: enough for a verdict.
const SCRAPES: usize = 28;
/// However slow the machine is.
const PATIENCE: Duration = Duration::from_mins(2);

/// Nothing in this test is read from CloudWatch.
struct NoCloudWatch;

#[async_trait]
impl Metrics for NoCloudWatch {
    async fn series(&self, _: &[DataQuery], _: &Scope) -> Result<Vec<Series>, CloudError> {
        panic!("CloudWatch was asked");
    }
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The program of Debian's package; none where it cannot be had.
fn prometheus() -> Option<PathBuf> {
    // A test binary is in `<target>/debug/deps`.
    let folder = std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(3)?
        .join("prometheus");
    let program = folder.join("usr/bin/prometheus");
    if program.is_file() {
        return Some(program);
    }
    std::fs::create_dir_all(folder.join("lists/partial")).ok()?;
    std::fs::create_dir_all(folder.join("cache")).ok()?;
    let lists = format!("Dir::State::lists={}/lists", folder.display());
    let cache = format!("Dir::Cache={}/cache", folder.display());
    let own = ["-o", &lists, "-o", &cache, "-o", "APT::Sandbox::User=root"];
    // The system's lists of packages may be missing, or not ours to write.
    let fetched = run(&folder, "apt-get", &["download", "prometheus"])
        || (run(&folder, "apt-get", &[&own[..], &["update"]].concat())
            && run(
                &folder,
                "apt-get",
                &[&own[..], &["download", "prometheus"]].concat(),
            ));
    if !fetched {
        return None;
    }
    let package = std::fs::read_dir(&folder).ok()?.flatten().find(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("prometheus_") && Path::new(&name).extension().is_some_and(|e| e == "deb")
    })?;
    let package = package.path().to_string_lossy().into_owned();
    let unpacked = run(&folder, "dpkg-deb", &["--extract", &package, "."]);
    (unpacked && program.is_file()).then_some(program)
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A page of metrics of two groups, the second one much worse, that changes with every look.
fn export() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, counted.fetch_add(1, Ordering::Relaxed));
        }
    });
    (port, looks)
}

#[allow(clippy::cast_precision_loss)] // A few hundred looks.
fn answer(mut stream: TcpStream, look: usize) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let wave = (look % 7) as f64 / 10.0;
    let body = format!(
        "# TYPE errors gauge\nerrors{{asg=\"shop-v001\"}} {}\nerrors{{asg=\"shop-v002\"}} {}\nerrors{{asg=\"shop-v003\"}} {}\n",
        1.0 + wave,
        1.03 + wave,
        9.0 + wave,
    );
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close";
    let _ = write!(
        stream,
        "{head}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
}

fn start(program: &Path, folder: &Path, exporter: u16) -> (Running, u16) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let config = json!({
        "global": { "scrape_interval": "500ms", "scrape_timeout": "400ms" },
        "scrape_configs": [{ "job_name": "groups", "static_configs": [{ "targets": [format!("127.0.0.1:{exporter}")] }] }],
    });
    // JSON is YAML.
    std::fs::write(folder.join("prometheus.yml"), config.to_string()).unwrap();
    let child = Command::new(program)
        .arg(format!("--config.file={}/prometheus.yml", folder.display()))
        .arg(format!("--storage.tsdb.path={}/data", folder.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap();
    let running = Running(child);
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "Prometheus does not listen"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    (running, port)
}

fn iso(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
    at.to_string()
}

async fn judged(port: u16, canary: &str) -> (End, serde_json::Value) {
    let now = SystemTime::now();
    let config = json!({
        "metricsAccountName": "prom",
        "configuration": {
            "name": "errors", "applications": ["shop"],
            "metrics": [{ "name": "errors", "groups": ["g"],
                "query": { "type": "prometheus", "metricName": "errors", "customInlineTemplate": "PromQL:sum(errors{asg=\"$\\{scope}\"})" },
                "analysisConfigurations": { "canary": { "direction": "increase", "critical": true, "mustHaveData": true } } }],
            "classifier": { "groupWeights": { "g": 100 } },
        },
        "scopes": [{ "controlScope": "shop-v001", "controlLocation": "us-east-1",
                     "experimentScope": canary, "experimentLocation": "us-east-1", "step": 1,
                     "startTimeIso": iso(now - Duration::from_mins(1)), "endTimeIso": iso(now) }],
        "scoreThresholds": { "pass": 95, "marginal": 75 },
    });
    let stage = drive::stage(
        "1",
        "kayentaCanary",
        "kayenta-canary",
        json!({ "canaryConfig": config }),
    );
    let drive = Drive::new(Behaviour::default(), vec![stage]).await.unwrap();
    let account = json!({ "type": "prometheus", "endpoint": format!("http://127.0.0.1:{port}") });
    drive
        .store()
        .save_metrics_account("prom", &account)
        .await
        .unwrap();
    let stores = Stores::new(
        Arc::new(NoCloudWatch),
        Arc::new(HttpClient::new(AddressPolicy::of_setting(Some(
            "127.0.0.1",
        )))),
        Arc::new(MemorySecrets::with_faults(drive.faults.clone())),
    );
    let end = drive
        .to_end(&drive.runtime(KayentaCanary::new(stores)), "1")
        .await;
    let record = drive.records().await.unwrap().remove("1").unwrap();
    (end, json!(record.context))
}

#[tokio::test]
async fn a_prometheus_that_scrapes_is_asked_and_its_points_are_judged() {
    let Some(program) = prometheus() else {
        println!("skipped: Debian's package `prometheus` cannot be fetched here");
        return;
    };
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("prometheus-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (exporter, looks) = export();
    let (running, port) = start(&program, &folder, exporter);
    let begun = Instant::now();
    while looks.load(Ordering::Relaxed) < SCRAPES {
        assert!(begun.elapsed() < PATIENCE, "scraped {looks:?} times only");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let points = |context: &serde_json::Value| {
        let result = &context["judgeResult"]["results"][0];
        ["controlMetadata", "experimentMetadata"]
            .map(|side| result[side]["stats"]["count"].as_u64().unwrap())
    };
    let (end, context) = judged(port, "shop-v002").await;
    assert_eq!(end, End::Done, "{context:#}");
    assert!(
        points(&context).iter().all(|points| *points >= 8),
        "{context:#}"
    );
    let (end, context) = judged(port, "shop-v003").await;
    assert!(matches!(end, End::Failed(_)), "{context:#}");
    assert_eq!(
        context["judgeResult"]["results"][0]["classification"],
        "High"
    );
    // A group that nobody scraped.
    let (end, context) = judged(port, "shop-v004").await;
    assert!(matches!(end, End::Failed(_)), "{context:#}");
    assert_eq!(
        context["judgeResult"]["results"][0]["classification"],
        "Nodata"
    );
    drop(running);
    std::fs::remove_dir_all(&folder).unwrap();
}
