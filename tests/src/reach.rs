//! Which calls of the ports a function can reach, read from the sources: a function's crate with the functions whose
//! crates it is built with, and what these call in the crates that they share.
//!
//! In a shared crate each `fn` counts for itself, so that a function which only pins a group is not one that can
//! terminate instances. Names decide: what is called `store` is the store, `auto_scaling` the port to Auto Scaling.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gennaker_cloud::iam::Call;
use gennaker_cloud::{
    account, alarms, auto_scaling, classic_load_balancing, code_build, ec2, functions,
    instance_profile, instance_refresh, load_balancing, metrics, notification, quotas, registry,
    scheduler, step_functions, table,
};
use gennaker_http::{object, secret};
use gennaker_lambda::{tell, wake};
use regex::Regex;

use crate::workspace;

/// What a port is called where it is used, and its calls.
const PORTS: [(&str, &[Call]); 22] = [
    ("account", account::calls::ALL),
    ("alarms", alarms::calls::ALL),
    ("auto_scaling", auto_scaling::calls::ALL),
    ("classic_load_balancing", classic_load_balancing::calls::ALL),
    ("builds", code_build::calls::ALL),
    ("cloudwatch", metrics::calls::ALL),
    ("ec2", ec2::calls::ALL),
    ("functions", functions::calls::ALL),
    ("instance_refreshes", instance_refresh::calls::ALL),
    ("load_balancing", load_balancing::calls::ALL),
    ("notifications", notification::calls::ALL),
    ("objects", object::calls::ALL),
    ("profiles", instance_profile::calls::ALL),
    ("quotas", quotas::calls::ALL),
    ("registry", registry::calls::ALL),
    ("scheduler", scheduler::calls::ALL),
    ("secrets", secret::calls::ALL),
    ("step_functions", step_functions::calls::ALL),
    ("table", table::calls::ALL),
    ("tell", tell::calls::ALL),
    ("wake", wake::calls::ALL),
    ("Write", table::write_calls::ALL),
];

/// Values of types of shared crates, by the names that they have wherever they are used.
const VALUES: [(&str, &str); 2] = [("store", "Store"), ("invocation", "Invocation")];

/// Whether a call of a port needs that action.
fn is_of_port(action: &str) -> bool {
    let mut calls = PORTS.iter().flat_map(|(_, calls)| calls.iter());
    calls.any(|call| call.actions.contains(&action))
}

/// Types whose methods are called on [`VALUES`], each for itself: who makes one does not call all of them.
fn is_value(name: &str) -> bool {
    VALUES.iter().any(|(_, known)| *known == name)
}

/// Where a function of a file, or a method of a type, begins.
static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^(?:    )?(?:pub(?:\([a-z]+\))? )?(?:const )?(?:async )?fn (\w+)").unwrap()
});
/// Where the methods of a type begin.
static HEADER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^impl(?:<[^{]*?>)? (?:[\w:<>]+ for )?(\w+)").unwrap());
/// The operation of a signed call.
static OPERATION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#""([a-z0-9]+:[A-Z][A-Za-z]+)""#).unwrap());
/// What is taken from a shared crate by name.
static IMPORT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^use (gennaker_\w+(?:::\w+)*)::(?:\{([^}]*)\}|(\w+));").unwrap()
});

/// Crates that functions share and that call ports.
const SHARED: [&str; 10] = [
    "artifacts",
    "cloud",
    "cloud-ec2",
    "http",
    "lambda",
    "messages",
    "metrics",
    "pipelines",
    "server-groups",
    "triggers",
];
/// The crate of the runtime: what a stage is built with whatever it does itself.
const RUNTIME: &str = "lambda";

/// What a function can call.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// Calls of ports.
    pub calls: BTreeSet<Call>,
    /// Operations of signed calls that have no port of their own.
    pub operations: BTreeSet<String>,
}

impl Reached {
    fn extend(&mut self, other: Self) {
        self.calls.extend(other.calls);
        self.operations.extend(other.operations);
    }

    /// The IAM actions that all of it needs.
    #[must_use]
    pub fn actions(&self) -> BTreeSet<String> {
        let of_calls = self.calls.iter().flat_map(|call| call.actions);
        of_calls
            .map(|action| (*action).to_owned())
            .chain(self.operations.iter().cloned())
            .collect()
    }
}

/// The sources, taken apart.
pub struct Sources {
    /// `module::fn` of the shared crates to its text.
    shared: BTreeMap<(String, String), String>,
    /// What the methods of a type of a shared crate are, wherever they stand.
    types: BTreeMap<String, BTreeSet<(String, String)>>,
    /// The modules of a shared crate by its name in paths: a crate shows functions of its modules as its own.
    modules: BTreeMap<String, BTreeSet<String>>,
    call: Regex,
    /// A call on what another one answered: `store.table().get(`.
    chained: Regex,
    path: Regex,
    bare: Regex,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("shared", &self.shared.len())
            .finish_non_exhaustive()
    }
}

