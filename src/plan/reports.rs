//! What the planner learns from reports: what was done is believed, what was read is known, and what is in doubt is read
//! before it is planned again.

use std::collections::BTreeSet;

use crate::model::Time;
use crate::model::ipvs::ServerKey;

use super::books::Part;
use super::enact::enact;
use super::memory::{Failure, Key};
use super::news::News;
use super::planner::{Planner, server_of};
use super::step::{HostReading, Observation, Outcome, Report, Step, Target};

impl Planner {
    pub(super) fn on_report(&mut self, report: Report, now: Time) {
        self.note_reading(&report);
        let Report { step, outcome } = report;
        let key = step.key();
        self.memory.returned(&key);
        match outcome {
            Outcome::Done => self.on_done(&step, now),
            Outcome::Read(observation) => {
                self.on_observation(&step, observation, now);
                if step == Step::ReadHost && !self.host.unread.is_empty() {
                    let reasons: Vec<&str> = self.host.unread.values().map(String::as_str).collect();
                    self.memory.failed(key, reasons.join("; "), false, now);
                } else {
                    self.memory.forget(&key);
                }
            }
            Outcome::Drifted(reason) => {
                self.look_again(&step, now);
                if !self.follows_failed_creation(&step) {
                    self.memory.failed(key.clone(), reason.clone(), false, now);
                    // Once in a while the world is not as believed; several times in a row, somebody should know.
                    if self.memory.failure(&key).is_some_and(Failure::begins_to_last) {
                        self.news.push(News::Failed { step: step.clone(), reason });
                    }
                }
            }
            Outcome::Refused(reason) => {
                if step.is_read() {
                    self.look_again(&step, now);
                }
                self.fail(&step, reason, true, now);
                // Stale flows end by themselves, later.
                if let Key::Flows(..) = key {
                    self.memory.forget(&key);
                }
            }
            // It may have been done all the same.
            Outcome::Later(reason) => {
                self.look_again(&step, now);
                self.fail(&step, reason, false, now);
            }
        }
        if let Step::AddDestination(server, name, _)
        | Step::SetDestination(server, name, _)
        | Step::DeleteDestination(server, name) = &step
        {
            self.servers.drains.written(server, name);
        }
        if let Some(server) = server_of(&step) {
            self.settle(server);
        }
        if step.key() == Key::Table {
            self.servers.todo.append(&mut self.servers.unfiltered);
        }
        if let Step::Announce(prefix, _) | Step::Withdraw(prefix) | Step::SetRoute(prefix, _) = step
            && prefix.is_host()
        {
            self.speaker.vips.insert(prefix.address());
        }
    }

    /// A try failed; it is news if the last one did not fail in the same way.
    pub(super) fn fail(&mut self, step: &Step, reason: String, refused: bool, now: Time) {
        let key = step.key();
        if self.memory.failure(&key).is_none_or(|failure| failure.reason != reason) {
            self.news.push(News::Failed { step: step.clone(), reason: reason.clone() });
        }
        self.memory.failed(key, reason, refused, now);
    }

    /// Was the step to fill a virtual server that could not be made? Whatever came of it, that failure is the one that
    /// counts: what is there is not the one that was to be filled.
    fn follows_failed_creation(&self, step: &Step) -> bool {
        let creates = matches!(step, Step::AddServer(..));
        server_of(step).is_some_and(|server| !creates && !self.actual.ipvs.contains_key(&server))
    }

    /// A step for `server` came back; with the last one, the virtual server is compared again.
    fn settle(&mut self, server: ServerKey) {
        let left = self.servers.busy.get(&server).map_or(0, |count| count - 1);
        if left > 0 {
            self.servers.busy.insert(server, left);
            return;
        }
        self.servers.busy.remove(&server);
        self.servers.todo.insert(server);
        self.touch_vip(server.address);
    }

