use std::fs::{self, File, create_dir, create_dir_all, remove_dir_all, remove_file, rename, write};
use std::io::Write;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::model::{Cluster, Kind, ObjectRef, ServiceKey};
use crate::watch::convert;

/// A test that hears nothing for so long has failed. It is less than [`LOOK`], which finds late what was overheard.
const TOO_LONG: Duration = Duration::from_secs(20);

/// A folder of manifests, and what a listener heard of it.
struct Stage {
    above: TempDir,
    folder: PathBuf,
    heard: Vec<Event>,
    cluster: Cluster,
    listener: Receiver<Change>,
    source: Option<JoinHandle<()>>,
    sender: Sender<Change>,
    markers: usize,
}

impl Stage {
    /// A place for a folder that is not there yet, and nobody watches.
    fn empty() -> Stage {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("cluster");
        let (sender, listener) = channel(4);
        Stage {
            above,
            folder,
            heard: Vec::new(),
            cluster: Cluster::seen_from("lb1"),
            listener,
            source: None,
            sender,
            markers: 0,
        }
    }

    /// A folder with these files, and nobody watches.
    fn with(files: &[(&str, String)]) -> Stage {
        let stage = Stage::empty();
        create_dir(&stage.folder).unwrap();
        for (name, text) in files {
            stage.write(name, text);
        }
        stage
    }

    /// Begins to watch.
    fn watch(&mut self) {
        let source = watch(self.folder.clone(), "lb1".to_owned(), self.sender.clone());
        self.source = Some(tokio::spawn(source));
    }

    /// A folder with these files, which was listed.
    async fn listed(files: &[(&str, String)]) -> Stage {
        let mut stage = Stage::with(files);
        stage.watch();
        stage.until(Cluster::is_listed).await;
        stage.heard.clear();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        write(self.path(name), text).unwrap();
    }

    /// Puts a file in place as careful programs do.
    fn replace(&self, name: &str, text: &str) {
        let temporary = self.above.path().join("temporary");
        write(&temporary, text).unwrap();
        rename(temporary, self.path(name)).unwrap();
    }

    /// Listens until `condition` holds.
    async fn until(&mut self, condition: impl Fn(&Cluster) -> bool) {
        while !condition(&self.cluster) {
            let change = timeout(TOO_LONG, self.listener.recv()).await;
            let change = change.unwrap_or_else(|_| panic!("waited too long; heard {:#?}", self.heard));
            let Some(Change::Source(event)) = change else { panic!("not from a source: {change:?}") };
            self.heard.push(event.clone());
            self.cluster.apply(event);
        }
    }

    /// Listens until all that was done so far was told, and answers what that was. It writes a marker, whose coming
    /// says that the rest of its batch is on the way, and a second one, which comes after that.
    async fn quiet(&mut self) -> Vec<Event> {
        for _ in 0..2 {
            self.markers += 1;
            let marker = format!("marker-{}", self.markers);
            self.write("~marker.yaml", &service(&marker, 250));
            self.until(|cluster| cluster.service(&key(&marker)).is_some()).await;
        }
        let is_marker = |name: &str| name.starts_with("default/marker");
        let heard = mem::take(&mut self.heard);
        heard
            .into_iter()
            .filter(|event| match event {
                Event::Put(object) => !is_marker(&object.reference().name),
                Event::Gone(object) | Event::Bad(object, _) => !is_marker(&object.name),
                _ => true,
            })
            .collect()
    }

    fn services(&self) -> Vec<String> {
        self.cluster.services().map(|(key, _)| key.to_string().replace("default/", "")).collect()
    }

    /// What is wrong with the file or folder called `name`.
    fn trouble(&self, name: &str) -> Option<String> {
        let path = if name.is_empty() { self.folder.clone() } else { self.path(name) };
        let mut troubles = self.cluster.troubles();
        troubles.find(|(origin, _)| Path::new(origin) == path).map(|(_, problem)| problem.to_owned())
    }

    async fn until_trouble(&mut self, name: &str, expected: Option<&str>) {
        let path = if name.is_empty() { self.folder.clone() } else { self.path(name) };
        let expected = expected.map(str::to_owned);
        self.until(|cluster| {
            let mut troubles = cluster.troubles();
            let found = troubles.find(|(origin, _)| Path::new(origin) == path).map(|(_, problem)| problem.to_owned());
            found == expected
        })
        .await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.source.iter().for_each(JoinHandle::abort);
    }
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn reference(name: &str) -> ObjectRef {
    convert::reference(Kind::Service, None, name)
}

/// The Service `name`, of which `version` makes different ones.
fn service(name: &str, version: u8) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: 10.96.0.{version}}}\n")
}

