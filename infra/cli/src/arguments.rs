//! What can be typed: every command, flag and example. Help, completions and man pages are made of this.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Continuous delivery on AWS without servers: Spinnaker's pipelines on Step Functions and Lambda.
///
/// Data goes to standard output, everything said to a person to standard error. `-` as FILE is standard input.
#[derive(Debug, Parser)]
#[command(
    name = "gennaker",
    version,
    max_term_width = 110,
    arg_required_else_help = true,
    after_help = "Exit status: 0 done; 1 it ran and the answer is no; 2 the input is wrong; 3 the environment is wrong; 130 interrupted.\n\nExample:\n  gennaker local demo",
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    /// Print data as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colours on standard error and in views.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN"
    )]
    pub color: Color,
    /// Prefix of the installation to talk to: the stack's parameter `Prefix`. Default: GENNAKER_PREFIX, or gennaker.
    #[arg(long, global = true, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compile, check, save and look at pipelines.
    #[command(subcommand)]
    Pipeline(Pipeline),
    /// Evaluate and check `${…}` expressions.
    #[command(subcommand)]
    Expression(Expression),
    /// Ask the decisions of the server-group stages, without a cloud.
    #[command(subcommand)]
    Decision(Decision),
    /// Judge canaries and check their configurations, without a cloud.
    #[command(subcommand)]
    Canary(Canary),
    /// Tell what an event starts, and why not.
    #[command(subcommand)]
    Trigger(Trigger),
    /// Read raw webhooks as events.
    #[command(subcommand)]
    Webhook(Webhook),
    /// Match and resolve artifacts; accounts that they are read with.
    #[command(subcommand)]
    Artifact(Artifact),
    /// Compute the times of cron triggers.
    #[command(subcommand)]
    Cron(Cron),
    /// A whole installation on this machine.
    #[command(subcommand)]
    Local(Local),
    /// Start executions, look at them and act on them, on AWS and in the local cloud alike.
    #[command(subcommand)]
    Execution(Execution),
    /// The AWS accounts behind the account names in pipelines.
    #[command(subcommand)]
    Account(Account),
    /// Applications: owners, permissions, traffic guards, notifications.
    #[command(subcommand)]
    Application(Application),
    /// How messages of queues, topics and sources of events name their artifacts.
    #[command(subcommand)]
    Subscription(Subscription),
    /// The deployment monitors that monitored deployments ask.
    #[command(subcommand)]
    Monitor(Monitor),
    /// The people whom approvals know: their roles, and their names in Slack and AWS.
    #[command(subcommand)]
    User(User),
    /// The Jenkins and Travis that are asked for builds that ended, and the registries that are asked for new tags.
    #[command(subcommand)]
    BuildService(BuildService),
    /// Build every function for Lambda and write the template that `sam deploy` takes.
    #[command(
        after_help = "Example:\n  gennaker package --architecture arm64 --out target/package\n  sam deploy --template-file target/package/template.yaml --stack-name gennaker --resolve-s3 --capabilities CAPABILITY_NAMED_IAM"
    )]
    Package(Package),
    /// Print the completion script of a shell.
    #[command(
        after_help = "Example:\n  gennaker completion bash > ~/.local/share/bash-completion/completions/gennaker"
    )]
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages.
    #[command(
        after_help = "Example:\n  gennaker man --out target/man && man target/man/gennaker-pipeline.1"
    )]
    Man {
        /// Directory to write them to; without it, the main page goes to standard output.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pipeline {
    /// Print the Step Functions definition of a pipeline.
    #[command(after_help = "Example:\n  gennaker pipeline compile release.json --compact")]
    Compile {
        /// Pipeline in Spinnaker's JSON.
        file: PathBuf,
        /// On one line.
        #[arg(long)]
        compact: bool,
        /// Preconfigured webhooks that the pipeline may use as stage types.
        #[arg(long, value_name = "FILE")]
        webhooks: Option<PathBuf>,
    },
    /// Print what a pipeline will do: stages, states, transitions, worst-case history.
    #[command(after_help = "Example:\n  gennaker pipeline plan release.json --json")]
    Plan {
        /// Pipeline in Spinnaker's JSON.
        file: PathBuf,
        /// Application in Spinnaker's JSON: traffic guards, permissions.
        #[arg(long, value_name = "FILE")]
        application: Option<PathBuf>,
        /// World to start from.
        #[arg(long, value_name = "FILE")]
        world: Option<PathBuf>,
        /// Accounts that exist.
        #[arg(long, value_name = "FILE")]
        accounts: Option<PathBuf>,
        /// Trigger that starts it.
        #[arg(long, value_name = "FILE")]
        trigger: Option<PathBuf>,
        /// Preconfigured webhooks that the pipeline may use as stage types.
        #[arg(long, value_name = "FILE")]
        webhooks: Option<PathBuf>,
    },
    /// Run the compiled definition in virtual time.
    #[command(
        after_help = "Example:\n  echo '{\"2\":{\"status\":\"TERMINAL\",\"seconds\":30}}' | gennaker pipeline simulate release.json --outcomes - --json"
    )]
    Simulate {
        /// Pipeline in Spinnaker's JSON.
        file: PathBuf,
        /// What becomes of each stage: `{"<refId>": {"status", "seconds", "outputs"}}`.
        #[arg(long, value_name = "FILE")]
        outcomes: Option<PathBuf>,
        /// Trigger that starts it.
        #[arg(long, value_name = "FILE")]
        trigger: Option<PathBuf>,
        /// When it starts.
        #[arg(long, value_name = "RFC3339", default_value = "1970-01-01T00:00:00Z")]
        at: String,
        /// World to start from.
        #[arg(long, value_name = "FILE")]
        world: Option<PathBuf>,
        /// Preconfigured webhooks that the pipeline may use as stage types.
        #[arg(long, value_name = "FILE")]
        webhooks: Option<PathBuf>,
    },
    /// Compile a pipeline and make it the current revision.
    #[command(after_help = "Example:\n  gennaker pipeline save release.json --application shop")]
    Save {
        /// Pipeline in Spinnaker's JSON.
        file: PathBuf,
        /// Application; wins over the one in the file.
        #[arg(long, value_name = "APP")]
        application: Option<String>,
    },
    /// List pipelines.
    #[command(after_help = "Example:\n  gennaker pipeline list --application shop")]
    List {
        /// Only of this application.
        #[arg(long, value_name = "APP")]
        application: String,
    },
    /// Print a saved pipeline as it was given.
    #[command(after_help = "Example:\n  gennaker pipeline show shop/release --revision 3")]
    Show {
        /// `APP/NAME`.
        #[arg(value_name = "APP/NAME")]
        pipeline: String,
        /// Which revision; without it, the current one.
        #[arg(long, value_name = "N")]
        revision: Option<u64>,
    },
    /// Compare two pipelines stage by stage; exit status 1 if they differ.
    #[command(after_help = "Example:\n  gennaker pipeline diff shop/release@3 release.json")]
    Diff {
        /// File, or `APP/NAME@N`.
        old: String,
        /// File, or `APP/NAME@N`.
        new: String,
    },
    /// Delete a pipeline; its executions stay.
    #[command(after_help = "Example:\n  gennaker pipeline delete shop/release")]
    Delete {
        /// `APP/NAME`.
        #[arg(value_name = "APP/NAME")]
        pipeline: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Expression {
    /// Evaluate one expression, or cases as JSON lines.
    #[command(
        after_help = "Example:\n  echo '{\"parameters\":{\"x\":2}}' | gennaker expression evaluate --context - '${parameters.x + 1}'"
    )]
    Evaluate {
        /// Text with expressions.
        #[arg(required_unless_present = "cases")]
        text: Option<String>,
        /// What the expressions see, a JSON object.
        #[arg(long, value_name = "FILE")]
        context: Option<PathBuf>,
        /// JSON lines in, JSON lines out in the same order.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "context"])]
        cases: Option<PathBuf>,
    },
    /// Check every expression of a pipeline.
    #[command(after_help = "Example:\n  gennaker expression check release.json")]
    Check {
        /// Pipeline in Spinnaker's JSON.
        pipeline: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Decision {
    /// Answer cases: JSON lines in, JSON lines out in the same order.
    #[command(
        after_help = "Example:\n  echo '{\"id\":\"1\",\"decision\":\"naming\",\"input\":{\"what\":\"parse\",\"name\":\"shop-prod-web-v012\"}}' | gennaker decision evaluate --cases -"
    )]
    Evaluate {
        /// The cases.
        #[arg(long, value_name = "FILE")]
        cases: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Canary {
    /// Judge metrics of a canary against those of its baseline.
    #[command(
        after_help = "Example:\n  gennaker canary judge --config canary.json --metrics pairs.json --pass 95 --marginal 75"
    )]
    Judge {
        /// Kayenta's canary configuration.
        #[arg(long, value_name = "FILE", required_unless_present = "cases")]
        config: Option<PathBuf>,
        /// `{"pairs":[{"name","id","tags","values":{"control","experiment"}}]}`.
        #[arg(long, value_name = "FILE", required_unless_present = "cases")]
        metrics: Option<PathBuf>,
        /// Score from which the canary passes.
        #[arg(long, default_value_t = 95.0)]
        pass: f64,
        /// Score below which the canary fails.
        #[arg(long, default_value_t = 75.0)]
        marginal: f64,
        /// Answer exactly as Kayenta does, its surprises included.
        #[arg(long)]
        kayenta_compatible: bool,
        /// JSON lines in, results out in the same order.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "metrics", "report"])]
        cases: Option<PathBuf>,
        /// Write a page of it, which needs nothing but itself: scores, series, distributions, reasons.
        #[arg(long, value_name = "OUT.html")]
        report: Option<PathBuf>,
    },
    /// Tell from history what a canary of this configuration can see, and how long it would need.
    #[command(
        after_help = "Example:\n  gennaker canary power --config canary.json --history last-week.json"
    )]
    Power {
        /// Kayenta's canary configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// `{"metrics":[{"name","values":[…]}],"stepSeconds":60,"minutes":60,"effect":0.1}`, or a file of pairs.
        #[arg(long, value_name = "FILE")]
        history: PathBuf,
    },
    /// Check a canary configuration: what is refused, and what is weak.
    #[command(after_help = "Example:\n  gennaker canary lint canary.json --points 60")]
    Lint {
        /// Kayenta's canary configuration.
        file: PathBuf,
        /// Points that each side will have at the first judgement: the interval over the step.
        #[arg(long, value_name = "N")]
        points: Option<u64>,
    },
    /// Show how a canary of an execution was judged: the scores of its intervals, each metric, why.
    #[command(
        after_help = "Example:\n  gennaker canary report 01JA2B3C4D5E6F7G8H9J0KMNPQ --stage 3 --out report.html"
    )]
    Report {
        /// The execution.
        execution: String,
        /// `refId` of the canary stage; not needed where there is one.
        #[arg(long, value_name = "REFID")]
        stage: Option<String>,
        /// Write a page, which needs nothing but itself: scores over time, series, distributions, reasons.
        #[arg(long, value_name = "OUT.html")]
        out: Option<PathBuf>,
    },
    /// Read the metrics of a configuration, as `canary judge` and `canary power` take them.
    #[command(
        after_help = "Example:\n  gennaker canary fetch --config canary.json --scope shop-web-v002 --baseline shop-web-v001"
    )]
    Fetch(Fetch),
    /// Check a canary configuration and store it; a stage names it by its id.
    #[command(after_help = "Example:\n  gennaker canary save canary.json")]
    Save {
        /// Kayenta's canary configuration; its id is `id`, or else its name.
        file: PathBuf,
    },
    /// List the stored canary configurations of an application.
    #[command(after_help = "Example:\n  gennaker canary list --application shop")]
    List {
        /// The application.
        #[arg(long, value_name = "APP")]
        application: String,
    },
    /// Print a stored canary configuration.
    #[command(after_help = "Example:\n  gennaker canary show errors")]
    Show {
        /// Its id.
        id: String,
    },
    /// Delete a stored canary configuration.
    #[command(after_help = "Example:\n  gennaker canary delete errors")]
    Delete {
        /// Its id.
        id: String,
    },
    /// Accounts of metric stores: what a stage calls `metricsAccountName`.
    #[command(subcommand)]
    Account(MetricsAccount),
}

