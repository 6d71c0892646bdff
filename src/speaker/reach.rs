//! What the BFD session with a BGP peer means for the BGP session: pure, with time as an argument.
//!
//! When a session that was up goes down, the BGP session is held down at once: peers drop the routes, and this node does not
//! wait for a hold timer. It is released when BFD is up again and believed (a session that flaps is damped), so that BGP does
//! not come up over a way that is broken. BFD that stays down holds BGP for [`PATIENCE`] only, since the other side may have
//! stopped to speak BFD while the way is good: BGP, which also comes up before BFD did the first time, finds out.
//!
//! Where the other side says AdminDown, or this one does, the way may be good: nothing follows (RFC 5882 section 4.2).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::Time;
use crate::model::bfd::{BfdState, BfdStatus};
use crate::model::bgp::PeerName;

/// For how long BFD that is down holds a BGP session down.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of the way to a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Way {
    /// BFD was up, so that it going down means something.
    was_up: bool,
    /// BFD is up, and not believed.
    is_damped: bool,
    /// Since when the BGP session is held, and why.
    held: Option<(Time, String)>,
}

/// The ways to all peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ways(BTreeMap<PeerName, Way>);

impl Ways {
    /// Those of a speaker that follows one which held these sessions.
    pub(super) fn resumed(held: BTreeSet<PeerName>, now: Time) -> Ways {
        let way = || Way { held: Some((now, "held by the former speaker".to_owned())), ..Way::default() };
        Ways(held.into_iter().map(|peer| (peer, way())).collect())
    }

    /// The session with `peer` stands so.
    pub(super) fn hear(&mut self, peer: &PeerName, status: &BfdStatus, now: Time) {
        let way = self.0.entry(peer.clone()).or_default();
        way.is_damped = status.state == BfdState::Up && status.damped.is_some();
        match status.state {
            BfdState::Up => {
                way.was_up = true;
                if !way.is_damped {
                    way.held = None;
                }
            }
            BfdState::AdminDown => way.was_up = false,
            // What the other side wants is no sign of a broken way.
            BfdState::Down | BfdState::Init if status.remote == BfdState::AdminDown => way.was_up = false,
            BfdState::Down | BfdState::Init => {
                if std::mem::take(&mut way.was_up) {
                    let reason = status.reason.as_deref().unwrap_or("it went down");
                    way.held = Some((now, format!("BFD is down: {reason}")));
                }
            }
        }
    }

    /// Another session watches the way from now on: that it is not up yet means nothing.
    pub(super) fn begin_anew(&mut self, peer: &PeerName) {
        if let Some(way) = self.0.get_mut(peer) {
            way.was_up = false;
        }
    }

    /// These peers are watched, and no others.
    pub(super) fn keep(&mut self, peers: &BTreeSet<PeerName>) {
        self.0.retain(|peer, _| peers.contains(peer));
    }

    /// The peers whose BGP sessions are held down at `now`, and why.
    pub(super) fn held(&mut self, now: Time) -> BTreeMap<PeerName, String> {
        for way in self.0.values_mut() {
            if way.end().is_some_and(|end| end <= now) {
                way.held = None;
            }
        }
        let held = self.0.iter().filter_map(|(peer, way)| Some((peer.clone(), way.held.as_ref()?.1.clone())));
        held.collect()
    }

    /// When [`Ways::held`] may come to something else.
    pub(super) fn wake_at(&self) -> Option<Time> {
        self.0.values().filter_map(Way::end).min()
    }
}