fn services(names: &[&str]) -> String {
    names.iter().map(|name| service(name, 1)).collect::<Vec<_>>().join("---\n")
}

fn is_gone(event: &Event) -> bool {
    matches!(event, Event::Gone(_))
}

const BROKEN: &str = "apiVersion: v1\nkind: {\n";
const BROKEN_PROBLEM: &str = "unclosed bracket '{' at line 2, column 7";

#[tokio::test]
async fn the_first_list_holds_all_kinds_and_only_our_node_whole() {
    let text = services(&["web"])
        + "---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: web-1, \
           labels: {kubernetes.io/service-name: web}}}\n"
        + "---\n{apiVersion: v1, kind: Node, metadata: {name: lb1}, spec: {podCIDR: 10.244.1.0/24}}\n"
        + "---\n{apiVersion: v1, kind: Node, metadata: {name: lb2}, spec: {podCIDR: 10.244.2.0/24}}\n"
        + "---\n{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: \
           [10.96.0.0/16]}}\n"
        + "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}\n";
    let mut stage = Stage::with(&[("all.yaml", text), ("broken.yaml", BROKEN.to_owned())]);
    create_dir(stage.path("sub")).unwrap();
    stage.write("sub/more.yaml", &services(&["api"]));
    stage.watch();
    stage.until(Cluster::is_listed).await;
    assert_eq!(stage.services(), ["api", "web"]);
    assert_eq!(stage.cluster.slices(&key("web")).count(), 1);
    let prefix = |text: &str| text.parse().unwrap();
    assert_eq!(stage.cluster.node().unwrap().pod_cidrs, [prefix("10.244.1.0/24")]);
    let holder = stage.cluster.pod_range_holding("10.244.2.7".parse().unwrap());
    assert_eq!(holder, Some((prefix("10.244.2.0/24"), "lb2")));
    assert_eq!(stage.cluster.service_cidrs(), [prefix("10.96.0.0/16")].into());
    assert_eq!(stage.trouble("broken.yaml").as_deref(), Some(BROKEN_PROBLEM), "told before the list was complete");
    let starts = stage.heard.iter().filter(|event| matches!(event, Event::Listing(_))).count();
    assert_eq!(starts, Kind::ALL.len());
}

#[tokio::test]
async fn changes_are_told_and_nothing_else() {
    let mut stage = Stage::listed(&[("a.yaml", services(&["a", "b"])), ("c.yaml", services(&["c"]))]).await;
    stage.write("a.yaml", &(service("a", 1) + "---\n" + &service("b", 2)));
    let events = stage.quiet().await;
    assert!(matches!(events.as_slice(), [Event::Put(object)] if object.reference() == reference("b")), "{events:?}");
    stage.write("d.yaml", &service("d", 1));
    stage.until(|cluster| cluster.service(&key("d")).is_some()).await;
    stage.heard.clear();
    remove_file(stage.path("a.yaml")).unwrap();
    assert_eq!(stage.quiet().await, [Event::Gone(reference("a")), Event::Gone(reference("b"))]);
    // Touched, rewritten, renamed, moved into a subfolder: the same objects.
    File::open(stage.path("c.yaml")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    stage.write("d.yaml", &("# The same.\n".to_owned() + &service("d", 1)));
    assert_eq!(stage.quiet().await, []);
    rename(stage.path("c.yaml"), stage.path("cc.yaml")).unwrap();
    create_dir(stage.path("sub")).unwrap();
    rename(stage.path("d.yaml"), stage.path("sub/d.yaml")).unwrap();
    assert_eq!(stage.quiet().await, []);
    stage.write("sub/d.yaml", &service("dd", 1));
    let events = stage.quiet().await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[1], Event::Gone(reference("d")));
}