    fn on_done(&mut self, step: &Step, now: Time) {
        match step.target() {
            _ if step.key().is_host() => {
                enact(&mut self.actual, step);
                self.host.fresh = false;
                self.host.wanted = true;
                // Whether a failure is over, the reading tells.
                self.host.done.insert(step.key(), step.clone());
                if step.target() == Target::Nft {
                    self.servers.todo.extend(&self.host.elements.draining);
                }
            }
            Target::Ipvs => {
                self.note_flows(step);
                if !self.follows_failed_creation(step) {
                    enact(&mut self.actual, step);
                    self.memory.forget(&step.key());
                }
                if let Some(server) = server_of(step) {
                    match step {
                        Step::DeleteServer(_) => self.servers.unread.remove(&server),
                        _ => self.servers.unread.insert(server),
                    };
                }
            }
            Target::Sysctl | Target::Addr | Target::Nft | Target::Connections => self.memory.forget(&step.key()),
            Target::Bgp => {
                // Whether sending again helped, a reading tells.
                if !matches!(step, Step::Resend(_)) {
                    self.memory.forget(&step.key());
                }
                self.count_repair(step);
                // A report can come in after gobgpd went away: it tells nothing of the next one.
                if self.actual.bgp.is_some() {
                    enact(&mut self.actual, step);
                }
            }
        }
        match step {
            Step::DeleteRoute(prefix) => {
                self.host.lingering.remove(prefix);
            }
            Step::Withdraw(prefix) => {
                self.speaker.ours.remove(prefix);
                self.speaker.withdrawn.insert(*prefix, now);
                self.servers.held_until = Some(Time::ZERO);
                self.audit([*prefix]);
                let (peers, cause) = (self.hearers(*prefix), self.cause_told(step));
                self.news.push(News::Withdrawn { prefix: *prefix, peers, cause });
            }
            Step::Announce(prefix, path) => {
                self.speaker.withdrawn.remove(prefix);
                self.speaker.wide.extend(Some(*prefix).filter(|prefix| !prefix.is_host()));
                self.audit([*prefix]);
                if prefix.is_host() {
                    let since = self.speaker.changed.remove(&prefix.address());
                    self.speaker.latencies.extend(since.map(|since| now - since));
                }
                let (peers, cause) = (self.hearers(*prefix), self.cause_told(step));
                self.news.push(News::Announced { prefix: *prefix, path: path.clone(), peers, cause });
            }
            Step::SetExports(_) => {
                self.audit_all();
                self.tell_speaker_changed(step);
            }
            Step::AddPeer(..) | Step::DeletePeer(_) | Step::RejectImports(_) => self.tell_speaker_changed(step),
            Step::Resend(peer) => self.on_resent(peer),
            Step::StartBgp(_) => self.touch_all_vips(),
            Step::StopBgp => {
                self.speaker.wanted = true;
                self.speaker.dark = now;
            }
            _ => {}
        }
    }

    /// The world was not as believed, or may not be: what the step is about is read before it is planned again.
    fn look_again(&mut self, step: &Step, now: Time) {
        match step {
            Step::ListServers => self.servers.listing_wanted = true,
            // It is wanted again when its time comes.
            Step::ReadServer(key) => drop(self.servers.reading.remove(key)),
            Step::ReadSent(peer, prefixes) => self.read_sent_again(peer, prefixes),
            Step::ReadSpeaker => {
                self.speaker.wanted = true;
                self.speaker.stale = false;
            }
            _ if *step == Step::ReadHost || step.key().is_host() => {
                self.host.wanted = true;
                self.host.fresh = false;
            }
            _ => match step.target() {
                // Flows are forgotten when their time comes.
                Target::Sysctl | Target::Addr | Target::Nft | Target::Connections => {}
                Target::Ipvs => self.servers.to_read.extend(server_of(step)),
                Target::Bgp => self.lose_sight(now),
            },
        }
    }

