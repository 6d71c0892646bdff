use super::*;

fn path(text: &str) -> Arc<Path> {
    Arc::from(Path::new(text))
}

/// What an event in a directory means: the folder is `cluster`, this is its subfolder `sub`, where the link `a.yaml`
/// of the folder leads to `real`.
fn note(name: Option<&str>, mask: EventMask) -> Dirt {
    let targets = [("real".into(), [path("cluster/a.yaml")].into())].into();
    let dir = Dir { trees: [PathBuf::from("cluster/sub")].into(), targets };
    let mut dirt = Dirt::default();
    dirt.note(Path::new("cluster"), &dir, name.map(OsStr::new), mask, Instant::now());
    dirt
}

#[test]
fn what_notifications_mean() {
    let entry = [EventMask::CREATE, EventMask::DELETE, EventMask::MOVED_FROM, EventMask::MOVED_TO];
    let content = [EventMask::MODIFY, EventMask::CLOSE_WRITE, EventMask::ATTRIB];
    let file = |name: &str, masks: &[EventMask], expected: &str| {
        for mask in masks {
            let dirt = note(Some(name), *mask);
            assert_eq!(dirt.files, [path(expected)].into(), "{name} {mask:?}");
            assert_eq!(dirt.is_due(), !mask.contains(EventMask::MODIFY), "{name} {mask:?}");
        }
    };
    let rescan = |name: Option<&str>, masks: &[EventMask], expected: bool| {
        for mask in masks {
            let dirt = note(name, *mask);
            assert_eq!((dirt.rescan, dirt.files.len()), (expected, 0), "{name:?} {mask:?}");
            assert!(!dirt.folder_lost, "{name:?} {mask:?}");
        }
    };
    for masks in [&entry[..], &content[..]] {
        file("b.yaml", masks, "cluster/sub/b.yaml");
        file("real", masks, "cluster/a.yaml");
        rescan(Some(".b.yaml.swp"), masks, false);
    }
    rescan(Some("4913"), &entry, true);
    rescan(Some("b.yaml~"), &content, false);
    rescan(Some("..data"), &entry, true);
    rescan(Some("sub"), &[EventMask::CREATE | EventMask::ISDIR, EventMask::ATTRIB | EventMask::ISDIR], true);
    rescan(Some("folder.yaml"), &[EventMask::CREATE | EventMask::ISDIR, EventMask::DELETE | EventMask::ISDIR], true);
    rescan(None, &[EventMask::ATTRIB | EventMask::ISDIR], true);
    rescan(None, &[EventMask::DELETE_SELF, EventMask::MOVE_SELF, EventMask::UNMOUNT, EventMask::IGNORED], true);
}

#[test]
fn the_folder_itself_can_be_lost() {
    let dir = Dir { trees: [PathBuf::from("cluster")].into(), ..Dir::default() };
    for mask in [EventMask::DELETE_SELF, EventMask::MOVE_SELF, EventMask::UNMOUNT, EventMask::IGNORED] {
        let mut dirt = Dirt::default();
        dirt.note(Path::new("cluster"), &dir, None, mask, Instant::now());
        assert!(dirt.folder_lost && dirt.rescan, "{mask:?}");
    }
}

#[test]
fn where_only_a_target_is_watched_nothing_else_matters() {
    let link = [("link".into(), BTreeSet::new())].into();
    let dir = Dir { trees: BTreeSet::new(), targets: link };
    for (name, rescan) in [("link", true), ("other", false), ("other.yaml", false)] {
        let mut dirt = Dirt::default();
        dirt.note(Path::new("cluster"), &dir, Some(OsStr::new(name)), EventMask::CREATE, Instant::now());
        assert_eq!((dirt.rescan, dirt.files.len()), (rescan, 0), "{name}");
    }
}

#[test]
fn a_file_is_left_alone_while_it_is_written() {
    let dir = Dir { trees: [PathBuf::from("cluster")].into(), ..Dir::default() };
    let now = Instant::now();
    let mut dirt = Dirt::default();
    let note = |dirt: &mut Dirt, name: &str, mask| {
        dirt.note(Path::new("cluster"), &dir, Some(OsStr::new(name)), mask, now);
    };
    note(&mut dirt, "a.yaml", EventMask::MODIFY);
    note(&mut dirt, "a.yaml", EventMask::ATTRIB);
    note(&mut dirt, "b.yaml", EventMask::CREATE);
    assert!(dirt.is_due());
    assert_eq!(dirt.take_files(), [path("cluster/b.yaml")].into());
    assert!(!dirt.is_due());
    note(&mut dirt, "a.yaml", EventMask::CLOSE_WRITE);
    assert_eq!(dirt.take_files(), [path("cluster/a.yaml")].into());
    assert_eq!(dirt.take_files(), BTreeSet::new());
    // A writer that never closes is not waited for without end.
    note(&mut dirt, "a.yaml", EventMask::MODIFY);
    dirt.give_up(now);
    assert!(!dirt.is_due());
    dirt.give_up(now + WRITER_PATIENCE);
    assert!(dirt.is_due());
}
