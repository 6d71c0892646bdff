//! What happens, and how the lab is made whole after it.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use vipcast_lab::{Node, wait_until};

use super::cells::{Cell, Detection, Row, Setting};
use super::stage::{LONG, NODES, Stage, TORS, VIP, wait_for_next_hops};

/// What a speaker says when it starts.
const STARTED: &str = "speaker started";

/// Whom it happens to.
const VICTIM: &str = NODES[0];
/// The router that reboots.
const TOR: &str = TORS[0];

/// The ports of a ToR, in the order in which it opens them after a reboot: to the other ToR; to the LB nodes; to the client.
const TO_TOR: &[&str] = &["eth6"];
const TO_NODES: &[&str] = &["eth2", "eth3", "eth4", "eth5"];
const TO_CLIENT: &[&str] = &["eth1"];

/// How long a ToR is away at least.
const REBOOT: Duration = Duration::from_secs(5);

/// After how long a service manager starts a speaker again (deploy/systemd), and an agent whose pod or machine is slow.
const SPEAKER_AGAIN: Duration = Duration::from_millis(100);
const AGENT_AGAIN: Duration = Duration::from_secs(15);

/// How long a node that was drained is away.
const DRAINED: Duration = Duration::from_secs(2);

/// A node says nothing any more, and hears nothing, though its links have their carriers: in one transaction.
const SILENCE: &str = "table netdev dead {
 chain heard { type filter hook ingress devices = { eth1, eth2, eth3 } priority -500; policy drop; }
 chain said { type filter hook egress devices = { eth1, eth2, eth3 } priority -500; policy drop; }
}";

/// What a machine that starts has not: all that was in memory.
const FORGET: &str = "ipvsadm -C; ip link del vipcast0 2>/dev/null; ip link del vipcast1 2>/dev/null
ip route flush table local proto 118 2>/dev/null; ip -6 route flush table local proto 118 2>/dev/null
conntrack -F 2>/dev/null; nft flush ruleset";

/// What the configuration says of the range, and what it says after it was edited.
const PLAIN: &str = "clusterIPs: [10.96.0.0/16]";
const EDITED: &str = "clusterIPs: [{prefix: 10.96.0.0/16, communities: [\"65001:7\"]}]";
/// Of the session with tor2.
const SLOW: &str = "asn: 65012, holdTime: 9s";
const SLOWER: &str = "asn: 65012, holdTime: 12s";
/// The ToRs' names for the victim's sessions.
const OWN_SESSIONS: [(&str, &str); 2] = [(TORS[0], "10.1.1.2"), (TORS[1], "10.2.1.2")];
/// The one that is edited.
const EDITED_SESSION: (&str, &str) = OWN_SESSIONS[1];

/// Makes it happen, and waits for what belongs to it.
pub(super) fn happen(stage: &mut Stage, row: Row) -> Result<()> {
    match row {
        Row::Nothing => {}
        Row::Power => {
            nft(stage.lab.node(VICTIM), SILENCE)?;
            // None of them can say a word to others now.
            for pid in stage.lab.node(VICTIM).netns().processes()? {
                let _ = kill(pid, Signal::SIGKILL);
            }
            stage.agents.remove(VICTIM);
            stage.speakers.remove(VICTIM);
        }
        Row::Link => stage.lab.darken(VICTIM, &["eth1"])?,
        Row::Gobgpd => kill(stage.lab.node(VICTIM).process("gobgpd")?, Signal::SIGKILL).context("kill gobgpd")?,
        Row::Speaker => {
            stage.speakers.get(VICTIM).context("it runs")?.kill()?;
            sleep(SPEAKER_AGAIN);
            stage.start_speaker(VICTIM)?;
        }
        Row::Agent => {
            stage.agents.get(VICTIM).context("it runs")?.kill()?;
            sleep(AGENT_AGAIN);
            stage.start_agent(VICTIM)?;
            stage.wait_until_ready(VICTIM)?;
        }
        Row::Dataplane => drop(stage.lab.node(VICTIM).command("ipvsadm").arg("-C").run()?),
        Row::ApiServer => stage.control.as_ref().context("there is a control plane")?.server.kill()?,
        Row::Tor => {
            stage.lab.darken(TOR, &[TO_CLIENT, TO_NODES, TO_TOR].concat())?;
            stage.lab.kill_router(TOR)?;
            sleep(REBOOT);
            stage.lab.start_router(TOR)?;
            stage.lab.lighten(TOR, TO_TOR)?;
            stage.lab.lighten(TOR, TO_NODES)?;
            wait_for_next_hops(stage.lab.node(TOR), NODES.len())?;
            stage.lab.lighten(TOR, TO_CLIENT)?;
        }
        Row::Drain => {
            vipcast(stage, &["drain", "--wait"])?;
            sleep(DRAINED);
            vipcast(stage, &["undrain", "--wait"])?;
        }
        Row::AgentUpgrade => {
            let ended = stage.agents.get(VICTIM).context("it runs")?.terminate(LONG)?;
            ensure!(ended.success(), "the agent ended with {ended}");
            stage.start_agent(VICTIM)?;
            stage.wait_until_ready(VICTIM)?;
        }
        Row::SpeakerUpgrade => {
            let speaker = stage.speakers.get(VICTIM).context("it runs")?;
            let starts = || speaker.log().matches(STARTED).count();
            let before = starts();
            speaker.signal(Signal::SIGHUP)?;
            wait_until(LONG, "the new speaker", || Ok(starts() > before))?;
        }
        Row::Configuration => {
            stage.edit(VICTIM, |text| text.replace(PLAIN, EDITED).replace(SLOW, SLOWER))?;
            sleep(Duration::from_secs(5));
            stage.wait_until_ready(VICTIM)?;
        }
    }
    Ok(())
}

