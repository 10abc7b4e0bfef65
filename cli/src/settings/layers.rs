//! Which text each setting has, and from where: a flag, the environment, or the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Given, variable};
use crate::nearest::nearest;

/// The text of a setting, as it was given.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) text: String,
    origin: Origin,
    name: &'static str,
}

#[derive(Debug)]
enum Origin {
    Flag,
    Environment,
    File(PathBuf),
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, origin, name } = self;
        match origin {
            Origin::Flag => write!(out, "--{name} {text}"),
            Origin::Environment => write!(out, "{}={text}", variable(name)),
            Origin::File(path) => write!(out, "{}: {name} = {text}", path.display()),
        }
    }
}

/// The settings that were given anywhere, and what of that is no setting.
pub(super) struct Layers {
    pub(super) values: BTreeMap<&'static str, Value>,
    pub(super) faults: Vec<String>,
}

impl Layers {
    /// Looks at every layer; the first that has a setting wins, but faults of all layers are kept.
    pub(super) fn gather<R>(names: &[&'static str], given: &Given<'_, R>) -> Self {
        let mut layers = Self {
            values: BTreeMap::new(),
            faults: Vec::new(),
        };
        for &name in names {
            if let Some(text) = given.flags.texts.get(name) {
                layers.add(name, text.clone(), Origin::Flag);
            }
            let variable = variable(name);
            match (given.environment)(&variable).map(std::ffi::OsString::into_string) {
                None => {}
                Some(Ok(text)) => layers.add(name, text, Origin::Environment),
                Some(Err(_)) => {
                    layers.faults.push(format!("{variable}: is not UTF-8 text"));
                }
            }
        }
        if let Some((path, text)) = &given.file {
            layers.add_file(names, path, text);
        }
        layers
    }

    fn add(&mut self, name: &'static str, text: String, origin: Origin) {
        let value = Value { text, origin, name };
        self.values.entry(name).or_insert(value);
    }

    fn add_file(&mut self, names: &[&'static str], path: &Path, text: &str) {
        let file = path.display();
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                let before = error.span().map_or("", |span| &text[..span.start]);
                let line = before.matches('\n').count() + 1;
                self.faults
                    .push(format!("{file}: line {line}: {}", error.message()));
                return;
            }
        };
        for (key, value) in table {
            let Some(name) = names.iter().find(|name| **name == key) else {
                let near = nearest(&key.replace('_', "-"), names.iter().copied());
                let near = near.map_or("see --help for the names".to_owned(), |near| {
                    format!("did you mean {near}?")
                });
                self.faults
                    .push(format!("{file}: {key}: no such setting; {near}"));
                continue;
            };
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(is) => is.to_string(),
                other => {
                    self.faults.push(format!(
                        "{file}: {key}: must be a text, a whole number, or true or false, not {}",
                        article(other.type_str())
                    ));
                    continue;
                }
            };
            self.add(name, text, Origin::File(path.to_owned()));
        }
    }
}

fn article(name: &str) -> String {
    let vowel = name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {name}", if vowel { "an" } else { "a" })
}