#[tokio::test]
async fn subfolders_come_change_and_go() {
    let mut stage = Stage::listed(&[("a.yaml", services(&["a"]))]).await;
    let outside = stage.above.path().join("outside/deep");
    create_dir_all(&outside).unwrap();
    write(outside.join("b.yaml"), services(&["b"])).unwrap();
    rename(stage.above.path().join("outside"), stage.path("sub")).unwrap();
    stage.until(|cluster| cluster.service(&key("b")).is_some()).await;
    stage.write("sub/deep/c.yaml", &services(&["c"]));
    stage.until(|cluster| cluster.service(&key("c")).is_some()).await;
    create_dir_all(stage.path("sub/deep/deeper")).unwrap();
    stage.write("sub/deep/deeper/d.yaml", &services(&["d"]));
    stage.until(|cluster| cluster.service(&key("d")).is_some()).await;
    remove_dir_all(stage.path("sub/deep")).unwrap();
    stage.until(|cluster| cluster.service_count() == 1).await;
    assert_eq!(stage.services(), ["a"]);
}

#[tokio::test]
async fn a_broken_file_keeps_its_objects_until_it_is_well_or_gone() {
    let mut stage = Stage::listed(&[("a.yaml", services(&["a"])), ("b.yaml", services(&["b"]))]).await;
    let name: Arc<str> = stage.path("a.yaml").to_string_lossy().into();
    let trouble = |problem: Option<&str>| Event::Trouble { origin: name.clone(), problem: problem.map(str::to_owned) };
    stage.write("a.yaml", BROKEN);
    assert_eq!(stage.quiet().await, [trouble(Some(BROKEN_PROBLEM))]);
    stage.write("a.yaml", "");
    assert_eq!(stage.quiet().await, [trouble(Some("is empty"))]);
    stage.write("b.yaml", &services(&["b", "c"]));
    assert_eq!(stage.quiet().await.len(), 1, "other files go on");
    stage.write("a.yaml", &services(&["a"]));
    assert_eq!(stage.quiet().await, [trouble(None)]);
    stage.write("a.yaml", BROKEN);
    stage.quiet().await;
    remove_file(stage.path("a.yaml")).unwrap();
    assert_eq!(stage.quiet().await, [Event::Gone(reference("a")), trouble(None)]);
}

#[tokio::test]
async fn a_bad_object_keeps_its_last_good_form() {
    let mut stage = Stage::listed(&[("a.yaml", services(&["a", "b"]))]).await;
    stage.write("a.yaml", &services(&["a", "b"]).replace("10.96.0.1}\n---", "10.96.0.256}\n---"));
    stage.until(|cluster| cluster.bad_objects().count() == 1).await;
    assert_eq!(stage.services(), ["a", "b"]);
    let (object, problem) = stage.cluster.bad_objects().next().unwrap();
    assert_eq!(*object, reference("a"));
    assert!(problem.contains("spec.clusterIP is \"10.96.0.256\"") && problem.contains("a.yaml, line 1"), "{problem}");
    stage.write("a.yaml", &services(&["a", "b"]));
    stage.until(|cluster| cluster.bad_objects().count() == 0).await;
    assert!(!stage.heard.iter().any(is_gone));
}

#[tokio::test]
async fn a_missing_folder_is_told_and_found_when_it_comes() {
    let mut stage = Stage::empty();
    stage.watch();
    stage.until_trouble("", Some("cannot be read: No such file or directory (os error 2)")).await;
    create_dir(&stage.folder).unwrap();
    stage.until_trouble("", Some("holds no manifest (*.yaml, *.yml, *.json)")).await;
    stage.write("a.yaml", BROKEN);
    stage.until_trouble("", Some("holds no manifest that can be read; 1 cannot")).await;
    stage.until_trouble("a.yaml", Some(BROKEN_PROBLEM)).await;
    stage.write("notes.txt", "Nothing.");
    assert!(!stage.heard.iter().any(|event| !matches!(event, Event::Trouble { .. })), "{:?}", stage.heard);
    stage.write("b.yaml", &services(&["b"]));
    stage.until(Cluster::is_listed).await;
    assert_eq!(stage.services(), ["b"]);
    assert_eq!(stage.trouble(""), None);
    assert!(stage.trouble("a.yaml").is_some());
    stage.write("a.yaml", &services(&["a"]));
    stage.until(|cluster| cluster.service(&key("a")).is_some()).await;
    stage.until_trouble("a.yaml", None).await;
}