/// How long is looked at least, from the event on: until what may follow has followed.
pub(super) fn least(cell: Cell) -> Duration {
    Duration::from_secs(match cell.row {
        // The session comes back, and the routes with it.
        Row::Gobgpd | Row::Speaker | Row::SpeakerUpgrade => 15,
        // The hold time, where nothing else tells.
        Row::Power | Row::Link | Row::Tor if cell.detection == Detection::Hold => 12,
        _ => 6,
    })
}

/// Is this session touched on purpose? Without BGP a node that leaves does it by its BFD sessions.
pub(super) fn is_edited(cell: Cell, tor: &str, neighbour: &str) -> bool {
    match cell.row {
        Row::Configuration => (tor, neighbour) == EDITED_SESSION,
        Row::Drain => cell.setting == Setting::Static && OWN_SESSIONS.contains(&(tor, neighbour)),
        _ => false,
    }
}

/// Can what happens touch this session? One that is lost all the same tells of the machine, not of vipcast.
pub(super) fn may_touch(row: Row, tor: &str, neighbour: &str) -> bool {
    match row {
        Row::Nothing | Row::ApiServer => false,
        Row::Tor => tor == TOR,
        _ => OWN_SESSIONS.contains(&(tor, neighbour)),
    }
}

/// Makes the lab whole again.
pub(super) fn undo(stage: &mut Stage, row: Row) -> Result<()> {
    match row {
        Row::Power => {
            let node = stage.lab.node(VICTIM);
            node.command("sh").arg("-c").arg(FORGET).run()?;
            let run = node.path("run/vipcast");
            fs::remove_dir_all(&run).with_context(|| format!("empty {}", run.display()))?;
            stage.start(VICTIM)
        }
        // Where nobody found that it was gone: who starts reads everything.
        Row::Dataplane => {
            let tables = stage.lab.node(VICTIM).command("ipvsadm").arg("-Ln").run()?.stdout;
            if !tables.contains(VIP) {
                stage.agents.get(VICTIM).context("it runs")?.kill()?;
                stage.start_agent(VICTIM)?;
            }
            Ok(())
        }
        Row::Link => {
            stage.lab.lighten(VICTIM, &["eth1"])?;
            // The kernel dropped it with the link.
            let route = "ip route replace default nexthop via 10.1.1.1 nexthop via 10.2.1.1";
            stage.lab.node(VICTIM).command("sh").arg("-c").arg(route).run().map(drop)
        }
        Row::ApiServer => stage.control.as_ref().context("there is a control plane")?.server.start(),
        Row::Configuration => {
            stage.edit(VICTIM, |text| text.replace(EDITED, PLAIN).replace(SLOWER, SLOW))?;
            sleep(Duration::from_secs(2));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Runs a command of vipcast on the victim.
fn vipcast(stage: &Stage, words: &[&str]) -> Result<()> {
    let node = stage.lab.node(VICTIM);
    let command = node.command(&stage.vipcast).args(words).arg("--config").arg(node.path(super::stage::CONFIG));
    command.run().map(drop)
}

fn nft(node: &Node, rules: &str) -> Result<()> {
    node.command("nft").arg(rules).run().map(drop)
}
