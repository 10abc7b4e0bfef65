//! Replays the corpus of the fuzz targets: what was once interesting must neither panic nor decode differently again.

use std::path::{Path, PathBuf};

use keylane_protocol::fuzzing::TARGETS;

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = folder.read_dir().expect("every target has a corpus");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn every_input_of_the_corpus_is_survived() {
    for target in TARGETS {
        let files = corpus(target.name);
        assert!(!files.is_empty(), "{} has no inputs", target.name);
        for file in files {
            let input = std::fs::read(&file).expect("an input can be read");
            println!("{}", file.display());
            (target.run)(&input);
        }
    }
}

#[test]
fn every_target_is_built_by_the_fuzz_crate() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("the fuzz crate");
    for target in TARGETS {
        let name = target.name;
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not built"
        );
        assert!(
            folder.join(format!("fuzz_targets/{name}.rs")).exists(),
            "{name} has no file"
        );
    }
}
