//! What the packet filter has to do for single virtual servers: which of them keep the client's address, which are
//! masqueraded though they lie in no masqueraded range, and who may use them.
//!
//! An element is in force before its virtual server is made or filled, since a client must not get through before the filter
//! is there, nor a reply go astray; it stays until the virtual server is gone.

use std::collections::BTreeSet;

use crate::model::Time;
use crate::model::ipvs::ServerKey;
use crate::model::nft::Elements;
use crate::model::settings::Snat;

use super::claims::Ask;
use super::memory::Key;
use super::planner::Planner;

impl Planner {
    /// Brings the wanted elements of `key` up to date with what is asked of it.
    pub(super) fn want_elements(&mut self, key: ServerKey) {
        let Some(ask) = self.ledger.ask(&key) else {
            if !self.actual.ipvs.contains_key(&key) {
                self.host.elements.forget(&key);
                // As long as not all was read, the virtual server of what an earlier run left may be there.
                let left = self.actual.nft.table.as_ref().filter(|_| !self.servers.adopted);
                self.host.elements.merge(left.map(|table| table.elements.about(&key)).unwrap_or_default());
            }
            return;
        };
        let wanted = self.elements_of(key, ask);
        // Whom an earlier run made it for may be among what could not be understood.
        if !self.is_blind() {
            self.host.elements.forget(&key);
        }
        self.host.elements.merge(wanted);
    }

    /// The table was read for the first time: what an earlier run put there for a virtual server stays as long as that one,
    /// unless somebody asks for something else. It is read, whoever it belongs to by the configuration of today.
    pub(super) fn adopt_elements(&mut self) {
        let Some(found) = self.actual.nft.table.as_ref().map(|table| table.elements.clone()) else { return };
        let keys: BTreeSet<ServerKey> =
            [&found.keep, &found.masquerade].into_iter().flatten().chain(found.sources.keys()).copied().collect();
        self.host.elements.merge(found);
        for key in keys {
            if self.ledger.ask(&key).is_some() {
                self.want_elements(key);
            }
            self.servers.to_read.insert(key);
        }
    }

    fn elements_of(&self, key: ServerKey, ask: &Ask) -> Elements {
        let mut elements = Elements::default();
        let snat = self.settings.dataplane.snat;
        elements.keep.extend(Some(key).filter(|_| snat != Snat::None && ask.filter.keep));
        // The classic rule masquerades all that IPVS forwards.
        let in_range = self.ranges.covering(key.address).is_some_and(|range| range.is_whole());
        elements.masquerade.extend(Some(key).filter(|_| snat == Snat::Nftables && !in_range));
        elements.sources.extend(ask.filter.sources.iter().map(|sources| (key, (**sources).clone())));
        elements
    }

    /// The virtual server `key` has to wait until the packet filter was written. Where that fails, it is reported as failed
    /// itself, so that nothing else waits for it.
    pub(super) fn wait_for_filter(&mut self, key: ServerKey, now: Time) {
        match self.memory.failure(&Key::Table) {
            Some(failure) => {
                let reason = format!("it waits for the packet filter: {}", failure.reason);
                self.memory.failed(Key::Server(key), reason, false, now);
            }
            None => {
                self.servers.unfiltered.insert(key);
            }
        }
    }

    /// Is what is wanted of the packet filter for `key` in force?
    pub(super) fn is_filtered(&self, key: &ServerKey) -> bool {
        let there = self.actual.nft.table.as_ref().map(|table| table.elements.about(key));
        self.host.elements.about(key) == there.unwrap_or_default()
    }
}
