//! Who gets a route of its own inside an aggregate. Switches have room for few such routes, so there is a budget
//! (`bgp.maxSpecifics`), and whoever is older comes first. All Services that want one are counted, whether they have
//! endpoints on this node or not: every node has to admit the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::ServiceKey;

/// A VIP that wants a route of its own: when its Service was created, the Service, the VIP.
type Applicant = (i64, ServiceKey, IpAddr);

/// The VIPs that want routes of their own inside aggregates, oldest first, and which of them get one.
#[derive(Debug, Clone, Default)]
pub(super) struct Specifics {
    limit: usize,
    admitted: BTreeSet<Applicant>,
    waiting: BTreeSet<Applicant>,
    /// For whom each VIP applies.
    owners: BTreeMap<IpAddr, (i64, ServiceKey)>,
}

impl Specifics {
    /// So many are admitted from now on. Answers with the VIPs for which that makes a difference.
    pub(super) fn set_limit(&mut self, limit: usize) -> Vec<(ServiceKey, IpAddr)> {
        self.limit = limit;
        self.level()
    }

    /// `vip` wants a route of its own on behalf of `owner`, or none any more. Answers with the VIPs that are admitted or
    /// turned away because of that, `vip` apart.
    pub(super) fn apply(&mut self, vip: IpAddr, owner: Option<(i64, ServiceKey)>) -> Vec<(ServiceKey, IpAddr)> {
        if self.owners.get(&vip) == owner.as_ref() {
            return Vec::new();
        }
        if let Some((created, service)) = self.owners.remove(&vip) {
            let applicant = (created, service, vip);
            self.admitted.remove(&applicant);
            self.waiting.remove(&applicant);
        }
        if let Some((created, service)) = owner {
            self.owners.insert(vip, (created, service.clone()));
            self.admitted.insert((created, service, vip));
        }
        let mut moved = self.level();
        moved.retain(|(_, moved)| *moved != vip);
        moved
    }

    /// Is `vip` one that wants a route of its own and gets none?
    pub(super) fn is_waiting(&self, vip: IpAddr) -> bool {
        let owner = self.owners.get(&vip).cloned();
        owner.is_some_and(|(created, service)| self.waiting.contains(&(created, service, vip)))
    }

    /// How many are admitted, and how many are not.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.admitted.len(), self.waiting.len())
    }

    /// How many may be admitted.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Puts the oldest before all others, and as many as there is room for in. Answers with those that moved.
    fn level(&mut self) -> Vec<(ServiceKey, IpAddr)> {
        let mut moved: BTreeSet<Applicant> = BTreeSet::new();
        while self.admitted.len() > self.limit {
            let Some(youngest) = self.admitted.pop_last() else { break };
            self.waiting.insert(youngest.clone());
            moved.insert(youngest);
        }
        while self.admitted.len() < self.limit {
            let Some(oldest) = self.waiting.pop_first() else { break };
            self.admitted.insert(oldest.clone());
            moved.insert(oldest);
        }
        // Only who has just come can be behind those who wait.
        while let (Some(last), Some(first)) = (self.admitted.last().cloned(), self.waiting.first().cloned())
            && first < last
        {
            self.admitted.remove(&last);
            self.waiting.remove(&first);
            self.admitted.insert(first.clone());
            self.waiting.insert(last.clone());
            moved.extend([first, last]);
        }
        moved.into_iter().map(|(_, service, vip)| (service, vip)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(n: u8) -> IpAddr {
        [10, 96, 0, n].into()
    }

    fn shop(name: &str) -> ServiceKey {
        ServiceKey::new("shop", name)
    }

    fn waiting(specifics: &Specifics) -> Vec<u8> {
        (0..=255).filter(|n| specifics.is_waiting(vip(*n))).collect()
    }

    #[test]
    fn the_oldest_come_first() {
        let mut specifics = Specifics::default();
        specifics.set_limit(2);
        /// Created, name, VIP; who has to wait then, and who moved because of it.
        type Case<'a> = (Option<(i64, &'a str)>, u8, &'a [u8], &'a [u8]);

        let steps: [Case; 9] = [
            (Some((5, "b")), 1, &[], &[]),
            (Some((5, "c")), 2, &[], &[]),
            (Some((6, "a")), 3, &[3], &[]),
            (Some((4, "z")), 4, &[2, 3], &[2]),
            (Some((5, "a")), 5, &[1, 2, 3], &[1]),
            // One Service, two VIPs.
            (Some((5, "a")), 6, &[1, 2, 3, 6], &[]),
            (None, 4, &[1, 2, 3], &[6]),
            (None, 7, &[1, 2, 3], &[]),
            // The VIP goes to another Service.
            (Some((9, "d")), 5, &[2, 3, 5], &[1]),
        ];
        for (owner, number, wait, moved) in steps {
            let owner = owner.map(|(created, name)| (created, shop(name)));
            let found: Vec<IpAddr> =
                specifics.apply(vip(number), owner.clone()).into_iter().map(|(_, vip)| vip).collect();
            assert_eq!(waiting(&specifics), wait, "{owner:?} {number}");
            assert_eq!(found, moved.iter().map(|n| vip(*n)).collect::<Vec<_>>(), "{owner:?} {number}");
        }
        assert_eq!(specifics.counts(), (2, 3));
    }

    #[test]
    fn the_limit_moves() {
        let mut specifics = Specifics::default();
        for n in 1..=4 {
            specifics.apply(vip(n), Some((i64::from(n), shop("a"))));
        }
        assert_eq!(waiting(&specifics), [1, 2, 3, 4], "none before there is a limit");
        assert_eq!(specifics.set_limit(3).len(), 3);
        assert_eq!(waiting(&specifics), [4]);
        assert_eq!(specifics.set_limit(1), [(shop("a"), vip(2)), (shop("a"), vip(3))]);
        assert_eq!(waiting(&specifics), [2, 3, 4]);
    }
}
