//! The names on a simulated disk, as a process sees them and as the disk is sure to keep them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::SmallRng;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Folder,
    File(u64),
}

/// All names of the disk, by their whole paths.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    /// What a process sees.
    volatile: BTreeMap<PathBuf, Entry>,
    /// What is there after a power cut that loses every unsynced change.
    durable: BTreeMap<PathBuf, Entry>,
    /// What each name stood for since its folder was last synced, in order; `None` while there was no such name.
    changes: BTreeMap<PathBuf, Vec<Option<Entry>>>,
}

/// One durable folder, `/`.
impl Default for Entries {
    fn default() -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), Entry::Folder)]);
        Self {
            volatile: root.clone(),
            durable: root,
            changes: BTreeMap::new(),
        }
    }
}

fn put(entries: &mut BTreeMap<PathBuf, Entry>, path: PathBuf, entry: Option<Entry>) {
    match entry {
        Some(entry) => entries.insert(path, entry),
        None => entries.remove(&path),
    };
}

impl Entries {
    pub(super) fn get(&self, path: &Path) -> Option<Entry> {
        self.volatile.get(path).copied()
    }

    pub(super) fn set(&mut self, path: &Path, entry: Option<Entry>) {
        put(&mut self.volatile, path.to_owned(), entry);
        self.changes.entry(path.to_owned()).or_default().push(entry);
    }

    /// Returns paths and numbers of all files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.volatile
            .iter()
            .filter_map(|(path, entry)| match *entry {
                Entry::File(inode) => Some((path.as_path(), inode)),
                Entry::Folder => None,
            })
    }

    /// Returns the names in a folder, in order.
    pub(super) fn inside(&self, folder: &Path) -> impl Iterator<Item = (String, Entry)> {
        let inside = self
            .volatile
            .iter()
            .filter(move |(path, _)| path.parent() == Some(folder));
        inside.filter_map(|(path, entry)| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some((name, *entry))
        })
    }

    pub(super) fn sync(&mut self, folder: &Path) {
        let durable = &mut self.durable;
        self.changes.retain(|path, changes| {
            let is_inside = path.parent() == Some(folder);
            if let Some(last) = changes.last().filter(|_| is_inside) {
                put(durable, path.clone(), *last);
            }
            !is_inside
        });
    }

    /// The power goes: each name keeps what it stood for at the last sync, or at any change since.
    pub(super) fn tear(&mut self, random: &mut SmallRng) {
        for (path, changes) in std::mem::take(&mut self.changes) {
            let kept = random.random_range(0..=changes.len());
            if let Some(change) = kept.checked_sub(1) {
                put(&mut self.durable, path, changes[change]);
            }
        }
        // An entry without its folder cannot be reached.
        let folders = self.durable.clone();
        self.durable.retain(|path, _| {
            path.ancestors()
                .skip(1)
                .all(|parent| folders.get(parent) == Some(&Entry::Folder))
        });
        self.volatile.clone_from(&self.durable);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn each_unsynced_name_is_kept_or_lost_by_itself() {
        let (old, new) = (Path::new("/old"), Path::new("/new"));
        let mut outcomes = Vec::new();
        for seed in 0..100 {
            let mut entries = Entries::default();
            entries.set(old, Some(Entry::File(1)));
            entries.sync(Path::new("/"));
            entries.set(old, None);
            entries.set(new, Some(Entry::File(1)));
            entries.tear(&mut SmallRng::seed_from_u64(seed));
            outcomes.push((entries.get(old).is_some(), entries.get(new).is_some()));
        }
        for outcome in [(true, false), (false, true), (true, true), (false, false)] {
            assert!(outcomes.contains(&outcome), "{outcome:?} never happened");
        }
    }

    #[test]
    fn an_earlier_renaming_can_survive_without_the_later() {
        let path = Path::new("/name");
        let mut survivors = Vec::new();
        for seed in 0..100 {
            let mut entries = Entries::default();
            for inode in 1..=3 {
                entries.set(path, Some(Entry::File(inode)));
            }
            entries.tear(&mut SmallRng::seed_from_u64(seed));
            survivors.push(entries.get(path));
        }
        for inode in 1..=3 {
            assert!(survivors.contains(&Some(Entry::File(inode))));
        }
    }
}