/// A file's code: without comments and without its tests.
fn code(path: &Path) -> String {
    let source = fs::read_to_string(path).unwrap();
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The functions of a file with their texts: from one `fn` to the next of the same depth.
fn functions_in(code: &str) -> Vec<(String, String)> {
    let starts: Vec<(usize, String)> = FUNCTION
        .captures_iter(code)
        .map(|found| (found.get(0).unwrap().start(), found[1].to_owned()))
        .collect();
    starts
        .iter()
        .enumerate()
        .map(|(at, (from, name))| {
            let to = starts.get(at + 1).map_or(code.len(), |(next, _)| *next);
            (name.clone(), code[*from..to].to_owned())
        })
        .collect()
}

/// The methods of a file's `impl`s with their types.
fn methods_in(code: &str) -> Vec<(String, String)> {
    let starts: Vec<(usize, String)> = HEADER
        .captures_iter(code)
        .map(|found| (found.get(0).unwrap().start(), found[1].to_owned()))
        .collect();
    let mut methods = Vec::new();
    for (from, of) in starts {
        let body = code[from..].split("\n}\n").next().unwrap();
        let own = functions_in(body)
            .into_iter()
            .map(|(name, _)| (name, of.clone()));
        methods.extend(own);
    }
    methods
}

impl Sources {
    /// Reads the checkout.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn read() -> Self {
        let mut shared = BTreeMap::new();
        let mut types: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
        let mut modules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for krate in SHARED {
            let named = format!("gennaker_{}", krate.replace('-', "_"));
            for path in rust_files(&workspace().join("shared").join(krate).join("src")) {
                let module = path.file_stem().unwrap().to_string_lossy().into_owned();
                let code = code(&path);
                modules
                    .entry(named.clone())
                    .or_default()
                    .insert(module.clone());
                for (name, of) in methods_in(&code) {
                    types.entry(of).or_default().insert((module.clone(), name));
                }
                for (name, text) in functions_in(&code) {
                    // Methods of the same name in one file: all of them.
                    let all: &mut String = shared.entry((module.clone(), name)).or_default();
                    all.push_str(&text);
                }
            }
        }
        Self {
            shared,
            types,
            modules,
            call: Regex::new(r"\b(\w+)\s*\.\s*(\w+)\s*\(").unwrap(),
            chained: Regex::new(r"\b(\w+)\(\)\s*\.\s*(\w+)\s*\(").unwrap(),
            path: Regex::new(r"\b(\w+)::(\w+)").unwrap(),
            bare: Regex::new(r"(?:^|[^\w:.])(\w+)\s*\(").unwrap(),
        }
    }

    /// On what a text calls which method.
    fn method_calls<'t>(&self, text: &'t str) -> impl Iterator<Item = regex::Captures<'t>> {
        let direct = self.call.captures_iter(text);
        direct.chain(self.chained.captures_iter(text))
    }

    /// The calls of ports in a text, and its signed calls.
    fn calls(&self, text: &str) -> Reached {
        let mut found = Reached::default();
        for call in self.method_calls(text).chain(self.path.captures_iter(text)) {
            let calls = PORTS.iter().filter(|(name, _)| *name == &call[1]);
            let named = calls.flat_map(|(_, calls)| calls.iter());
            found
                .calls
                .extend(named.filter(|known| known.method == &call[2]).copied());
        }
        if text.contains("SignedCall") || text.contains("signed(") {
            let named = OPERATION.captures_iter(text);
            let operations = named.map(|name| name[1].to_owned());
            // An adapter makes the calls of its port, which count where the port is called.
            found
                .operations
                .extend(operations.filter(|name| !is_of_port(name)));
        }
        found
    }

    /// The functions of shared crates that a text names; `module` is where it stands, if in one of them.
    fn named(&self, text: &str, module: Option<&str>) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for path in self.path.captures_iter(text) {
            found.extend(self.at_path(&path[1], &path[2]));
        }
        for call in self.method_calls(text) {
            let value = VALUES.iter().find(|(name, _)| *name == &call[1]);
            let of = |name: &str| self.method(name, &call[2]);
            found.extend(value.into_iter().flat_map(|(_, name)| of(name)));
            if let Some(module) = module.filter(|_| &call[1] == "self") {
                found.extend(self.own_methods(module, &call[2]));
            }
        }
        for bare in self.bare.captures_iter(text) {
            let own = module.map(|module| (module.to_owned(), bare[1].to_owned()));
            if let Some(own) = own.filter(|own| self.shared.contains_key(own)) {
                found.insert(own);
            }
        }
        found
    }

    /// What `of::name` can be: a function of a module, one that a crate shows as its own, or of a type.
    fn at_path(&self, of: &str, name: &str) -> BTreeSet<(String, String)> {
        let within = |module: &String| (module.clone(), name.to_owned());
        let modules = self.modules.get(of).into_iter().flatten().map(within);
        let mut found: BTreeSet<(String, String)> = modules.collect();
        found.insert((of.to_owned(), name.to_owned()));
        found.retain(|key| self.shared.contains_key(key));
        if is_value(of) || self.takes_store(of, name) {
            found.extend(self.method(of, name));
        } else {
            // A type that is made is a type whose methods are called, by whomever.
            found.extend(self.types.get(of).into_iter().flatten().cloned());
        }
        found
    }

    fn method(&self, of: &str, name: &str) -> BTreeSet<(String, String)> {
        let methods = self.types.get(of).into_iter().flatten();
        methods
            .filter(|(_, known)| known == name)
            .cloned()
            .collect()
    }

    /// The methods of this name that `self` can have in a module: a type's methods stand in several.
    fn own_methods(&self, module: &str, name: &str) -> BTreeSet<(String, String)> {
        let here =
            |methods: &&BTreeSet<(String, String)>| methods.iter().any(|(at, _)| at == module);
        let types = self.types.values().filter(here).flatten();
        types.filter(|(_, known)| known == name).cloned().collect()
    }

    /// Whether a function of a type reads a record with a store: nothing is made of which more is called.
    fn takes_store(&self, of: &str, name: &str) -> bool {
        self.method(of, name).iter().any(|key| {
            self.shared
                .get(key)
                .is_some_and(|text| text.contains("store: &Store"))
        })
    }

    /// What a text can reach; `module` is where it stands, if in a shared crate.
    fn reached(&self, text: &str, module: Option<&str>) -> Reached {
        let mut reached = self.calls(text);
        let mut seen = BTreeSet::new();
        let mut left: Vec<(String, String)> = self.named(text, module).into_iter().collect();
        while let Some(key) = left.pop() {
            let Some(text) = self.shared.get(&key) else {
                continue;
            };
            if !seen.insert(key.clone()) {
                continue;
            }
            reached.extend(self.calls(text));
            left.extend(self.named(text, Some(&key.0)));
        }
        reached
    }

    /// What a file of a function can reach.
    fn of_file(&self, path: &Path) -> Reached {
        let text = code(path);
        let mut reached = self.reached(&text, None);
        // A function that is taken from its crate by name is called by that name alone.
        for import in IMPORT.captures_iter(&text) {
            let of = import[1].rsplit("::").next().unwrap_or_default().to_owned();
            let names = import.get(2).or(import.get(3)).unwrap().as_str();
            for name in names.split(',').map(str::trim) {
                let is_function = name.starts_with(|c: char| c.is_ascii_lowercase());
                if is_function && !names.contains("::") {
                    reached.extend(self.reached(&format!("{of}::{name}("), None));
                }
            }
        }
        reached
    }

    /// What the runtime of a stage can reach, whatever the stage does.
    ///
    /// # Panics
    /// If its crate cannot be read.
    #[must_use]
    pub fn of_runtime(&self) -> Reached {
        let mut reached = Reached::default();
        for path in rust_files(&workspace().join("shared").join(RUNTIME).join("src")) {
            let module = path.file_stem().unwrap().to_string_lossy().into_owned();
            reached.extend(self.reached(&code(&path), Some(&module)));
        }
        reached
    }

    /// What a function can reach, with the functions in its own process.
    ///
    /// # Panics
    /// If its crate cannot be read.
    #[must_use]
    pub fn of_function(&self, function: &str) -> Reached {
        let directory = workspace().join("functions").join(function);
        let mut reached = Reached::default();
        for path in rust_files(&directory.join("src")) {
            // What the process is built with besides is the runtime: see `of_runtime`.
            if !path.ends_with("main.rs") {
                reached.extend(self.of_file(&path));
            }
        }
        let guarded = code(&directory.join("src/main.rs")).contains("Guarded::");
        if guarded {
            reached.extend(self.reached("Guarded::connect(", None));
        }
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        let own = manifest.split("[dev-dependencies]").next().unwrap();
        for line in own.lines() {
            if let Some((_, path)) = line.split_once("{ path = \"../") {
                reached.extend(self.of_function(path.trim_end_matches("\" }")));
            }
        }
        reached
    }
}
