//! What is known of each session: what gobgpd tells, and what follows from how that changed.
//!
//! gobgpd does not tell how often a session has ended, nor why: GoBGP counts only those that lived for less than 30 s, 3.10
//! shows not even that, and neither lets anybody see the reason. So both are worked out here.

use std::collections::BTreeMap;

use super::api::{Listed, Notifications};
use crate::model::bgp::{PeerName, Session, SessionState};

/// All sessions, for as long as the agent runs.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<PeerName, Known>);

/// One of them.
#[derive(Debug, Clone)]
struct Known {
    /// What was told last.
    session: Session,
    notifications: Notifications,
}

impl Tally {
    /// This is what gobgpd lists, told to somebody who knows nothing of it: all sessions.
    pub(super) fn begin(&mut self, listed: &BTreeMap<PeerName, Listed>) -> Vec<(PeerName, Session)> {
        self.look(listed);
        self.0.iter().map(|(name, known)| (name.clone(), known.session.clone())).collect()
    }

    /// This is what gobgpd lists. The sessions of which there is something to tell.
    pub(super) fn look(&mut self, listed: &BTreeMap<PeerName, Listed>) -> Vec<(PeerName, Session)> {
        self.0.retain(|name, _| listed.contains_key(name));
        let news = listed.iter().map(|(name, found)| (name.clone(), self.update(name, found, found.state)));
        news.filter_map(|(name, session)| Some((name, session?))).collect()
    }

    /// gobgpd told that a session came to this state, and lists this since. What there is to tell: each state counts, however
    /// soon it was followed by another one.
    pub(super) fn hear(&mut self, name: &PeerName, state: SessionState, found: Option<&Listed>) -> Option<Session> {
        // An event may be older than what is listed: then the session that it tells of is that one all the same.
        let goes_on = |found: &Listed| {
            let known = self.0.get(name).map(|known| &known.session);
            found.state == SessionState::Established
                && known.is_some_and(|known| known.is_established() && known.since == found.since)
        };
        match found {
            Some(found) if goes_on(found) => self.update(name, found, found.state),
            Some(found) => self.update(name, found, state),
            None => {
                // The last that is heard of a peer that was deleted.
                self.0.remove(name);
                None
            }
        }
    }

    fn update(&mut self, name: &PeerName, found: &Listed, state: SessionState) -> Option<Session> {
        let before = self.0.get(name);
        let now = Known { session: session(before, found, state), notifications: found.notifications };
        let is_news = before.is_none_or(|before| before.session != now.session);
        let session = is_news.then(|| now.session.clone());
        self.0.insert(name.clone(), now);
        session
    }
}

/// A session that has this state now.
fn session(before: Option<&Known>, found: &Listed, state: SessionState) -> Session {
    let flaps = before.map_or(0, |before| before.session.flaps);
    let before = before.filter(|before| !is_anew(before, found));
    // What is listed belongs to the state that is listed.
    let is_established = state == SessionState::Established && found.state == state;
    let was_established = before.is_some_and(|before| before.session.is_established());
    let was_since = before.and_then(|before| before.session.since);
    let is_another = is_established && was_since.is_some() && was_since != found.since;
    let has_ended = was_established && (state != SessionState::Established || is_another);
    let since = found.since.filter(|_| is_established);
    Session {
        state,
        reason: reason(before, found, has_ended).or_else(|| before?.session.reason.clone()),
        since: since.or(was_since.filter(|_| state == SessionState::Established && !is_established)),
        flaps: flaps + u32::from(has_ended),
        local_address: found.local_address.filter(|_| is_established),
        families: if is_established { found.families.clone() } else { Default::default() },
    }
}

/// Does gobgpd count anew? It does so when a peer is deleted and added, as when it is given another password, and then
/// nobody lost the session; and when an operator shuts a peer down, who ends it.
fn is_anew(before: &Known, found: &Listed) -> bool {
    let (before, now) = (before.notifications, found.notifications);
    found.shut.is_none() && (now.received < before.received || now.sent < before.sent)
}

