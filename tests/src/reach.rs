//! Which calls of the ports a function can reach, read from the sources: a function's crate with the functions whose
//! crates it is built with, and what these call in the crates that they share.
//!
//! In a shared crate each `fn` counts for itself, so that a function which only pins a group is not one that can
//! terminate instances.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gennaker_cloud::iam::Call;
use gennaker_cloud::{
    alarms, auto_scaling, code_build, ec2, functions, instance_refresh, load_balancing, metrics,
    notification, registry, scheduler, step_functions,
};
use regex::Regex;

use crate::workspace;

/// What a port is called where it is used, and its calls.
const PORTS: [(&str, &[Call]); 12] = [
    ("alarms", alarms::calls::ALL),
    ("auto_scaling", auto_scaling::calls::ALL),
    ("builds", code_build::calls::ALL),
    ("cloudwatch", metrics::calls::ALL),
    ("ec2", ec2::calls::ALL),
    ("functions", functions::calls::ALL),
    ("instance_refreshes", instance_refresh::calls::ALL),
    ("load_balancing", load_balancing::calls::ALL),
    ("notifications", notification::calls::ALL),
    ("registry", registry::calls::ALL),
    ("scheduler", scheduler::calls::ALL),
    ("step_functions", step_functions::calls::ALL),
];

/// Where a function of a file, or a method of a type, begins.
static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^(?:    )?(?:pub(?:\([a-z]+\))? )?(?:const )?(?:async )?fn (\w+)").unwrap()
});
/// Where the methods of a type begin.
static HEADER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^impl(?:<[^{]*?>)? (?:[\w:<>]+ for )?(\w+)").unwrap());

/// Crates that functions share and that call ports.
const SHARED: [&str; 2] = ["server-groups", "cloud"];

/// The sources, taken apart.
pub struct Sources {
    /// `module::fn` of the shared crates to its text.
    shared: BTreeMap<(String, String), String>,
    /// What the methods of a type of a shared crate are, wherever they stand.
    types: BTreeMap<String, BTreeSet<(String, String)>>,
    call: Regex,
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
        for krate in SHARED {
            for path in rust_files(&workspace().join("shared").join(krate).join("src")) {
                let module = path.file_stem().unwrap().to_string_lossy().into_owned();
                let code = code(&path);
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
            call: Regex::new(r"\b(\w+)\s*\.\s*(\w+)\s*\(").unwrap(),
            path: Regex::new(r"\b(\w+)::(\w+)").unwrap(),
            bare: Regex::new(r"(?:^|[^\w:.])(\w+)\s*\(").unwrap(),
        }
    }

    /// The calls of ports in a text.
    fn calls(&self, text: &str) -> BTreeSet<Call> {
        let mut found = BTreeSet::new();
        for call in self.call.captures_iter(text) {
            let calls = PORTS.iter().filter(|(name, _)| *name == &call[1]);
            let named = calls.flat_map(|(_, calls)| calls.iter());
            found.extend(named.filter(|known| known.method == &call[2]).copied());
        }
        found
    }

    /// The functions of shared crates that a text names; `module` is where it stands, if in one of them.
    fn named(&self, text: &str, module: Option<&str>) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for path in self.path.captures_iter(text) {
            let key = (path[1].to_owned(), path[2].to_owned());
            if self.shared.contains_key(&key) {
                found.insert(key);
            }
            // A type that is made is a type whose methods are called, by whomever.
            found.extend(self.types.get(&path[1]).into_iter().flatten().cloned());
        }
        for bare in self.bare.captures_iter(text) {
            let own = module.map(|module| (module.to_owned(), bare[1].to_owned()));
            if let Some(own) = own.filter(|own| self.shared.contains_key(own)) {
                found.insert(own);
            }
        }
        found
    }

    /// The calls that a text can reach.
    fn reached(&self, text: &str) -> BTreeSet<Call> {
        let mut calls = self.calls(text);
        let mut seen = BTreeSet::new();
        let mut left: Vec<(String, String)> = self.named(text, None).into_iter().collect();
        while let Some(key) = left.pop() {
            let Some(text) = self.shared.get(&key) else {
                continue;
            };
            if !seen.insert(key.clone()) {
                continue;
            }
            calls.extend(self.calls(text));
            left.extend(self.named(text, Some(&key.0)));
        }
        calls
    }

    /// The calls that a function can reach, those of the functions in its own process included.
    ///
    /// # Panics
    /// If its crate cannot be read.
    #[must_use]
    pub fn of_function(&self, function: &str) -> BTreeSet<Call> {
        let directory = workspace().join("functions").join(function);
        let mut calls: BTreeSet<Call> = rust_files(&directory.join("src"))
            .iter()
            .flat_map(|path| self.reached(&code(path)))
            .collect();
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        let own = manifest.split("[dev-dependencies]").next().unwrap();
        for line in own.lines() {
            if let Some((_, path)) = line.split_once("{ path = \"../") {
                calls.extend(self.of_function(path.trim_end_matches("\" }")));
            }
        }
        calls
    }
}
