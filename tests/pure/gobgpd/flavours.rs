//! Both gobgpd run here, and each answers its own command line.

use tokio::process::Command;

use super::daemon::{Flavour, Gobgpd, each_gobgpd};

async fn it_listens_and_answers(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    assert!(gobgpd.gobgp("global").await.starts_with("AS:        0\n"));
    assert!(gobgpd.logged().contains("gobgpd started"), "{}", gobgpd.logged());
    let version = Command::new(flavour.gobgpd()).arg("--version").output().await.unwrap();
    let expected = match flavour {
        Flavour::V3 => "gobgpd version 3.",
        Flavour::V4 => "gobgpd version 4.",
    };
    assert!(String::from_utf8_lossy(&version.stdout).starts_with(expected), "{version:?}");
}

each_gobgpd!(it_listens_and_answers);
