//! The configuration changes while the agent runs.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use vipcast::model::bgp::{Community, Peer};
use vipcast::model::settings::PeerEntry;
use vipcast::model::{Family, Settings};
use vipcast::plan::{Change, Report, Step};

use super::{any_gobgpd, cases};
use crate::support::build::ip;
use crate::support::rig::Rig;
use crate::support::world::{Setup, World, any_setup, any_world};

/// `setup` with another set of peers and other attributes, such as an edit makes; gobgpd stays as it is.
fn edited(before: &Settings, Setup(mut settings): Setup, peers: &[(&str, u64)], communities: &[u32]) -> Settings {
    let exclusive = before.bgp.as_ref().is_none_or(|bgp| bgp.exclusive);
    if let Some(bgp) = &mut settings.bgp {
        bgp.exclusive = exclusive;
        bgp.attributes.communities = communities.iter().map(|number| Community(*number)).collect();
        let entry = |(address, hold): &(&str, u64)| {
            let peer = Peer::new(65000, [Family::of(ip(address))]);
            PeerEntry::new(ip(address), Peer { hold_time: Duration::from_secs(*hold), ..peer })
        };
        bgp.peers = peers.iter().map(entry).collect();
    }
    settings
}

fn any_peers() -> impl Strategy<Value = Vec<(&'static str, u64)>> {
    let hold = || select(vec![9, 9, 9, 30]);
    (hold(), hold(), hold(), any::<bool>()).prop_map(|(one, other, third, has_third)| {
        let all = vec![("10.0.1.1", one), ("fd01::1", other), ("10.0.1.9", third)];
        all.into_iter().take(if has_third { 3 } else { 2 }).collect()
    })
}

/// Performs a few passes and no more.
fn turn(rig: &mut Rig, passes: usize) {
    for _ in 0..passes {
        for step in rig.planner.plan(rig.now).steps {
            let report = Report { outcome: rig.node.perform_one(&step), step };
            rig.change(Change::Report(report));
        }
    }
}

proptest! {
    #![proptest_config(cases(48))]

    /// Whatever the settings become and whenever, what comes of it is what an agent wants that starts with them; and peers
    /// that are in both as they were stay as they are.
    #[test]
    fn other_settings_lead_to_where_an_agent_starts_with_them(
        Setup(before) in any_gobgpd(),
        after in any_setup(),
        peers in any_peers(),
        communities in prop::collection::vec(1_u32..4, 0..3),
        world in any_world(),
        passes in prop_oneof![2 => Just(None), 1 => (0_usize..12).prop_map(Some)],
    ) {
        let after = edited(&before, after, &peers, &communities);
        let mut rig = Rig::new(before.clone());
        rig.tell_all(world.list_all());
        match passes {
            Some(passes) => turn(&mut rig, passes),
            None => drop(rig.run()),
        }
        let was = rig.node.state.bgp.clone().unwrap_or_default();
        rig.change(Change::Settings(Box::new(after.clone())));
        let steps: Vec<Step> = rig.run().into_iter().flat_map(|stage| stage.steps).collect();
        let is = rig.node.state.bgp.clone().unwrap_or_default();
        if passes.is_none() && was.global == is.global {
            for (name, peer) in was.peers.iter().filter(|(name, peer)| is.peers.get(*name) == Some(*peer)) {
                let touches = |step: &&Step| match step {
                    Step::AddPeer(other, _) | Step::DeletePeer(other) => other == name,
                    Step::StartBgp(_) | Step::StopBgp => true,
                    _ => false,
                };
                prop_assert_eq!(steps.iter().find(touches), None, "{} {:?}", name, peer);
            }
        }
        starts_at_rest(&after, &rig, &world)?;
    }
}

/// A new agent with `settings` finds nothing to do on the node of `rig`.
fn starts_at_rest(settings: &Settings, rig: &Rig, world: &World) -> Result<(), TestCaseError> {
    let mut fresh = Rig::on(settings.clone(), rig.node.clone());
    fresh.tell_all(world.list_all());
    let steps = fresh.steps();
    prop_assert!(steps.is_empty(), "{steps:#?}");
    Ok(())
}