/// Metrics accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum MetricsAccount {
    /// Store an account; credentials are references.
    #[command(after_help = "Example:\n  gennaker canary account save datadog datadog.json")]
    Save {
        /// Its name.
        name: String,
        /// `{"type","endpoint","region","credentials":{…}}`.
        file: PathBuf,
    },
    /// List the accounts.
    #[command(after_help = "Example:\n  gennaker canary account list")]
    List,
}

/// What to read, of whom, and when.
#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// Kayenta's canary configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The canary: a server group, as a rule.
    #[arg(long)]
    pub scope: String,
    /// The baseline; without it, only the scope's own history is read, for `canary power`.
    #[arg(long)]
    pub baseline: Option<String>,
    /// Region; without it, the one that the SDK's own settings name.
    #[arg(long)]
    pub location: Option<String>,
    /// Start of the time, inclusive; without it, an hour before its end.
    #[arg(long, value_name = "RFC3339")]
    pub start: Option<String>,
    /// End of the time, exclusive; without it, now.
    #[arg(long, value_name = "RFC3339")]
    pub end: Option<String>,
    /// Seconds of one point.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub step: u32,
    /// An extended scope parameter.
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub parameters: Vec<(String, String)>,
    /// Metrics account; CloudWatch needs none.
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BuildService {
    /// Save a Jenkins or Travis that is asked for builds that ended (triggers name it in `master`), or a registry that is
    /// asked for new tags (docker triggers name it in `account`).
    #[command(
        after_help = "Examples:\n  gennaker build-service save --name ci --type jenkins --address https://ci.example.com --user spin --token ssm:/gennaker/ci-token\n  gennaker build-service save --name hub --type docker --address https://registry-1.docker.io --repository shop/api --user spin --token ssm:/gennaker/hub"
    )]
    Save {
        /// Its name.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it is.
        #[arg(long = "type", value_name = "TYPE", value_parser = ["jenkins", "travis", "docker"])]
        service: String,
        /// Where it is.
        #[arg(long, value_name = "URL")]
        address: String,
        /// User of a Jenkins or a registry.
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// Reference to the token, or to a registry's password: ssm:NAME or secretsmanager:NAME.
        #[arg(long, value_name = "REFERENCE")]
        token: Option<String>,
        /// A repository of a registry whose tags are asked for; more than one by naming it again.
        #[arg(long = "repository", value_name = "REPOSITORY")]
        repositories: Vec<String>,
    },
    /// List them.
    #[command(after_help = "Example:\n  gennaker build-service list --json")]
    List,
    /// Delete one.
    #[command(after_help = "Example:\n  gennaker build-service delete ci")]
    Delete {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Trigger {
    /// Tell for each trigger of each pipeline whether an event matches it, why not, and what the execution would carry.
    #[command(
        after_help = "Example:\n  gennaker trigger explain --pipelines pipelines/ --event push.json"
    )]
    Explain {
        /// A pipeline, a list of them, or a folder of such files.
        #[arg(long, value_name = "DIR|FILE", required_unless_present = "cases")]
        pipelines: Option<PathBuf>,
        /// The event as it would arrive.
        #[arg(long, value_name = "FILE", required_unless_present = "cases")]
        event: Option<PathBuf>,
        /// Secrets: `{"gitSharedSecret": "…", "ssm:/NAME": "…"}`, the latter for triggers that refer to theirs.
        #[arg(long, value_name = "FILE")]
        secrets: Option<PathBuf>,
        /// When the event arrives.
        #[arg(long, value_name = "RFC3339")]
        now: Option<String>,
        /// JSON lines in, JSON lines out in the same order.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["pipelines", "event", "secrets", "now"])]
        cases: Option<PathBuf>,
    },
    /// Send events again that could not be delivered or handled. The same event starts nothing twice.
    #[command(
        after_help = "Example:\n  gennaker trigger redrive --list && gennaker trigger redrive"
    )]
    Redrive {
        /// Only this one.
        #[arg(long, value_name = "ID", conflicts_with = "list")]
        id: Option<String>,
        /// Only show what waits.
        #[arg(long)]
        list: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Webhook {
    /// Answer cases: JSON lines in, JSON lines out in the same order.
    #[command(after_help = "Example:\n  gennaker webhook evaluate --cases cases.jsonl")]
    Evaluate {
        /// The cases; their payload files lie beside them.
        #[arg(long, value_name = "FILE")]
        cases: PathBuf,
    },
    /// Save preconfigured webhooks, each a stage type of its own, and the accounts whose headers webhooks send.
    #[command(after_help = "Example:\n  gennaker webhook save webhooks.json")]
    Save {
        /// Spinnaker's JSON: one webhook, a list, or `webhook.preconfigured` and `webhook.accounts`.
        file: PathBuf,
    },
    /// List the preconfigured webhooks and the accounts.
    #[command(after_help = "Example:\n  gennaker webhook list --json")]
    List,
    /// Take a preconfigured webhook away. Pipelines that were saved with it keep what it was.
    #[command(after_help = "Example:\n  gennaker webhook delete smokeTest")]
    Delete {
        /// Its stage type.
        #[arg(value_name = "TYPE")]
        stage_type: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Artifact {
    /// Answer cases: JSON lines in, JSON lines out in the same order.
    #[command(after_help = "Example:\n  gennaker artifact evaluate --cases cases.jsonl")]
    Evaluate {
        /// The cases.
        #[arg(long, value_name = "FILE")]
        cases: PathBuf,
    },
    /// Accounts of the places that artifacts are read from: what an artifact calls `artifactAccount`.
    #[command(subcommand)]
    Account(ArtifactAccount),
}

/// Artifact accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactAccount {
    /// Store an account; credentials are references.
    #[command(after_help = "Example:\n  gennaker artifact account save github github.json")]
    Save {
        /// Its name.
        name: String,
        /// `{"type","address","token"}`, or `"username"` and `"password"`, or `"region"`.
        file: PathBuf,
    },
    /// List the accounts.
    #[command(after_help = "Example:\n  gennaker artifact account list")]
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cron {
    /// Print the next times that a Quartz expression names, one a line.
    #[command(
        after_help = "Example:\n  gennaker cron next --expression '0 0 9 ? * MON-FRI' --time-zone Europe/Berlin --count 3"
    )]
    Next {
        /// `seconds minutes hours day-of-month month day-of-week [year]`.
        #[arg(long, value_name = "E", required_unless_present = "cases")]
        expression: Option<String>,
        /// Time zone.
        #[arg(long, value_name = "ZONE", default_value = gennaker_triggers::DEFAULT_ZONE)]
        time_zone: String,
        /// Times later than this; without it, later than now.
        #[arg(long, value_name = "RFC3339")]
        after: Option<String>,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        count: u64,
        /// JSON lines in, JSON lines out in the same order.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["expression", "after"])]
        cases: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Local {
    /// Deploy a release from an image push, from nothing, on this machine.
    #[command(after_help = "Example:\n  gennaker local demo --approve")]
    Demo(Demo),
    /// Start a local cloud with everything deployed; it stays up.
    #[command(
        after_help = "Example:\n  gennaker local up --wait-scale 0.05 && eval \"$(gennaker local env)\""
    )]
    Up {
        /// What exists in it.
        #[arg(long, value_name = "FILE")]
        world: Option<PathBuf>,
        /// Port of the main emulator; without it, a free one.
        #[arg(long, value_name = "N")]
        port: Option<u16>,
        /// Scales polls and retries.
        #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = wait_scale)]
        wait_scale: f64,
    },
    /// End the local cloud that is up.
    #[command(after_help = "Example:\n  gennaker local down")]
    Down,
    /// Tell what is up.
    #[command(after_help = "Example:\n  gennaker local status --json")]
    Status,
    /// Print the settings that make `aws` and `gennaker` talk to the local cloud.
    #[command(after_help = "Example:\n  eval \"$(gennaker local env)\"")]
    Env,
    /// Run a pipeline of your own in the local cloud.
    #[command(
        after_help = "Example:\n  gennaker local run release.json --parameter version=1.4 --approve --wait-scale 0.05 --json"
    )]
    Run(Run),
    /// Send an event as it would arrive.
    #[command(after_help = "Example:\n  gennaker local event push.json --times 3")]
    Event {
        /// `{"kind":"eventbridge|webhook|sqs|sns","path","headers","body"}` or a bare EventBridge event.
        file: PathBuf,
        /// How often to send the very same event.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
        times: u32,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Answer the approval with yes; required where there is no terminal.
    #[arg(long)]
    pub approve: bool,
    /// Leave the local cloud up afterwards.
    #[arg(long)]
    pub keep: bool,
    /// What exists before the push; without it, one server group that runs an old image.
    #[arg(long, value_name = "FILE")]
    pub world: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Pipeline in Spinnaker's JSON.
    pub pipeline: PathBuf,
    /// A parameter of the pipeline.
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub parameters: Vec<(String, String)>,
    /// Start it by this event instead of by hand.
    #[arg(long, value_name = "FILE")]
    pub event: Option<PathBuf>,
    /// Answer every judgment with continue.
    #[arg(long, conflicts_with = "judgments")]
    pub approve: bool,
    /// Answer a judgment.
    #[arg(long = "judgment", value_name = "REFID=continue|stop[:INPUT]", value_parser = judgment)]
    pub judgments: Vec<Judgment>,
    /// What exists, beside everything that the pipeline names.
    #[arg(long, value_name = "FILE")]
    pub world: Option<PathBuf>,
    /// Accounts that exist, beside those that the pipeline names.
    #[arg(long, value_name = "FILE")]
    pub accounts: Option<PathBuf>,
    /// Preconfigured webhooks that the pipeline may use as stage types; saved in the local cloud, as `webhook save` does.
    #[arg(long, value_name = "FILE")]
    pub webhooks: Option<PathBuf>,
    /// Scales polls and retries; literal waits end at their scaled time.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = wait_scale)]
    pub wait_scale: f64,
    /// Cancel it after this long: `90s`, `10m`, `2h`.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time_limit)]
    pub time_limit: std::time::Duration,
    /// Leave the local cloud up afterwards.
    #[arg(long)]
    pub keep: bool,
}