    fn on_observation(&mut self, step: &Step, observation: Observation, now: Time) {
        match observation {
            Observation::Host(reading) => self.on_host(*reading, now),
            Observation::Servers(found) => {
                let ours = found.into_keys().filter(|key| self.owns_server(key)).collect::<BTreeSet<_>>();
                self.servers.to_read.extend(ours);
                // The kernel's dumps can skip: what is missing from one is looked up by itself.
                self.servers.to_read.extend(self.actual.ipvs.keys().copied());
                self.servers.listed = true;
            }
            Observation::Server(found, connections) => {
                let Step::ReadServer(key) = step else { return };
                self.servers.drains.counted(key, found.as_ref(), &connections, now);
                self.servers.reading.remove(key);
                if self.servers.unread.remove(key) && self.actual.ipvs.get(key) != found.as_ref() {
                    let reason = "what was written to it did not last".to_owned();
                    self.memory.failed(Key::Server(*key), reason, false, now);
                }
                match found {
                    Some(server) => self.actual.ipvs.insert(*key, server),
                    None => self.actual.ipvs.remove(key),
                };
                self.servers.todo.insert(*key);
                self.touch_vip(key.address);
            }
            Observation::Traffic(traffic) => self.on_traffic(traffic, now),
            Observation::Sent(None) => {
                // The end of the session is about to be told, if it did not begin anew meanwhile.
                if let Step::ReadSent(name, prefixes) = step {
                    self.read_sent_again(name, prefixes);
                }
            }
            Observation::Sent(Some(found)) => {
                if let (Step::ReadSent(name, prefixes), Some(actual)) = (step, &mut self.actual.bgp) {
                    let sent = actual.sent.entry(name.clone()).or_default();
                    prefixes.iter().for_each(|prefix| drop(sent.remove(prefix)));
                    sent.extend(found);
                    self.on_sent(name, prefixes, now);
                }
            }
            Observation::Speaker(found) => {
                let stale = std::mem::take(&mut self.speaker.stale);
                if stale || self.speaker.down.is_some() {
                    self.speaker.wanted = true;
                    return;
                }
                let mut found = *found;
                let is_ours = |prefix| self.owns_path(prefix) || self.speaker.ours.contains(&prefix);
                let (ours, foreign) = found.paths.into_iter().partition(|(prefix, _)| is_ours(*prefix));
                found.paths = ours;
                for sent in found.sent.values_mut() {
                    sent.retain(|prefix, _| is_ours(*prefix));
                }
                self.note_drift(&found);
                self.speaker.foreign = foreign;
                self.speaker.ours = found.paths.keys().copied().collect();
                let known = self.actual.bgp.as_ref().map(|bgp| &bgp.paths);
                if known.is_none_or(|paths| paths.keys().any(|prefix| !found.paths.contains_key(prefix))) {
                    self.speaker.dark = now;
                }
                self.speaker.wide = found.paths.keys().copied().filter(|prefix| !prefix.is_host()).collect();
                self.actual.bgp = Some(found);
                self.audit_reading(now);
                self.touch_all_vips();
                self.servers.held_until = Some(Time::ZERO);
            }
        }
    }

    fn on_host(&mut self, reading: HostReading, now: Time) {
        let HostReading { sysctls, addr, nft, timeouts, host } = reading;
        let unread = std::mem::take(&mut self.host.unread);
        self.take(Part::Sysctls, sysctls, |planner, value| {
            if planner.host.found.is_empty() {
                planner.host.found = value.clone();
            }
            planner.actual.sysctls = value;
        });
        self.take(Part::Addr, addr, |planner, value| planner.actual.addr = value);
        let nft_known = self.host.known.contains(&Part::Nft);
        self.take(Part::Nft, nft, |planner, value| planner.actual.nft = value);
        if !nft_known {
            self.adopt_elements();
        }
        self.servers.todo.extend(&self.host.elements.draining);
        self.servers.todo.append(&mut self.servers.unfiltered);
        self.take(Part::Timeouts, timeouts, |planner, value| planner.actual.timeouts = value);
        self.take(Part::Facts, host, |planner, value| planner.host.facts = Some(value));
        // What was told while the reading was under way is not in it.
        self.host.fresh = self.host.unread.is_empty() && !self.host.wanted;
        if self.host.unread.is_empty() {
            self.host.proof = std::mem::take(&mut self.host.done);
        }
        for (part, reason) in &self.host.unread {
            if unread.get(part) != Some(reason) {
                self.news.push(News::Unreadable { part: part.name(), reason: reason.clone() });
            }
        }
        self.derive_ranges(now);
        self.touch_routes();
    }

    fn take<T>(&mut self, part: Part, value: Result<T, String>, store: impl FnOnce(&mut Planner, T)) {
        match value {
            Ok(value) => {
                store(self, value);
                self.host.known.insert(part);
            }
            Err(reason) => {
                self.host.unread.insert(part, reason);
            }
        }
    }
}
