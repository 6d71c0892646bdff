//! What all files hold together, and what was told of it. Pure: file contents in, events out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::document::Content;
use crate::model::{Event, Kind, ObjectRef};
use crate::watch::Reading;

/// The files' contents in compact form. Where several files hold the same object, the first one by name counts.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    files: BTreeMap<Arc<Path>, File>,
    /// The files that hold an object, in order. Never empty.
    owners: BTreeMap<ObjectRef, Vec<Arc<Path>>>,
    /// What is wrong with files and folders, as it was told.
    troubles: BTreeMap<Arc<Path>, String>,
}

#[derive(Debug, Default)]
struct File {
    objects: BTreeMap<ObjectRef, Arc<Reading>>,
    problem: Option<String>,
    readable: bool,
    /// Its objects that an earlier file holds too.
    shadowed: BTreeSet<ObjectRef>,
}

/// The files to change: what each holds now, `None` where it is gone.
pub(super) type Changes = BTreeMap<Arc<Path>, Option<Content>>;

impl Ledger {
    /// Takes in new contents and answers what there is to tell: first what is there, then what is gone, so that
    /// whatever passes from one object to another is never without both; then what is wrong.
    ///
    /// An object that moves between files of one update is not gone. A file that has a problem keeps whatever it held
    /// and does not tell of now: the problem may hide it.
    pub(super) fn update(&mut self, changes: Changes) -> Vec<Event> {
        let mut before: BTreeMap<ObjectRef, Option<Arc<Reading>>> = BTreeMap::new();
        let mut concerned: BTreeSet<Arc<Path>> = BTreeSet::new();
        for (path, content) in changes {
            let nothing = File::default();
            let old = self.files.get(&path).unwrap_or(&nothing);
            let new = content.map(|content| File::merge(content, old));
            let objects = new.as_ref().map(|file| &file.objects);
            let changed: Vec<ObjectRef> = old
                .objects
                .iter()
                .filter(|(object, reading)| objects.and_then(|objects| objects.get(*object)) != Some(*reading))
                .chain(objects.into_iter().flatten().filter(|(object, _)| !old.objects.contains_key(*object)))
                .map(|(object, _)| object.clone())
                .collect();
            for object in &changed {
                if !before.contains_key(object) {
                    before.insert(object.clone(), self.winner(object).cloned());
                }
            }
            self.replace(&path, new, &changed);
            concerned.insert(path);
        }
        let mut events = Vec::new();
        let mut gone = Vec::new();
        for (object, before) in before {
            concerned.extend(self.shadow(&object));
            let after = self.winner(&object);
            if after == before.as_ref() {
                continue;
            }
            match after.filter(|reading| reading.is_present()) {
                Some(reading) => events.extend(reading.events(&object)),
                None if before.is_some_and(|reading| reading.is_present()) => gone.push(Event::Gone(object)),
                None => {}
            }
        }
        events.append(&mut gone);
        for path in concerned {
            let problem = self.problem(&path);
            events.extend(self.note(&path, problem));
        }
        events
    }

    /// A list of all objects of all kinds.
    pub(super) fn list(&self) -> Vec<Event> {
        let present = self.owners.keys().filter_map(|object| Some((object, self.winner(object)?)));
        let present = present.filter(|(_, reading)| reading.is_present());
        let mut events: Vec<Event> = Kind::ALL.into_iter().map(Event::Listing).collect();
        events.extend(present.flat_map(|(object, reading)| reading.events(object)));
        events.extend(Kind::ALL.into_iter().map(Event::Listed));
        events
    }

    /// Notes what is wrong with a file or folder, and answers what there is to tell of that.
    pub(super) fn note(&mut self, path: &Arc<Path>, problem: Option<String>) -> Option<Event> {
        let changed = match (self.troubles.entry(path.clone()), &problem) {
            (Entry::Vacant(_), None) => false,
            (Entry::Vacant(entry), Some(problem)) => {
                entry.insert(problem.clone());
                true
            }
            (Entry::Occupied(entry), None) => {
                entry.remove();
                true
            }
            (Entry::Occupied(mut entry), Some(problem)) => entry.insert(problem.clone()) != *problem,
        };
        changed.then(|| Event::Trouble { origin: origin(path), problem })
    }

    /// The files that are known.
    pub(super) fn files(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.files.keys()
    }

    /// Could the file be read to its end when it was last read?
    pub(super) fn is_readable(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(|file| file.readable)
    }

    /// How many objects there are, those that are not for us included.
    pub(super) fn object_count(&self) -> usize {
        self.owners.len()
    }

    fn winner(&self, object: &ObjectRef) -> Option<&Arc<Reading>> {
        let path = self.owners.get(object)?.first()?;
        self.files.get(path)?.objects.get(object)
    }

    /// Puts `new` in the place of what the file held; the two differ in the objects `changed`.
    fn replace(&mut self, path: &Arc<Path>, new: Option<File>, changed: &[ObjectRef]) {
        for object in changed {
            let holds = new.as_ref().is_some_and(|file| file.objects.contains_key(object));
            let owners = self.owners.entry(object.clone()).or_default();
            match (owners.binary_search(path), holds) {
                (Err(at), true) => owners.insert(at, path.clone()),
                (Ok(at), false) => {
                    owners.remove(at);
                }
                (Ok(_), true) | (Err(_), false) => {}
            }
            if owners.is_empty() {
                self.owners.remove(object);
            }
        }
        match new {
            Some(file) => self.files.insert(path.clone(), file),
            None => self.files.remove(path),
        };
    }

    /// Marks the object as shadowed in all files that hold it but the first, and answers which files those are.
    fn shadow(&mut self, object: &ObjectRef) -> Vec<Arc<Path>> {
        let owners = self.owners.get(object).cloned().unwrap_or_default();
        for (i, path) in owners.iter().enumerate() {
            if let Some(file) = self.files.get_mut(path) {
                if i == 0 {
                    file.shadowed.remove(object);
                } else {
                    file.shadowed.insert(object.clone());
                }
            }
        }
        owners
    }

    /// What is wrong with a file, in words.
    fn problem(&self, path: &Path) -> Option<String> {
        let file = self.files.get(path)?;
        let Some(object) = file.shadowed.first() else { return file.problem.clone() };
        let first = self.owners.get(object)?.first()?;
        let mut text = format!("{object} is also in {}, which counts", first.display());
        if file.shadowed.len() > 1 {
            text.push_str(&format!(" (and {} more)", file.shadowed.len() - 1));
        }
        Some(file.problem.iter().cloned().chain([text]).collect::<Vec<_>>().join("; "))
    }
}

impl File {
    /// What a file that held `old` holds now.
    fn merge(content: Content, old: &File) -> File {
        let mut objects = content.objects;
        if content.problem.is_some() {
            for (object, reading) in &old.objects {
                objects.entry(object.clone()).or_insert_with(|| reading.clone());
            }
        }
        let shadowed = old.shadowed.iter().filter(|object| objects.contains_key(*object)).cloned().collect();
        File { objects, problem: content.problem, readable: content.readable, shadowed }
    }
}

/// What a file or folder is called in events.
fn origin(path: &Path) -> Arc<str> {
    Arc::from(path.to_string_lossy())
}

#[cfg(test)]
mod tests;