/// An answer to a manual judgment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgment {
    pub ref_id: String,
    pub answer: Answer,
    pub input: Option<String>,
}

/// Continue or stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Answer {
    /// The pipeline goes on.
    Continue,
    /// The stage fails.
    Stop,
}

impl Answer {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Stop => "stop",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Save an account under the name that pipelines have for it.
    #[command(
        after_help = "Example:\n  gennaker account save --name prod --account-id 123456789012 --role role/gennaker"
    )]
    Save(SaveAccount),
    /// List the accounts.
    #[command(after_help = "Example:\n  gennaker account list --json")]
    List,
}

#[derive(Debug, Args)]
pub(crate) struct SaveAccount {
    /// Accounts in Spinnaker's JSON: one, a list, or what is under `aws.accounts`.
    #[arg(required_unless_present = "name", conflicts_with_all = ["name", "account_id", "role", "regions"])]
    pub file: Option<PathBuf>,
    /// Name in pipelines (`account`, `credentials`).
    #[arg(long, value_name = "NAME", requires = "account_id")]
    pub name: Option<String>,
    /// AWS account id, twelve digits.
    #[arg(long, value_name = "ID", requires = "name")]
    pub account_id: Option<String>,
    /// Role that stages assume there: an ARN, or `role/NAME`. Without it, the functions' own account.
    #[arg(long, value_name = "ROLE", requires = "name")]
    pub role: Option<String>,
    /// A region that may be deployed to; without any, all.
    #[arg(long = "region", value_name = "REGION", requires = "name")]
    pub regions: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Application {
    /// Save an application's record; pipelines need none.
    #[command(after_help = "Example:\n  gennaker application save shop.json")]
    Save {
        /// Application in Spinnaker's JSON: as Front50 has it, or with `attributes` as `spin application get` prints it.
        file: PathBuf,
    },
    /// Print an application's record.
    #[command(after_help = "Example:\n  gennaker application show shop")]
    Show {
        /// Its name.
        name: String,
    },
    /// List the applications that were saved.
    #[command(after_help = "Example:\n  gennaker application list --json")]
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Subscription {
    /// Save the message format of a subscription.
    #[command(
        after_help = "Example:\n  gennaker subscription save orders --message-format orders.jinja"
    )]
    Save {
        /// Its name: of the queue or the topic, or the source of the events (aws.s3).
        name: String,
        /// A template, as Spinnaker's `templatePath`: it makes a JSON list of artifacts of a message.
        #[arg(long = "message-format", value_name = "FILE")]
        format: PathBuf,
    },
    /// List the subscriptions that have a message format.
    #[command(after_help = "Example:\n  gennaker subscription list --json")]
    List,
    /// Delete the message format of a subscription.
    #[command(after_help = "Example:\n  gennaker subscription delete orders")]
    Delete {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Monitor {
    /// Save a deployment monitor under the id that pipelines have for it.
    #[command(
        after_help = "Example:\n  gennaker monitor save --id errors --base-url https://monitor.example.com"
    )]
    Save(SaveMonitor),
    /// List the deployment monitors.
    #[command(after_help = "Example:\n  gennaker monitor list --json")]
    List,
}