#[tokio::test]
async fn an_empty_list_says_that_there_is_nothing() {
    let stage = Stage::listed(&[("none.yaml", "{apiVersion: v1, kind: List, items: []}".to_owned())]).await;
    assert_eq!(stage.services(), [""; 0]);
}

#[tokio::test]
async fn a_folder_that_empties_is_believed_and_one_that_goes_away_is_not() {
    let mut stage = Stage::listed(&[("a.yaml", services(&["a"]))]).await;
    remove_file(stage.path("a.yaml")).unwrap();
    stage.until(|cluster| cluster.service_count() == 0).await;
    stage.write("a.yaml", &services(&["a", "b"]));
    stage.until(|cluster| cluster.service_count() == 2).await;
    stage.heard.clear();

    rename(&stage.folder, stage.above.path().join("away")).unwrap();
    stage.until_trouble("", Some("cannot be read: No such file or directory (os error 2)")).await;
    create_dir(&stage.folder).unwrap();
    stage.until_trouble("", Some("holds no manifest (*.yaml, *.yml, *.json)")).await;
    stage.write("c.yaml", BROKEN);
    stage.until_trouble("", Some("holds no manifest that can be read; 1 cannot")).await;
    assert_eq!(stage.services(), ["a", "b"]);
    stage.write("b.yaml", &services(&["b", "d"]));
    stage.until_trouble("", None).await;
    stage.until(|cluster| cluster.service(&key("a")).is_none()).await;
    assert_eq!(stage.services(), ["b", "d"]);
    assert_eq!(stage.heard.iter().filter(|event| is_gone(event)).count(), 1);
}

#[tokio::test]
async fn a_folder_that_is_deleted_and_made_again_loses_only_what_is_not_in_it() {
    let mut stage = Stage::listed(&[("a.yaml", services(&["a"])), ("b.yaml", services(&["b"]))]).await;
    let next = stage.above.path().join("next");
    create_dir(&next).unwrap();
    write(next.join("b.yaml"), services(&["b", "c"])).unwrap();
    remove_dir_all(&stage.folder).unwrap();
    rename(next, &stage.folder).unwrap();
    stage.until(|cluster| cluster.service(&key("c")).is_some() && cluster.service(&key("a")).is_none()).await;
    assert_eq!(stage.heard.iter().filter(|event| is_gone(event)).count(), 1, "{:?}", stage.heard);
    stage.write("d.yaml", &services(&["d"]));
    stage.until(|cluster| cluster.service(&key("d")).is_some()).await;
}

#[tokio::test]
async fn a_config_map_is_swapped_at_once() {
    let mut stage = Stage::with(&[]);
    let version = |stage: &Stage, name: &str, files: [&[&str]; 2]| {
        create_dir(stage.path(name)).unwrap();
        stage.write(&format!("{name}/a.yaml"), &services(files[0]));
        stage.write(&format!("{name}/b.yaml"), &services(files[1]));
        symlink(name, stage.path("..data_tmp")).unwrap();
        rename(stage.path("..data_tmp"), stage.path("..data")).unwrap();
    };
    version(&stage, "..v0", [&["x", "a"], &["b"]]);
    for file in ["a.yaml", "b.yaml"] {
        symlink(Path::new("..data").join(file), stage.path(file)).unwrap();
    }
    stage.watch();
    stage.until(Cluster::is_listed).await;
    assert_eq!(stage.services(), ["a", "b", "x"]);
    // `x` moves from file to file with each version; only the counter comes and goes.
    for i in 1..=30 {
        let counter = format!("c{i}");
        let files: [&[&str]; 2] =
            if i % 2 == 0 { [&["x", "a", &counter], &["b"]] } else { [&["a"], &["x", "b", &counter]] };
        version(&stage, &format!("..v{i}"), files);
        remove_dir_all(stage.path(&format!("..v{}", i - 1))).unwrap();
        if i % 5 == 0 {
            stage.until(|cluster| cluster.service(&key(&counter)).is_some()).await;
        }
    }
    stage.until(|cluster| cluster.service_count() == 4).await;
    assert_eq!(stage.services(), ["a", "b", "c30", "x"]);
    assert!(!stage.heard.contains(&Event::Gone(reference("x"))));
}

