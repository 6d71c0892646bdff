//! What is measured: what happens, and under which circumstances.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What happens to `lb1`, or to `tor1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Row {
    /// Nothing: what the measurement itself costs.
    Nothing,
    /// The node falls silent at once, and the ToRs' ports stay up: the power of a machine behind a hypervisor, or behind another
    /// switch, is gone.
    Power,
    /// The cable to tor1 is pulled: both ends lose the carrier.
    Link,
    /// SIGKILL to gobgpd.
    Gobgpd,
    /// SIGKILL to the speaker, which is started again 100 ms later.
    Speaker,
    /// SIGKILL to the agent, which is started again 15 s later.
    Agent,
    /// The IPVS table is flushed by somebody else.
    Dataplane,
    /// SIGKILL to kube-apiserver, which stays away.
    ApiServer,
    /// tor1 is dark at once, and back later: first its ports to tor1 and the LB nodes, then, when it has all routes, the one to
    /// the client.
    Tor,
    /// The node is drained and comes back.
    Drain,
    /// SIGTERM to the agent, with `shutdown: keep`, and a new one.
    AgentUpgrade,
    /// SIGHUP to the speaker, which takes its own place with the program that is there now.
    SpeakerUpgrade,
    /// A community for all routes and other timers for the session with tor2: one session is edited, the others are not.
    Configuration,
}

/// How the ToRs notice that a node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Detection {
    /// By the hold time of BGP alone.
    #[value(name = "hold")]
    Hold,
    /// By BFD, 300 ms x 3.
    #[value(name = "bfd300")]
    Bfd300,
    /// By BFD, 50 ms x 3.
    #[value(name = "bfd50")]
    Bfd50,
}

/// What the ToRs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Setting {
    /// BGP, and equal-cost routes as FRR makes them: when the number of next hops changes, flows of all nodes move.
    Bgp,
    /// BGP, and next-hop groups that hash resiliently: only flows of the node that is gone move.
    Resilient,
    /// Static equal-cost routes that BFD watches, by BIRD; the nodes have no BGP.
    Static,
    /// BGP, and agents that read their Services from an API server, not from files.
    Kubernetes,
}

impl Row {
    /// What it is called in the table.
    pub(super) fn title(self) -> &'static str {
        match self {
            Row::Nothing => "nothing happens",
            Row::Power => "an LB node loses power",
            Row::Link => "it loses a link",
            Row::Gobgpd => "its gobgpd is killed",
            Row::Speaker => "its speaker is killed",
            Row::Agent => "its agent is killed",
            Row::Dataplane => "its IPVS table is flushed",
            Row::ApiServer => "the API server is killed",
            Row::Tor => "a ToR reboots",
            Row::Drain => "drain and return",
            Row::AgentUpgrade => "upgrade of the agent",
            Row::SpeakerUpgrade => "upgrade of the speaker",
            Row::Configuration => "change of the configuration",
        }
    }

    /// Is it done on purpose, so that no new connection may fail?
    pub(super) fn is_planned(self) -> bool {
        matches!(self, Row::Drain | Row::AgentUpgrade | Row::SpeakerUpgrade | Row::Configuration)
    }

    /// How many runs make a figure.
    pub(super) fn runs(self) -> usize {
        if self == Row::Power { 10 } else { 3 }
    }
}

impl Detection {
    /// What it is called in the table.
    pub(super) fn title(self) -> &'static str {
        match self {
            Detection::Hold => "hold time 9 s",
            Detection::Bfd300 => "BFD 300 ms x 3",
            Detection::Bfd50 => "BFD 50 ms x 3",
        }
    }
}

impl Setting {
    /// What is added to the row's title.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Setting::Bgp | Setting::Kubernetes => "",
            Setting::Resilient => ", resilient hashing",
            Setting::Static => ", static routes",
        }
    }
}

/// One field of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) setting: Setting,
    pub(super) detection: Detection,
    pub(super) row: Row,
}

impl Cell {
    /// All that there are, in the order in which they are measured: cells of one lab follow each other.
    pub(super) fn all() -> Vec<Cell> {
        let mut cells = Vec::new();
        for setting in Setting::value_variants() {
            for detection in Detection::value_variants() {
                let rows = Row::value_variants().iter().map(|row| Cell {
                    setting: *setting,
                    detection: *detection,
                    row: *row,
                });
                cells.extend(rows.filter(|cell| cell.makes_sense()));
            }
        }
        cells
    }

    fn makes_sense(self) -> bool {
        match self.setting {
            Setting::Bgp => self.row != Row::ApiServer,
            Setting::Kubernetes => self.row == Row::ApiServer,
            Setting::Resilient => self.row == Row::Power,
            // There is nothing but BFD that could notice, no gobgpd, and no API server.
            Setting::Static => {
                let has_none = matches!(self.row, Row::Gobgpd | Row::ApiServer | Row::Tor | Row::Configuration);
                self.detection != Detection::Hold && !has_none
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_one_lab_follow_each_other() {
        let cells = Cell::all();
        let labs: Vec<_> = cells.chunk_by(|a, b| (a.setting, a.detection) == (b.setting, b.detection)).collect();
        assert_eq!(labs.len(), 3 + 3 + 2 + 3);
        assert_eq!(labs[0].len(), Row::value_variants().len() - 1);
        assert!(labs[3].iter().all(|cell| cell.row == Row::Power));
        let with_api_server: Vec<_> = cells.iter().filter(|cell| cell.row == Row::ApiServer).collect();
        assert!(with_api_server.len() == 3 && with_api_server.iter().all(|cell| cell.setting == Setting::Kubernetes));
    }
}