#[derive(Debug, Args)]
pub(crate) struct SaveMonitor {
    /// Monitors in Spinnaker's JSON: one, a list, or what is under `monitored-deploy.deploymentMonitors`.
    #[arg(required_unless_present = "id", conflicts_with_all = ["id", "base_url"])]
    pub file: Option<PathBuf>,
    /// Id in pipelines (`deploymentMonitor.id`).
    #[arg(long, value_name = "ID", requires = "base_url")]
    pub id: Option<String>,
    /// What people call it; without it, the id.
    #[arg(long, value_name = "NAME", requires = "id")]
    pub name: Option<String>,
    /// Where its API begins: `/deployment/evaluateHealth` is called below it.
    #[arg(long, value_name = "URL", requires = "id")]
    pub base_url: Option<String>,
    /// Minutes that one analysis may take.
    #[arg(long, value_name = "N", requires = "id", default_value_t = 30)]
    pub max_analysis_minutes: i64,
    /// A deployment goes on if the monitor does not answer.
    #[arg(long, requires = "id")]
    pub goes_on_without: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Save a person; what is not given is forgotten.
    #[command(
        after_help = "Example:\n  gennaker user save --name ada --role sre --slack U012AB3CD --email ada@example.com"
    )]
    Save(SaveUser),
    /// List the people.
    #[command(after_help = "Example:\n  gennaker user list --json")]
    List,
}

