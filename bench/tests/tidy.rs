//! The house rules that a machine can check: what a file must begin with, how long files and functions may be,
//! which layer may import what, which crates may know one another, and which words no name may contain.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const HEADER_LINES_MAX: usize = 10;

/// A source file and its path below the workspace's root, with `/` as separator.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Returns the lines before the file's own unit tests.
    fn lines_without_tests(&self) -> Vec<&str> {
        self.text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"))
            .collect()
    }

    fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| matches!(part, "tests" | "tests.rs" | "examples"))
    }
}

/// Modules that decide and never act.
struct Layer {
    /// What their paths begin with.
    modules: &'static [&'static str],
    /// What they may not import besides [`INPUT_OUTPUT`].
    forbidden: &'static [&'static str],
    reason: &'static str,
}

/// What no core may import.
const INPUT_OUTPUT: &[&str] = &["tokio", "std::net", "std::fs", "std::thread", "rustix"];

const LAYERS: &[Layer] = &[
    Layer {
        modules: &["protocol/src/"],
        forbidden: &[],
        reason: "only protocol::transport does I/O",
    },
    Layer {
        modules: &[
            "broker/src/partition.rs",
            "broker/src/partition/",
            "broker/src/groups",
            "broker/src/topics",
            "broker/src/topic_settings",
        ],
        forbidden: &["rand", "crate::handler", "crate::server", "crate::shard"],
        reason: "partitions, groups and topics are decided without I/O, clock or randomness",
    },
    Layer {
        modules: &["broker/src/groups/classic"],
        forbidden: &["rand", "crate::handler", "crate::server", "crate::shard"],
        reason: "a group decides without I/O, clock or randomness",
    },
    Layer {
        modules: &["broker/src/log"],
        forbidden: &[
            "rand",
            "crate::partition",
            "crate::handler",
            "keylane_protocol::message",
        ],
        reason: "a log knows offsets and files behind the disk seam, nothing above it",
    },
    Layer {
        modules: &["broker/src/folder"],
        forbidden: &[
            "rand",
            "crate::partition",
            "crate::handler",
            "keylane_protocol::message",
        ],
        reason: "the folder's files go through the disk seam",
    },
    Layer {
        modules: &[
            "broker/src/controller/raft/codec",
            "broker/src/controller/raft/message",
            "broker/src/controller/raft/store",
        ],
        forbidden: &[
            "rand",
            "crate::partition",
            "crate::handler",
            "crate::server",
        ],
        reason: "a voter's messages and files are bytes and the disk seam, without clock or threads",
    },
    Layer {
        modules: &[
            "client/src/producer/accumulator",
            "client/src/producer/delivery",
            "client/src/producer/routed",
            "client/src/reader/positions",
            "client/src/metadata/view",
        ],
        forbidden: &["rand::rng"],
        reason: "the client decides without I/O and clock",
    },
    Layer {
        modules: &[
            "router/src/advertise",
            "router/src/asking",
            "router/src/deadline",
            "router/src/fetching",
            "router/src/holding",
            "router/src/lookups",
            "router/src/merge",
            "router/src/plan",
            "router/src/producing",
            "router/src/routing",
            "router/src/skew",
        ],
        forbidden: &["rand"],
        reason: "the router decides without I/O, clock or randomness",
    },
    Layer {
        modules: &[
            "bench/src/verify",
            "bench/src/schedule",
            "bench/src/latency",
            "cli/src/verify",
        ],
        forbidden: &[],
        reason: "what judges a run takes no part in it",
    },
];

/// Files inside a layer that are its shell.
const SHELLS: &[&str] = &[
    "protocol/src/transport",
    "protocol/src/lib.rs",
    "broker/src/log/writer/thread",
    "broker/src/controller/raft/store/thread",
    "client/src/producer/routed/side",
];

/// The workspace crates that each crate may depend on outside its tests.
const EDGES: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("broker", &["keylane-protocol"]),
    ("router", &["keylane-protocol"]),
    ("client", &["keylane-protocol"]),
    (
        "bench",
        &[
            "keylane-protocol",
            "keylane-broker",
            "keylane-router",
            "keylane-client",
        ],
    ),
    (
        "cli",
        &[
            "keylane-protocol",
            "keylane-broker",
            "keylane-router",
            "keylane-client",
            "keylane-bench",
        ],
    ),
];

/// Endings that say nothing about what a type does.
const EMPTY_WORDS: &[&str] = &[
    "Manager", "Helper", "Util", "Utils", "Impl", "Service", "Data", "Info",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("bench lies in the workspace")
        .to_owned()
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    for (folder, _) in EDGES {
        let folder = root.join(folder);
        if folder.is_dir() {
            collect(&root, &folder, &mut found);
        }
    }
    assert!(
        found.len() > 10,
        "the walk found only {} files",
        found.len()
    );
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).expect("a folder of the workspace can be read");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(root, &path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            let path = path
                .strip_prefix(root)
                .expect("below the root")
                .to_string_lossy()
                .replace('\\', "/");
            found.push(Source { path, text });
        }
    }
}

fn assert_none(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let mut faults = Vec::new();
    for source in sources() {
        let header = source
            .text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .count();
        let drawing = source
            .text
            .lines()
            .take(header)
            .any(|line| line.trim_start_matches("//!").trim().starts_with("```"));
        if header == 0 {
            faults.push(format!("{}: no `//!` header", source.path));
        } else if header > HEADER_LINES_MAX && !drawing {
            faults.push(format!("{}: header of {header} lines", source.path));
        }
    }
    assert_none(&faults);
}