impl Way {
    /// When the session is released if BFD stays down.
    fn end(&self) -> Option<Time> {
        let (since, _) = self.held.as_ref().filter(|_| !self.is_damped)?;
        Some(*since + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PeerName {
        "192.0.2.1".parse().unwrap()
    }

    fn status(state: BfdState, remote: BfdState, damped: bool) -> BfdStatus {
        BfdStatus {
            state,
            remote,
            reason: (state == BfdState::Down).then(|| "control detection time expired".to_owned()),
            since: 0,
            interval: Duration::from_millis(300),
            detection: None,
            flaps: 0,
            damped: damped.then_some(Duration::from_secs(1)),
            problem: None,
        }
    }

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    #[test]
    fn a_session_is_held_from_the_end_of_bfd_to_its_return() {
        use BfdState::{AdminDown, Down, Init, Up};
        // What BFD says, second by second, and whether BGP is held then.
        type Story<'a> = &'a [((BfdState, BfdState, bool), bool)];
        let stories: [Story; 7] = [
            // It was never up: BGP may be.
            &[((Down, Down, false), false), ((Init, Down, false), false), ((Up, Up, false), false)],
            &[
                ((Up, Up, false), false),
                ((Down, Down, false), true),
                ((Init, Down, false), true),
                ((Up, Up, false), false),
            ],
            // It flaps.
            &[((Up, Up, false), false), ((Down, Up, false), true), ((Up, Up, true), true), ((Down, Up, true), true)],
            &[((Up, Up, false), false), ((Down, Up, false), true), ((Up, Up, true), true), ((Up, Up, false), false)],
            // Somebody wants it down.
            &[((Up, Up, false), false), ((Down, AdminDown, false), false), ((Down, Down, false), false)],
            &[((Up, Up, false), false), ((AdminDown, Up, false), false), ((Down, Down, false), false)],
            // It goes down twice.
            &[
                ((Up, Up, false), false),
                ((Down, Down, false), true),
                ((Up, Up, false), false),
                ((Down, Down, false), true),
            ],
        ];
        for story in stories {
            let mut ways = Ways::default();
            for (second, ((state, remote, damped), held)) in story.iter().enumerate() {
                let now = at(second as u64);
                ways.hear(&peer(), &status(*state, *remote, *damped), now);
                assert_eq!(!ways.held(now).is_empty(), *held, "{story:?} {second}");
            }
        }
    }

    #[test]
    fn bfd_that_stays_down_holds_bgp_for_a_while_only() {
        let mut ways = Ways::default();
        ways.hear(&peer(), &status(BfdState::Up, BfdState::Up, false), at(0));
        ways.hear(&peer(), &status(BfdState::Down, BfdState::Down, false), at(1));
        assert_eq!(ways.wake_at(), Some(at(31)));
        assert_eq!(ways.held(at(30)), [(peer(), "BFD is down: control detection time expired".to_owned())].into());
        assert_eq!(ways.held(at(31)), [].into());
        assert_eq!(ways.wake_at(), None);
        // While it is damped, it is released by that alone.
        ways.hear(&peer(), &status(BfdState::Up, BfdState::Up, false), at(40));
        ways.hear(&peer(), &status(BfdState::Down, BfdState::Down, false), at(41));
        ways.hear(&peer(), &status(BfdState::Up, BfdState::Up, true), at(42));
        assert_eq!((ways.wake_at(), ways.held(at(1000)).len()), (None, 1));
    }

    #[test]
    fn a_session_that_another_one_replaces_has_not_gone_down() {
        let mut ways = Ways::default();
        ways.hear(&peer(), &status(BfdState::Up, BfdState::Up, false), at(0));
        ways.begin_anew(&peer());
        ways.hear(&peer(), &status(BfdState::Down, BfdState::Down, false), at(1));
        assert_eq!(ways.held(at(1)), [].into());
    }

    #[test]
    fn what_a_former_speaker_held_is_released_in_the_same_way() {
        let mut ways = Ways::resumed([peer()].into(), at(0));
        assert_eq!((ways.held(at(29)).len(), ways.held(at(30)).len()), (1, 0));
        let mut ways = Ways::resumed([peer()].into(), at(0));
        ways.hear(&peer(), &status(BfdState::Up, BfdState::Up, false), at(1));
        assert_eq!(ways.held(at(1)), [].into());
        let mut ways = Ways::resumed([peer()].into(), at(0));
        ways.keep(&[].into());
        assert_eq!(ways.held(at(1)), [].into());
    }
}
