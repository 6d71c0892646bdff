use std::fs::{Permissions, create_dir, create_dir_all, rename, set_permissions, write};
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

fn folder() -> (TempDir, PathBuf) {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().canonicalize().unwrap().join("cluster");
    create_dir(&folder).unwrap();
    (above, folder)
}

/// The folder's manifest files relative to it, those that cannot be read with a question mark; and the directories that
/// were watched, as often as they were.
fn look(folder: &Path) -> (Vec<String>, Vec<PathBuf>) {
    let mut watched = Vec::new();
    let scan = scan(folder, |dir| {
        watched.push(dir.to_owned());
        Ok(())
    })
    .unwrap();
    assert_eq!(scan.unread, BTreeMap::new());
    let files = scan.files.iter().map(|(path, stamp)| {
        let mark = if stamp.is_ok() { "" } else { "?" };
        format!("{}{mark}", path.strip_prefix(folder).unwrap().display())
    });
    (files.collect(), watched)
}

#[test]
fn names_of_manifests() {
    for name in ["a.yaml", "a.yml", "a.json", "a b.c.yaml"] {
        assert!(is_manifest(OsStr::new(name)), "{name}");
    }
    for name in
        ["a", "yaml", ".yaml", ".a.yaml", "a.yaml~", "#a.yaml#", ".a.yaml.swp", "4913", "a.yaml.tmp", "a.YAML", ""]
    {
        assert!(!is_manifest(OsStr::new(name)), "{name}");
    }
}

#[test]
fn subfolders_and_links_are_followed_and_hidden_names_are_not() {
    let (above, folder) = folder();
    let elsewhere = folder.parent().unwrap().join("elsewhere");
    create_dir_all(folder.join("sub/sub")).unwrap();
    create_dir_all(folder.join(".git")).unwrap();
    create_dir_all(folder.join("folder.yaml")).unwrap();
    create_dir_all(elsewhere.join("more")).unwrap();
    for file in ["a.yaml", "sub/b.json", "sub/sub/c.yml", ".git/d.yaml", ".e.yaml", "notes.txt"] {
        write(folder.join(file), "").unwrap();
    }
    write(elsewhere.join("f.txt"), "").unwrap();
    write(elsewhere.join("more/g.yaml"), "").unwrap();
    symlink(elsewhere.join("f.txt"), folder.join("f.yaml")).unwrap();
    symlink("../elsewhere/more", folder.join("more")).unwrap();
    symlink("..", folder.join("sub/loop")).unwrap();
    symlink("nowhere", folder.join("dangling.yaml")).unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    let (files, watched) = look(&folder);
    assert_eq!(files, ["a.yaml", "dangling.yaml?", "f.yaml", "more/g.yaml", "sub/b.json", "sub/sub/c.yml"]);
    let watched: BTreeSet<&Path> =
        watched.iter().map(|dir| dir.strip_prefix(folder.parent().unwrap()).unwrap()).collect();
    let expected = ["cluster", "cluster/folder.yaml", "cluster/sub", "cluster/sub/sub", "elsewhere", "elsewhere/more"];
    assert_eq!(watched, expected.map(Path::new).into());
    drop(above);
}

#[test]
fn a_mounted_config_map_is_its_links() {
    let (_above, folder) = folder();
    create_dir(folder.join("..2026_01_01")).unwrap();
    write(folder.join("..2026_01_01/a.yaml"), "").unwrap();
    symlink("..2026_01_01", folder.join("..data")).unwrap();
    symlink("..data/a.yaml", folder.join("a.yaml")).unwrap();
    let scan = scan(&folder, |_| Ok(())).unwrap();
    let path: Arc<Path> = Arc::from(folder.join("a.yaml"));
    assert_eq!(scan.files.keys().collect::<Vec<_>>(), [&path]);
    let target = Dir { targets: [(OsString::from("a.yaml"), [path].into())].into(), ..Dir::default() };
    assert_eq!(scan.dirs.get(&folder.join("..2026_01_01")), Some(&target));
}

#[test]
fn a_stamp_tells_every_change() {
    let (_above, folder) = folder();
    let path = folder.join("a.yaml");
    let stamp = || Stamp::of(&fs::metadata(&path).unwrap());
    write(&path, "one").unwrap();
    let first = stamp();
    assert_eq!(stamp(), first);
    write(&path, "three").unwrap();
    let second = stamp();
    assert_ne!(second, first);
    write(folder.join("b.yaml"), "seven").unwrap();
    rename(folder.join("b.yaml"), &path).unwrap();
    assert_ne!(stamp(), second, "same size, another file");
}

#[test]
fn the_folder_itself() {
    let (_above, folder) = folder();
    let link = folder.with_file_name("link");
    symlink("cluster", &link).unwrap();
    let by_link = scan(&link, |_| Ok(())).unwrap();
    let direct = scan(&folder, |_| Ok(())).unwrap();
    assert_eq!(by_link.identity, direct.identity);
    let above = &by_link.dirs[folder.parent().unwrap()];
    assert_eq!(above.targets.keys().collect::<Vec<_>>(), ["link"], "the link is watched, where it is");
    let error = |path: &str| scan(&folder.with_file_name(path), |_| Ok(())).unwrap_err().kind();
    write(folder.with_file_name("file"), "").unwrap();
    assert_eq!(error("missing"), ErrorKind::NotFound);
    assert_eq!(error("file"), ErrorKind::NotADirectory);
}

#[test]
fn what_cannot_be_watched_is_told() {
    let (_above, folder) = folder();
    write(folder.join("a.yaml"), "").unwrap();
    let scan = scan(&folder, |_| Err(io::Error::from(ErrorKind::StorageFull))).unwrap();
    assert_eq!(scan.files.len(), 1);
    let problem = scan.unwatched.unwrap();
    assert!(problem.contains("cluster cannot be watched") && problem.contains("max_user_watches"), "{problem}");
}

#[test]
fn a_subfolder_that_cannot_be_read_is_told() {
    let (_above, folder) = folder();
    let sub = folder.join("sub");
    create_dir(&sub).unwrap();
    write(sub.join("a.yaml"), "").unwrap();
    set_permissions(&sub, Permissions::from_mode(0o000)).unwrap();
    // Who may read everything (root) reads it; everybody else is told.
    let may_read_all = fs::read_dir(&sub).is_ok();
    let scan = scan(&folder, |_| Ok(())).unwrap();
    set_permissions(&sub, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(scan.files.len(), usize::from(may_read_all));
    assert_eq!(scan.unread.len(), usize::from(!may_read_all));
}