/// Why there is no session, or why it or an attempt at one ended just now; `None` if none did.
fn reason(before: Option<&Known>, found: &Listed, has_ended: bool) -> Option<String> {
    if let Some(shut) = found.shut {
        return Some(shut.to_owned());
    }
    let Notifications { received, sent } = before?.notifications;
    let now = found.notifications;
    if now.received > received {
        Some("the peer ended it with a NOTIFICATION".to_owned())
    } else if now.sent > sent {
        Some("gobgpd ended it with a NOTIFICATION, as when nothing is heard for the hold time".to_owned())
    } else {
        has_ended.then(|| "the connection was lost".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;

    const OPEN: SessionState = SessionState::Established;

    fn name() -> PeerName {
        "192.0.2.1".parse().unwrap()
    }

    fn listed(state: SessionState, since: Option<i64>, received: u64, sent: u64) -> Listed {
        let is_established = state == OPEN;
        Listed {
            state,
            shut: None,
            since,
            local_address: is_established.then(|| "192.0.2.2".parse().unwrap()),
            families: if is_established { [Family::Ipv4].into() } else { [].into() },
            keeps_routes: false,
            notifications: Notifications { received, sent },
        }
    }

    /// What is told, in turn, of what is listed.
    fn told(listed: &[Listed]) -> Vec<(SessionState, Option<String>, Option<i64>, u32)> {
        let mut tally = Tally::default();
        let told = listed.iter().flat_map(|one| tally.look(&[(name(), one.clone())].into()));
        told.map(|(_, session)| (session.state, session.reason, session.since, session.flaps)).collect()
    }

    #[test]
    fn an_event_from_before_ends_no_session() {
        let mut tally = Tally::default();
        let up = listed(OPEN, Some(7), 0, 0);
        tally.begin(&[(name(), up.clone())].into());
        for state in [SessionState::OpenSent, SessionState::OpenConfirm, OPEN] {
            assert_eq!(tally.hear(&name(), state, Some(&up)), None, "{state}");
        }
        let another = listed(OPEN, Some(9), 0, 0);
        assert_eq!(tally.hear(&name(), SessionState::Idle, Some(&another)).map(|session| session.flaps), Some(1));
    }

    #[test]
    fn who_listens_anew_is_told_all_again() {
        let mut tally = Tally::default();
        let listed = [(name(), listed(OPEN, Some(7), 0, 0))].into();
        assert_eq!(tally.look(&listed).len(), 1);
        assert_eq!(tally.look(&listed).len(), 0);
        let told = tally.begin(&listed);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].1.state, told[0].1.since, told[0].1.flaps), (OPEN, Some(7), 0));
    }

    #[test]
    fn nothing_is_told_twice() {
        let one = listed(OPEN, Some(7), 0, 0);
        assert_eq!(told(&[one.clone(), one.clone(), one]), [(OPEN, None, Some(7), 0)]);
    }

    #[test]
    fn a_session_that_ended_is_counted_and_its_reason_found() {
        let up = listed(OPEN, Some(7), 1, 1);
        let down = |received, sent| listed(SessionState::Idle, None, received, sent);
        let shut = Listed { shut: Some("shut down"), ..down(0, 0) };
        for (end, reason) in [
            (down(2, 1), "the peer ended it with a NOTIFICATION"),
            (down(3, 2), "the peer ended it with a NOTIFICATION"),
            (down(1, 2), "gobgpd ended it with a NOTIFICATION, as when nothing is heard for the hold time"),
            (down(1, 1), "the connection was lost"),
            (shut, "shut down"),
        ] {
            let again = listed(OPEN, Some(9), end.notifications.received, end.notifications.sent);
            let reason = Some(reason.to_owned());
            let expected =
                [(OPEN, None, Some(7), 0), (SessionState::Idle, reason.clone(), None, 1), (OPEN, reason, Some(9), 1)];
            assert_eq!(told(&[up.clone(), end, again]), expected);
        }
    }

    #[test]
    fn a_peer_that_was_added_anew_has_lost_nothing() {
        let up = listed(OPEN, Some(7), 2, 0);
        for (received, sent) in [(0, 0), (1, 0), (0, 1)] {
            let [down, again] = [(SessionState::Idle, None), (OPEN, Some(9))]
                .map(|(state, since)| listed(state, since, received, sent));
            let expected = [(OPEN, None, Some(7), 0), (SessionState::Idle, None, None, 0), (OPEN, None, Some(9), 0)];
            assert_eq!(told(&[up.clone(), down, again.clone()]), expected);
            assert_eq!(told(&[up.clone(), again]), [expected[0].clone(), expected[2].clone()]);
        }
    }

    #[test]
    fn an_attempt_that_ends_has_a_reason_and_is_no_flap() {
        let idle = |sent| listed(SessionState::Idle, None, 0, sent);
        let found = told(&[idle(0), idle(1)]);
        assert_eq!(found.len(), 2);
        assert!(found[1].1.as_ref().unwrap().starts_with("gobgpd ended it with a NOTIFICATION"), "{found:?}");
        assert_eq!(found[1].3, 0);
    }

    #[test]
    fn an_end_between_two_looks_is_seen_by_the_time() {
        let found = told(&[listed(OPEN, Some(7), 0, 0), listed(OPEN, Some(8), 1, 0)]);
        let reason = Some("the peer ended it with a NOTIFICATION".to_owned());
        assert_eq!(found, [(OPEN, None, Some(7), 0), (OPEN, reason, Some(8), 1)]);
    }

    #[test]
    fn states_that_were_left_already_when_they_are_heard_of_count() {
        let mut tally = Tally::default();
        let idle = listed(SessionState::Idle, None, 0, 0);
        let open = listed(OPEN, Some(7), 0, 0);
        let again = listed(OPEN, Some(9), 0, 0);
        let mut hear = |state, found: &Listed| {
            let session = tally.hear(&name(), state, Some(found))?;
            Some((session.state, session.since, session.flaps, session.local_address.is_some()))
        };
        assert_eq!(hear(SessionState::Idle, &open), Some((SessionState::Idle, None, 0, false)));
        assert_eq!(hear(OPEN, &open), Some((OPEN, Some(7), 0, true)));
        assert_eq!(hear(SessionState::Idle, &again), Some((SessionState::Idle, None, 1, false)));
        assert_eq!(hear(OPEN, &again), Some((OPEN, Some(9), 1, true)));
        // Established is heard of late, when it has ended once more.
        assert_eq!(hear(SessionState::Idle, &idle), Some((SessionState::Idle, None, 2, false)));
        assert_eq!(hear(OPEN, &idle), Some((OPEN, None, 2, false)));
        assert_eq!(hear(SessionState::Idle, &idle), Some((SessionState::Idle, None, 3, false)));
    }

    #[test]
    fn a_peer_that_is_gone_is_forgotten() {
        let mut tally = Tally::default();
        let one = listed(SessionState::Idle, None, 0, 0);
        assert!(tally.hear(&name(), SessionState::Idle, Some(&one)).is_some());
        assert_eq!(tally.hear(&name(), SessionState::Idle, None), None);
        assert!(tally.hear(&name(), SessionState::Idle, Some(&one)).is_some());
        assert!(tally.look(&BTreeMap::new()).is_empty());
        assert_eq!(tally.look(&[(name(), one)].into()).len(), 1);
    }
}