#[test]
fn no_file_is_longer_than_six_hundred_lines_without_tests() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let lines = source.lines_without_tests().len();
        if lines > FILE_LINES_MAX {
            faults.push(format!(
                "{}: {lines} lines; find the second idea in it",
                source.path
            ));
        }
    }
    assert_none(&faults);
}

#[test]
fn no_function_is_longer_than_seventy_lines() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (line, name, length) in functions(&source.lines_without_tests()) {
            if length > FUNCTION_LINES_MAX {
                faults.push(format!(
                    "{}:{line}: `{name}` has {length} lines",
                    source.path
                ));
            }
        }
    }
    assert_none(&faults);
}

/// Returns (line, name, length) of each function; rustfmt closes a function at the indentation it began with.
fn functions(lines: &[&str]) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") {
            continue;
        }
        let Some(name) = function_name(trimmed) else {
            continue;
        };
        let indentation = &line[..line.len() - trimmed.len()];
        let close = format!("{indentation}}}");
        let length = lines[index..].iter().position(|line| **line == close);
        if let Some(length) = length.filter(|_| !trimmed.ends_with(';')) {
            found.push((index + 1, name.to_owned(), length + 1));
        }
    }
    found
}

fn function_name(trimmed: &str) -> Option<&str> {
    let mut words = trimmed.split_whitespace();
    loop {
        match words.next()? {
            "fn" => {
                return words
                    .next()
                    .map(|rest| rest.split(['(', '<']).next().unwrap_or(rest));
            }
            word if word.starts_with("pub")
                || matches!(word, "const" | "async" | "unsafe" | "in") => {}
            _ => return None,
        }
    }
}

#[test]
fn cores_import_no_input_or_output() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        if SHELLS.iter().any(|shell| source.path.starts_with(shell)) {
            continue;
        }
        let layers = LAYERS.iter().filter(|layer| {
            let mut modules = layer.modules.iter();
            modules.any(|module| source.path.starts_with(module))
        });
        for layer in layers {
            for (index, line) in source.lines_without_tests().iter().enumerate() {
                let code = line.split("//").next().unwrap_or("");
                let imports = INPUT_OUTPUT.iter().chain(layer.forbidden);
                for import in imports.filter(|import| names(code, import)) {
                    faults.push(format!(
                        "{}:{}: `{import}`: {}",
                        source.path,
                        index + 1,
                        layer.reason
                    ));
                }
            }
        }
    }
    assert_none(&faults);
}

/// Tells whether the code names the path as a whole word, as in `use tokio::…` or `tokio::time`.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + path.len()..].chars().next();
        !before.is_some_and(|character| {
            character.is_alphanumeric() || character == '_' || character == ':'
        }) && !after.is_some_and(|character| character.is_alphanumeric() || character == '_')
            && (path.contains("::") || after == Some(':') || after == Some(';'))
    })
}

#[test]
fn crates_know_only_the_crates_below_them() {
    let mut faults = Vec::new();
    for (folder, allowed) in EDGES {
        let Ok(manifest) = fs::read_to_string(root().join(folder).join("Cargo.toml")) else {
            continue;
        };
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            } else if section == "[dependencies]" && line.starts_with("keylane") {
                let name = line.split(['.', ' ', '=']).next().unwrap_or(line);
                if !allowed.contains(name) {
                    faults.push(format!("{folder}/Cargo.toml: {name} is not below {folder}"));
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn names_say_what_a_type_does() {
    let mut faults = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| !source.path.starts_with("protocol/src/message"))
    {
        for (index, line) in source.text.lines().enumerate() {
            let Some(name) = type_name(line.trim_start()) else {
                continue;
            };
            if let Some(word) = EMPTY_WORDS.iter().find(|word| name.ends_with(**word)) {
                faults.push(format!(
                    "{}:{}: `{name}` ends in `{word}`",
                    source.path,
                    index + 1
                ));
            }
        }
    }
    assert_none(&faults);
}

fn type_name(line: &str) -> Option<&str> {
    let mut words = line
        .split_whitespace()
        .skip_while(|word| word.starts_with("pub"));
    match words.next()? {
        "struct" | "enum" | "trait" | "type" => words
            .next()
            .map(|rest| rest.split(['<', '(', '{', ';', ':']).next().unwrap_or(rest)),
        _ => None,
    }
}

#[test]
fn nothing_is_left_half_done() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
    ];
    let mut faults = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                faults.push(format!("{}:{}: {mark}", source.path, index + 1));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_length_of_a_function_is_counted() {
    let lines = [
        "impl A {",
        "    pub async fn long(",
        "        &self,",
        "    ) {",
        "    }",
        "}",
        "fn declared();",
    ];
    assert_eq!(functions(&lines), [(2, "long".to_owned(), 4)]);
}

#[test]
fn an_import_is_found_as_a_whole_word() {
    assert!(names("use tokio::time;", "tokio"));
    assert!(names("std::fs::read(path)", "std::fs"));
    assert!(!names("let tokio_like = 1;", "tokio"));
    assert!(!names("crate::log::tokio", "tokio"));
}