#[derive(Debug, Args)]
pub(crate) struct SaveUser {
    /// Name: what is recorded of a decision.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// A role, as pipelines name it (`selectedStageRoles`); as often as there are roles.
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// User id in Slack: whose clicks are theirs.
    #[arg(long, value_name = "ID")]
    pub slack: Option<String>,
    /// E-mail address: what triggers may call them.
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// ARN of their role or user in AWS.
    #[arg(long, value_name = "ARN")]
    pub arn: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Execution {
    /// Run whole executions in virtual time by the functions' own code, without a cloud.
    #[command(after_help = "Example:\n  gennaker execution evaluate --cases cases.jsonl")]
    Evaluate {
        /// JSON lines, one case each; - for standard input.
        #[arg(long, value_name = "FILE")]
        cases: PathBuf,
    },
    /// Start a pipeline by hand.
    #[command(
        after_help = "Example:\n  gennaker execution start shop/release --parameter version=1.4"
    )]
    Start {
        /// `APP/NAME`.
        #[arg(value_name = "APP/NAME")]
        pipeline: String,
        /// A parameter of the pipeline.
        #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = name_and_value)]
        parameters: Vec<(String, String)>,
        /// An artifact in Spinnaker's JSON, or a list of them.
        #[arg(long, value_name = "FILE")]
        artifact: Option<PathBuf>,
    },
    /// List executions, newest first.
    #[command(
        after_help = "Example:\n  gennaker execution list --application shop --status RUNNING"
    )]
    List {
        /// Only of this application; without it, those that have not ended.
        #[arg(long, value_name = "APP")]
        application: Option<String>,
        /// Only of this pipeline.
        #[arg(long, value_name = "NAME", requires = "application")]
        pipeline: Option<String>,
        /// Only with this status.
        #[arg(long, value_name = "S", value_parser = status)]
        status: Option<gennaker_domain::Status>,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Print an execution; with `--json` in Spinnaker's form.
    #[command(after_help = "Example:\n  gennaker execution show 01JCZ3M6Q0V0GZ5T5W1M7H2K3B --json")]
    Show {
        /// Id of the execution.
        id: String,
    },
    /// Follow an execution to its end; exit status 1 if it does not succeed.
    #[command(after_help = "Example:\n  gennaker execution watch 01JCZ3M6Q0V0GZ5T5W1M7H2K3B")]
    Watch {
        /// Id of the execution.
        id: String,
    },
    /// Cancel an execution; what it began is undone.
    #[command(
        after_help = "Example:\n  gennaker execution cancel 01JCZ3M6Q0V0GZ5T5W1M7H2K3B --reason 'wrong image'"
    )]
    Cancel {
        /// Id of the execution.
        id: String,
        /// Why.
        #[arg(long, value_name = "R")]
        reason: Option<String>,
        /// Also if it is ending already.
        #[arg(long)]
        force: bool,
    },
    /// Pause an execution: what runs finishes its step, nothing new begins.
    #[command(after_help = "Example:\n  gennaker execution pause 01JCZ3M6Q0V0GZ5T5W1M7H2K3B")]
    Pause {
        /// Id of the execution.
        id: String,
    },
    /// Resume a paused execution.
    #[command(after_help = "Example:\n  gennaker execution resume 01JCZ3M6Q0V0GZ5T5W1M7H2K3B")]
    Resume {
        /// Id of the execution.
        id: String,
    },
    /// Restart an execution at a stage: it and everything after it runs again.
    #[command(
        after_help = "Example:\n  gennaker execution restart 01JCZ3M6Q0V0GZ5T5W1M7H2K3B --stage 3"
    )]
    Restart {
        /// Id of the execution.
        id: String,
        /// `refId` of the stage.
        #[arg(long, value_name = "REFID")]
        stage: String,
    },
    /// Skip a stage that waits.
    #[command(
        after_help = "Example:\n  gennaker execution skip 01JCZ3M6Q0V0GZ5T5W1M7H2K3B --stage 2"
    )]
    Skip {
        /// Id of the execution.
        id: String,
        /// `refId` of the stage.
        #[arg(long, value_name = "REFID")]
        stage: String,
    },
    /// Answer a manual judgment.
    #[command(
        after_help = "Example:\n  gennaker execution judge 01JCZ3M6Q0V0GZ5T5W1M7H2K3B --stage 2 continue --input blue"
    )]
    Judge {
        /// Id of the execution.
        id: String,
        /// `refId` of the stage.
        #[arg(long, value_name = "REFID")]
        stage: String,
        /// Continue or stop.
        #[arg(value_enum, required_unless_present = "page")]
        answer: Option<Answer>,
        /// One of the inputs that the stage offers.
        #[arg(long, value_name = "X")]
        input: Option<String>,
        /// Why, for whoever reads the execution.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Print a link to the page instead, which knows for a quarter of an hour who opens it.
        #[arg(long, conflicts_with_all = ["answer", "input", "reason"])]
        page: bool,
    },
    /// Tell what an execution waits for, since when, who can act, and what is left in the account.
    #[command(after_help = "Example:\n  gennaker execution explain 01JCZ3M6Q0V0GZ5T5W1M7H2K3B")]
    Explain {
        /// Id of the execution.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Package {
    /// What the functions will run on.
    #[arg(long, value_enum)]
    pub architecture: Architecture,
    /// Where to write the zips and the template.
    #[arg(long, value_name = "DIR", default_value = "target/package")]
    pub out: PathBuf,
    /// Only these functions; the template is written only with all of them.
    #[arg(long = "function", value_name = "NAME", num_args = 1..)]
    pub functions: Vec<String>,
    /// Optimised for Lambda, or quick to build and several times as large.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    pub profile: Profile,
}

