//! The speaker as a process of its own, with the real gobgpd.

mod bfd;
mod lease;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use vipcast::apply::bgp::{Endpoint, Speaker};
use vipcast::plan::step::Executor;
use vipcast::plan::{Outcome, Step};
use vipcast::speaker;

use crate::gobgpd::daemon::{Flavour, each_gobgpd, until};
use crate::gobgpd::identity;

/// A runtime folder with whatever runs in it; all of that is killed when it is dropped.
struct Folder {
    temporary: TempDir,
}

impl Folder {
    fn new() -> Folder {
        Folder { temporary: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.temporary.path().join("runtime")
    }

    fn log(&self) -> PathBuf {
        self.temporary.path().join("speaker.log")
    }

    /// Starts a speaker.
    fn speaker(&self, flavour: Flavour) -> Child {
        self.speaker_with(&flavour.gobgpd())
    }

    /// Starts a speaker for this program.
    fn speaker_with(&self, gobgpd: &Path) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let config = self.config();
        let text = format!(
            "runtimeDir: {}\n\
             source: {{manifests: .}}\n\
             bgp: {{asn: 65001, gobgpd: {{spawn: {}}}, peers: [{{address: 127.0.0.2, asn: 65000}}]}}\n",
            self.path().display(),
            gobgpd.display()
        );
        std::fs::write(&config, text).unwrap();
        Command::new(env!("CARGO_BIN_EXE_vipcast"))
            .arg("speaker")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// The configuration file of its speakers.
    fn config(&self) -> PathBuf {
        self.temporary.path().join("vipcast.yaml")
    }

    /// What the speakers said.
    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    /// The process that listens on gobgpd's socket.
    async fn listener(&self) -> Option<Pid> {
        let stream = tokio::net::UnixStream::connect(speaker::socket(&self.path())).await.ok()?;
        Pid::from_raw(stream.peer_cred().unwrap().pid().unwrap())
    }

    /// Waits until a gobgpd listens, other than `before`.
    async fn gobgpd(&self, before: Option<Pid>) -> Pid {
        until("gobgpd listens", async || self.listener().await.filter(|pid| Some(*pid) != before)).await
    }

    /// The processes that were started as the gobgpd of this folder.
    fn gobgpds(&self) -> Vec<Pid> {
        let socket = format!("--api-hosts=unix://{}", speaker::socket(&self.path()).display());
        let is_ours = |process: &std::fs::DirEntry| {
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            command.split(|byte| *byte == 0).any(|word| word == socket.as_bytes())
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten().filter(is_ours);
        processes.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// The writer of the gobgpd in here.
    fn writer(&self) -> Speaker {
        Speaker::new(Endpoint::unix(&speaker::socket(&self.path())).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for gobgpd in self.gobgpds() {
            let _ = kill_process(gobgpd, Signal::KILL);
        }
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

async fn ended(mut child: Child) -> ExitStatus {
    let patience = crate::gobgpd::daemon::PATIENCE;
    tokio::time::timeout(patience, child.wait()).await.expect("the speaker did not end").unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn gobgpd_is_started_for_its_owner_alone_and_ended_with_the_speaker() {
    let folder = Folder::new();
    let socket = speaker::socket(&folder.path());
    for signal in [Signal::TERM, Signal::INT] {
        let child = folder.speaker(Flavour::V3);
        let gobgpd = folder.gobgpd(None).await;
        assert_eq!(speaker::is_running(&folder.path()), child.id());
        assert_eq!((mode(&folder.path()), mode(&socket)), (0o700, 0o700));
        let outcome = folder.writer().perform(vec![Step::StartBgp(identity())]).await.remove(0).outcome;
        assert_eq!(outcome, Outcome::Done);

        send(&child, signal);
        assert!(ended(child).await.success(), "{}", folder.said());
        assert!(test_kill_process(gobgpd).is_err());
        assert!(!socket.exists());
        assert_eq!(speaker::is_running(&folder.path()), None);
    }
}

async fn a_gobgpd_that_is_killed_is_started_again(flavour: Flavour) {
    let folder = Folder::new();
    let _child = folder.speaker(flavour);
    let mut gobgpd = folder.gobgpd(None).await;
    for _ in 0..2 {
        kill_process(gobgpd, Signal::KILL).unwrap();
        gobgpd = folder.gobgpd(Some(gobgpd)).await;
    }
    let said = folder.said();
    assert!(said.contains("gobgpd ended with signal: 9 (SIGKILL)"), "{said}");
}

#[tokio::test]
async fn a_new_speaker_adopts_the_gobgpd_of_one_that_was_killed() {
    let folder = Folder::new();
    let first = folder.speaker(Flavour::V3);
    let gobgpd = folder.gobgpd(None).await;
    let outcome = folder.writer().perform(vec![Step::StartBgp(identity())]).await.remove(0).outcome;
    assert_eq!(outcome, Outcome::Done);
    send(&first, Signal::KILL);
    assert!(!ended(first).await.success());
    assert_eq!(folder.listener().await, Some(gobgpd));

    let second = folder.speaker(Flavour::V3);
    until("the second speaker adopts it", async || folder.said().contains("adopted=true").then_some(())).await;
    assert_eq!(folder.listener().await, Some(gobgpd));
    // It looks after what it adopted,
    kill_process(gobgpd, Signal::KILL).unwrap();
    let next = folder.gobgpd(Some(gobgpd)).await;
    // and so does the third, to the end.
    send(&second, Signal::KILL);
    ended(second).await;
    let third = folder.speaker(Flavour::V3);
    until("the third speaker adopts it", async || (folder.said().matches("adopted=true").count() == 2).then_some(()))
        .await;
    send(&third, Signal::TERM);
    assert!(ended(third).await.success());
    until("gobgpd is gone", async || test_kill_process(next).is_err().then_some(())).await;
}

/// As `systemctl reload vipcast-speaker` does it after an upgrade.
async fn a_speaker_that_is_told_to_start_anew_keeps_gobgpd(flavour: Flavour) {
    let folder = Folder::new();
    let child = folder.speaker(flavour);
    let gobgpd = folder.gobgpd(None).await;
    let started = |times: usize| {
        let said = folder.said();
        (said.matches("speaker started").count() == times).then_some(())
    };
    for times in 2..4 {
        send(&child, Signal::HUP);
        until("it has started anew", async || started(times)).await;
        until("it has adopted gobgpd", async || {
            (folder.said().matches("adopted=true").count() == times - 1).then_some(())
        })
        .await;
    }
    assert_eq!(speaker::is_running(&folder.path()), child.id());
    assert_eq!(folder.listener().await, Some(gobgpd));
    send(&child, Signal::TERM);
    assert!(ended(child).await.success(), "{}", folder.said());
    assert!(test_kill_process(gobgpd).is_err());
}

async fn there_is_one_speaker_in_a_folder(flavour: Flavour) {
    let folder = Folder::new();
    let first = folder.speaker(flavour);
    let gobgpd = folder.gobgpd(None).await;
    assert!(!ended(folder.speaker(flavour)).await.success());
    let said = folder.said();
    let expected = format!("another speaker runs already, as process {}", first.id().unwrap());
    assert!(said.contains(&expected), "{said}");
    assert_eq!(folder.listener().await, Some(gobgpd));
}

async fn the_agent_stops_the_speaker_of_its_folder(flavour: Flavour) {
    let folder = Folder::new();
    speaker::stop(&folder.path()).await.unwrap();
    let child = folder.speaker(flavour);
    let gobgpd = folder.gobgpd(None).await;
    assert_eq!(speaker::ensure(&folder.path(), Path::new("none.yaml")).unwrap(), None);
    speaker::stop(&folder.path()).await.unwrap();
    assert!(ended(child).await.success());
    assert!(test_kill_process(gobgpd).is_err());
}

async fn stopping_ends_a_gobgpd_whose_speaker_was_killed(flavour: Flavour) {
    let folder = Folder::new();
    // One that hangs, and so ignores SIGTERM, is ended like one that does not.
    for hangs in [false, true] {
        let child = folder.speaker(flavour);
        let gobgpd = folder.gobgpd(None).await;
        send(&child, Signal::KILL);
        ended(child).await;
        if hangs {
            kill_process(gobgpd, Signal::STOP).unwrap();
        }
        assert_eq!(speaker::is_running(&folder.path()), None);
        assert_eq!(speaker::leftover(&folder.path()).await.unwrap(), Some(gobgpd.as_raw_nonzero().get()));
        speaker::stop(&folder.path()).await.unwrap();
        assert_eq!(folder.gobgpds(), []);
        assert!(!speaker::socket(&folder.path()).exists());
        assert_eq!(speaker::leftover(&folder.path()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn cleanup_refuses_while_a_gobgpd_without_a_speaker_hangs() {
    let folder = Folder::new();
    let child = folder.speaker(Flavour::V3);
    let gobgpd = folder.gobgpd(None).await;
    send(&child, Signal::KILL);
    ended(child).await;
    kill_process(gobgpd, Signal::STOP).unwrap();
    let cleanup = Command::new(env!("CARGO_BIN_EXE_vipcast"))
        .args(["cleanup", "--config"])
        .arg(folder.temporary.path().join("vipcast.yaml"))
        .output();
    let cleanup = cleanup.await.unwrap();
    let said = String::from_utf8_lossy(&cleanup.stderr);
    assert!(!cleanup.status.success());
    let expected = format!("gobgpd, process {}, does not answer", gobgpd.as_raw_nonzero());
    assert!(said.contains(&expected), "{said}");
    assert_eq!(folder.gobgpds(), [gobgpd]);
}

#[tokio::test]
async fn a_missing_gobgpd_is_said_once_with_what_to_do() {
    let folder = Folder::new();
    let child = folder.speaker_with(Path::new("/nonexistent/gobgpd"));
    let line = "there is no gobgpd at /nonexistent/gobgpd: install it (Debian package gobgpd)";
    until("it is said", async || folder.said().contains(line).then_some(())).await;
    // It goes on trying, since somebody may install it.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(folder.said().matches(line).count(), 1);
    send(&child, Signal::TERM);
    assert!(ended(child).await.success());
}

#[tokio::test]
async fn a_gobgpd_that_fails_is_told_of_with_its_last_words() {
    let folder = Folder::new();
    // A folder in the place of the socket: nobody listens, and gobgpd cannot either. GoBGP 4 would go on without.
    std::fs::create_dir_all(speaker::socket(&folder.path()).join("in the way")).unwrap();
    let _child = folder.speaker(Flavour::V3);
    until("it is said", async || {
        folder.said().lines().any(|line| line.contains("its last words") && line.contains("level")).then_some(())
    })
    .await;
}

/// GoBGP 4 goes on when it cannot listen, and nobody could ever reach it.
#[tokio::test]
async fn a_gobgpd_that_nobody_can_reach_is_started_again() {
    if !Flavour::V4.is_here() {
        return;
    }
    let folder = Folder::new();
    let obstacle = speaker::socket(&folder.path());
    std::fs::create_dir_all(obstacle.join("in the way")).unwrap();
    let _child = folder.speaker(Flavour::V4);
    until("it is said", async || folder.said().contains("gobgpd does not listen on").then_some(())).await;
    std::fs::remove_dir_all(obstacle).unwrap();
    folder.gobgpd(None).await;
}

/// Metrics of gobgpd's own would be open to everybody on the node, and only one gobgpd could have them.
async fn it_has_no_tcp_port(flavour: Flavour) {
    let folder = Folder::new();
    let _child = folder.speaker(flavour);
    let pid = folder.gobgpd(None).await.as_raw_nonzero();
    let sockets = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let inodes: Vec<String> = sockets
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap();
        let its_own =
            |line: &&str| line.split_whitespace().nth(9).is_some_and(|inode| inodes.iter().any(|i| i == inode));
        assert_eq!(text.lines().find(its_own), None);
    }
}

async fn a_socket_of_somebody_else_is_left_alone(flavour: Flavour) {
    let folder = Folder::new();
    std::fs::create_dir(folder.path()).unwrap();
    let socket = speaker::socket(&folder.path());
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let child = folder.speaker(flavour);
    let expected = format!("is in use by process {}, which is no gobgpd of ours", std::process::id());
    until("it is said", async || folder.said().contains(&expected).then_some(())).await;
    assert!(socket.exists());

    // Once it is free, though the dead socket is still there, it is taken.
    drop(listener);
    folder.gobgpd(None).await;
    send(&child, Signal::TERM);
    assert!(ended(child).await.success());
}

each_gobgpd!(
    a_gobgpd_that_is_killed_is_started_again,
    a_speaker_that_is_told_to_start_anew_keeps_gobgpd,
    there_is_one_speaker_in_a_folder,
    the_agent_stops_the_speaker_of_its_folder,
    stopping_ends_a_gobgpd_whose_speaker_was_killed,
    a_socket_of_somebody_else_is_left_alone,
    it_has_no_tcp_port,
);