#[tokio::test]
async fn links_are_followed_to_wherever_they_lead() {
    let mut stage = Stage::with(&[]);
    let elsewhere = stage.above.path().join("elsewhere");
    create_dir_all(elsewhere.join("folder")).unwrap();
    write(elsewhere.join("a.txt"), services(&["a"])).unwrap();
    write(elsewhere.join("folder/b.yaml"), services(&["b"])).unwrap();
    symlink(elsewhere.join("a.txt"), stage.path("a.yaml")).unwrap();
    symlink(elsewhere.join("folder"), stage.path("folder")).unwrap();
    stage.watch();
    stage.until(Cluster::is_listed).await;
    assert_eq!(stage.services(), ["a", "b"]);
    write(elsewhere.join("a.txt"), services(&["a", "aa"])).unwrap();
    stage.until(|cluster| cluster.service(&key("aa")).is_some()).await;
    write(elsewhere.join("folder/c.yaml"), services(&["c"])).unwrap();
    stage.until(|cluster| cluster.service(&key("c")).is_some()).await;
    // A file put in the place of the target, and the target taken away.
    write(elsewhere.join("next"), services(&["a", "aaa"])).unwrap();
    rename(elsewhere.join("next"), elsewhere.join("a.txt")).unwrap();
    stage.until(|cluster| cluster.service(&key("aaa")).is_some() && cluster.service(&key("aa")).is_none()).await;
    remove_file(elsewhere.join("a.txt")).unwrap();
    stage.until_trouble("a.yaml", Some("cannot be read: No such file or directory (os error 2)")).await;
    assert_eq!(stage.services(), ["a", "aaa", "b", "c"], "a link to nothing is a broken file");
    // The folder's own path may be a link too.
    let mut by_link = Stage::empty();
    symlink(&elsewhere, &by_link.folder).unwrap();
    by_link.watch();
    by_link.until(Cluster::is_listed).await;
    assert_eq!(by_link.services(), ["b", "c"]);
    symlink(&stage.folder, by_link.above.path().join("next")).unwrap();
    write(stage.path("z.yaml"), services(&["z"])).unwrap();
    rename(by_link.above.path().join("next"), &by_link.folder).unwrap();
    by_link.until(|cluster| cluster.service(&key("z")).is_some()).await;
}

#[tokio::test]
async fn a_file_is_not_read_while_it_is_written() {
    let mut stage = Stage::listed(&[("a.yaml", services(&["a", "b"]))]).await;
    let mut file = File::create(stage.path("a.yaml")).unwrap();
    assert_eq!(stage.quiet().await, [], "empty, and still open");
    file.write_all(services(&["a"]).as_bytes()).unwrap();
    assert_eq!(stage.quiet().await, [], "half of it");
    file.write_all(format!("---\n{}", services(&["b", "c"])).as_bytes()).unwrap();
    drop(file);
    let events = stage.quiet().await;
    assert!(matches!(events.as_slice(), [Event::Put(object)] if object.reference() == reference("c")), "{events:?}");
    stage.replace("a.yaml", &services(&["a"]));
    assert_eq!(stage.quiet().await, [Event::Gone(reference("b")), Event::Gone(reference("c"))]);
}

#[tokio::test]
async fn the_first_list_waits_for_a_file_that_is_written_and_was_never_read() {
    let (changes, _listener) = channel(1);
    let mut source = Source::new(Arc::from(Path::new("cluster")), Arc::from("lb1"), changes);
    let path = |name: &str| -> Arc<Path> { Arc::from(Path::new("cluster").join(name)) };
    let good = || Some(Content { readable: true, ..Content::default() });
    source.staged.insert(path("a.yaml"), good());
    source.dirt.writing.insert(path("b.yaml"), Instant::now());
    source.conclude();
    assert_eq!((source.phase, source.events.len()), (Phase::Unlisted, 0));
    source.staged.insert(path("b.yaml"), good());
    source.conclude();
    assert_eq!((source.phase, source.events.len()), (Phase::Live, 2 * Kind::ALL.len()));
}

/// A source that told its first list of these files, run by hand.
async fn by_hand(stage: &Stage) -> Source {
    let mut source = Source::new(Arc::from(stage.folder.as_path()), Arc::from("lb1"), stage.sender.clone());
    source.pass().await;
    assert_eq!(source.phase, Phase::Live);
    source.events.clear();
    source
}