/// How functions are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Small and quick to start.
    Release,
    /// Quick to build.
    Dev,
}

impl Profile {
    /// As Cargo writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "dev",
        }
    }
}

/// What functions run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    /// AWS Graviton.
    #[value(name = "arm64")]
    Arm64,
    /// Intel and AMD.
    #[value(name = "x86_64")]
    X86_64,
}

impl Architecture {
    /// As Lambda writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86_64 => "x86_64",
        }
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("is not NAME=VALUE".to_owned()),
    }
}

fn judgment(text: &str) -> Result<Judgment, String> {
    let wrong = || "is not REFID=continue, REFID=stop, or one of them with :INPUT".to_owned();
    let (ref_id, rest) = text.split_once('=').ok_or_else(wrong)?;
    let (answer, input) = match rest.split_once(':') {
        Some((answer, input)) => (answer, Some(input.to_owned())),
        None => (rest, None),
    };
    let answer = match answer {
        "continue" => Answer::Continue,
        "stop" => Answer::Stop,
        _ => return Err(wrong()),
    };
    if ref_id.is_empty() {
        return Err(wrong());
    }
    Ok(Judgment {
        ref_id: ref_id.to_owned(),
        answer,
        input,
    })
}

fn wait_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor <= 1.0 => Ok(factor),
        _ => Err("is not a number above 0 and at most 1".to_owned()),
    }
}

fn time_limit(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "is not a time such as 90s, 10m or 2h".to_owned();
    let (number, seconds) = match text.char_indices().next_back() {
        Some((at, 's')) => (text.get(..at), 1),
        Some((at, 'm')) => (text.get(..at), 60),
        Some((at, 'h')) => (text.get(..at), 3600),
        _ => (Some(text), 1),
    };
    let number: u64 = number.unwrap_or_default().parse().map_err(|_| wrong())?;
    if number == 0 {
        return Err(wrong());
    }
    number
        .checked_mul(seconds)
        .filter(|seconds| *seconds <= 7 * 24 * 3600)
        .map(std::time::Duration::from_secs)
        .ok_or_else(wrong)
}

fn status(text: &str) -> Result<gennaker_domain::Status, String> {
    gennaker_domain::Status::parse(&text.to_uppercase())
        .ok_or_else(|| "is not a status such as RUNNING, SUCCEEDED, TERMINAL".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_commands_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example_in_its_help() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.get_subcommands().next().is_none() {
                let help = command.clone().render_long_help().to_string();
                assert!(help.contains("Example:"), "{path}");
            }
            for sub in command.get_subcommands() {
                visit(sub, &path);
            }
        }
        visit(&Arguments::command(), "");
    }

    /// The words of a command line, as a shell splits it: what is between single quotes is one.
    fn words(line: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (number, part) in line.split('\'').enumerate() {
            if number % 2 == 1 {
                found.push(part.to_owned());
            } else {
                found.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        found
    }

    #[test]
    fn every_example_parses() {
        fn visit(command: &clap::Command) {
            let help = command.clone().render_long_help().to_string();
            for line in help.lines().skip_while(|line| *line != "Example:").skip(1) {
                for part in line.split(" | ").flat_map(|part| part.split(" && ")) {
                    let part = part.trim();
                    if !part.starts_with("gennaker ") || part.contains('$') {
                        continue;
                    }
                    let words = words(part.split(" > ").next().unwrap());
                    Arguments::try_parse_from(&words)
                        .unwrap_or_else(|error| panic!("{part}: {error}"));
                }
            }
            command.get_subcommands().for_each(visit);
        }
        visit(&Arguments::command());
    }

    #[test]
    fn a_judgment_has_a_stage_an_answer_and_perhaps_an_input() {
        assert_eq!(
            judgment("2=stop:not now: later"),
            Ok(Judgment {
                ref_id: "2".to_owned(),
                answer: Answer::Stop,
                input: Some("not now: later".to_owned()),
            })
        );
        for wrong in ["2", "=continue", "2=yes", ""] {
            assert!(judgment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_limit_is_seconds_minutes_or_hours() {
        assert_eq!(time_limit("10m").unwrap().as_secs(), 600);
        assert_eq!(time_limit("90").unwrap().as_secs(), 90);
        for wrong in ["", "0s", "m", "ü", "-1s", "1d", "99999999999999999999h"] {
            assert!(time_limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wait_scale_is_above_zero_and_at_most_one() {
        assert_eq!(wait_scale("0.05"), Ok(0.05));
        for wrong in ["0", "-1", "2", "NaN", "x"] {
            assert!(wait_scale(wrong).is_err(), "{wrong}");
        }
    }
}