#[tokio::test]
async fn what_changes_while_it_is_read_is_read_again() {
    let stage = Stage::with(&[("a.yaml", services(&["a"])), ("b.yaml", services(&["b", "x"]))]);
    let mut source = by_hand(&stage).await;
    // `a.yaml` is read before an object moves into it, and `b.yaml` after.
    source.dirt.files.insert(Arc::from(stage.path("a.yaml")));
    source.read().await;
    stage.write("a.yaml", &services(&["a", "x"]));
    stage.write("b.yaml", &services(&["b"]));
    source.dirt.files.insert(Arc::from(stage.path("b.yaml")));
    source.read().await;
    source.pass().await;
    assert_eq!(source.events, []);
}

#[tokio::test]
async fn only_changed_files_are_read_unless_notifications_were_lost() {
    let stage = Stage::with(&[("a.yaml", services(&["a"])), ("b.yaml", services(&["b"]))]);
    let mut source = by_hand(&stage).await;
    source.look().await.unwrap();
    assert_eq!(source.dirt.files.len(), 0);
    stage.write("a.yaml", &services(&["a"]));
    source.look().await.unwrap();
    assert_eq!(source.dirt.take_files(), [Arc::from(stage.path("a.yaml"))].into());
    source.dirt.overflow = true;
    source.look().await.unwrap();
    assert_eq!(source.dirt.take_files().len(), 2);
}

#[tokio::test]
async fn lost_notifications_are_made_up_for() {
    let mut stage = Stage::listed(&[("a.yaml", services(&["a"])), ("b.yaml", services(&["b"]))]).await;
    // More events than the channel holds: the source waits for us to listen, and hears nothing meanwhile.
    let many: Vec<String> = (0..20).map(|i| format!("many-{i}")).collect();
    stage.write("many.yaml", &services(&many.iter().map(String::as_str).collect::<Vec<_>>()));
    let first = timeout(TOO_LONG, stage.listener.recv()).await.unwrap().unwrap();
    // Equal notifications in a row are one, so two files take turns.
    let mut files = ["y.yaml", "z.yaml"].map(|name| File::create(stage.path(name)).unwrap());
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    for _ in 0..=limit.trim().parse::<u32>().unwrap() / 2 {
        files.iter_mut().for_each(|file| file.write_all(b"#\n").unwrap());
    }
    stage.write("c.yaml", &services(&["c"]));
    remove_file(stage.path("b.yaml")).unwrap();
    let Change::Source(first) = first else { panic!("not from a source: {first:?}") };
    stage.cluster.apply(first);
    stage.until(|cluster| cluster.service(&key("c")).is_some() && cluster.service(&key("b")).is_none()).await;
}

#[tokio::test]
async fn of_two_files_with_the_same_object_the_first_counts() {
    let mut stage = Stage::listed(&[("a.yaml", service("x", 1)), ("b.yaml", service("x", 2))]).await;
    let ip = |cluster: &Cluster| cluster.service(&key("x")).map(|service| service.cluster_ips[0].to_string());
    assert_eq!(ip(&stage.cluster).as_deref(), Some("10.96.0.1"));
    let problem = format!("Service default/x is also in {}, which counts", stage.path("a.yaml").display());
    assert_eq!(stage.trouble("b.yaml"), Some(problem));
    remove_file(stage.path("a.yaml")).unwrap();
    stage.until_trouble("b.yaml", None).await;
    assert_eq!(ip(&stage.cluster).as_deref(), Some("10.96.0.2"));
    assert!(!stage.heard.iter().any(is_gone));
}

#[tokio::test]
async fn a_burst_of_many_files_is_heard_in_full() {
    let mut stage = Stage::listed(&[("a.yaml", services(&["a"]))]).await;
    for i in 0..500 {
        stage.write(&format!("b{i}.yaml"), &services(&[&format!("b{i}")]));
    }
    stage.until(|cluster| cluster.service_count() == 501).await;
    for i in 0..500 {
        remove_file(stage.path(&format!("b{i}.yaml"))).unwrap();
    }
    stage.until(|cluster| cluster.service_count() == 1).await;
}

#[tokio::test]
async fn it_ends_when_nobody_listens() {
    let mut stage = Stage::listed(&[("a.yaml", services(&["a"]))]).await;
    stage.listener.close();
    timeout(TOO_LONG, stage.source.take().unwrap()).await.unwrap().unwrap();
}
