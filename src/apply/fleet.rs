//! The fleet's Leases (`coordination.k8s.io/v1`): by them LB nodes agree who may leave. `slots` says what they mean.
//!
//! No two nodes slip out at once: whoever is to leave first takes a slot, which the API server lets one node only have (a
//! create, or an update of the version that was read), and then reads all Leases again. Of two nodes that take the last two
//! slots, each has written before it reads, so one of them at least sees the other, and gives its slot back.

mod slots;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};
use tracing::warn;

use self::slots::{ABSENCE, Held, PRESENCE, Ruling, View, presence};
use crate::model::fleet::{Stance, Standing, Verdict};
use crate::plan::Change;
use crate::watch::kubernetes::words;

/// The label of all Leases of a fleet, with its name.
const LABEL: &str = "vipcast.io/fleet";

/// How often a node says how it stands.
const RENEWAL: Duration = Duration::from_secs(10);

/// The pause before a node asks again whether it may leave, at least; what is added keeps nodes from asking in step.
const AGAIN: Duration = Duration::from_millis(1000);

/// How long an answer of the API server is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node of a fleet, and its way to the API server.
#[derive(Clone)]
pub struct Member {
    /// The API server.
    pub client: Client,
    /// Where the Leases are.
    pub namespace: String,
    /// This node's name.
    pub node: String,
}

/// Says how the node stands, and asks whether it may leave, for as long as anybody listens. A fleet that it is no longer in
/// has no Lease of it.
pub async fn keep(member: Member, mut wanted: Receiver<Option<Standing>>, changes: Sender<Change>) {
    let mut trouble = None;
    // The fleet whose Leases may name this node.
    let mut joined: Option<Standing> = None;
    loop {
        let told = wanted.borrow_and_update().clone();
        let mut pause = None;
        let is_left = |former: &&Standing| told.as_ref().is_none_or(|told| told.fleet != former.fleet);
        let left = joined.as_ref().filter(is_left).map(absent);
        let leaves = left.is_some();
        let standing = left.or(told);
        if let Some(standing) = standing {
            let result = timeout(PATIENCE, member.stand(&standing)).await;
            let result = result
                .unwrap_or_else(|_| Err(format!("the API server does not answer within {} s", PATIENCE.as_secs())));
            let failed = result.clone().err();
            if let Some(reason) = failed.as_ref().filter(|_| failed != trouble) {
                warn!("the Leases of the fleet {}: {reason}; trying again", standing.fleet);
            }
            trouble = failed;
            pause = match standing.stance {
                Stance::Asking => Some(AGAIN + jitter()),
                Stance::Absent if trouble.is_none() => leaves.then_some(Duration::ZERO),
                Stance::Absent | Stance::Present | Stance::Away => Some(RENEWAL),
            };
            if standing.stance == Stance::Asking {
                let verdict = result.unwrap_or_else(Verdict::Unknown);
                if changes.send(Change::Fleet(verdict)).await.is_err() {
                    return;
                }
            }
            let is_gone = leaves && trouble.is_none();
            joined = (!is_gone).then_some(standing);
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}

/// That of a node which is no part of the fleet any more.
fn absent(former: &Standing) -> Standing {
    Standing { stance: Stance::Absent, serves: false, ..former.clone() }
}

/// Up to half a second, another one each time.
fn jitter() -> Duration {
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    Duration::from_millis(u64::from(nanoseconds / 1000 % 500))
}

impl Member {
    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes the Leases say what `standing` does. Only to who asks the answer means anything.
    async fn stand(&self, standing: &Standing) -> Result<Verdict, String> {
        let fleet = &standing.fleet;
        let leases = self.list(fleet).await?;
        let here = presence(fleet, &self.node);
        let holder = standing.serves.then_some(self.node.as_str());
        match standing.stance {
            Stance::Absent | Stance::Present => {
                let is_written = self.hold(&leases, fleet, &here, holder, PRESENCE).await?;
                if self.release(&leases, fleet).await? && is_written {
                    Ok(Verdict::Granted)
                } else {
                    Err("somebody else wrote to the Lease of this node".to_owned())
                }
            }
            Stance::Asking => {
                self.hold(&leases, fleet, &here, holder, PRESENCE).await?;
                self.ask(&leases, standing).await
            }
            Stance::Away => {
                let held = self.held(&leases);
                let view = self.view(fleet, &held);
                let slot = view.own_slots().into_iter().next().unwrap_or_else(|| view.free_slot());
                self.hold(&leases, fleet, &slot, Some(&self.node), ABSENCE).await?;
                self.hold(&leases, fleet, &here, None, PRESENCE).await?;
                Ok(Verdict::Granted)
            }
        }
    }

    /// May this node leave? If so, it has a slot.
    async fn ask(&self, leases: &[Lease], standing: &Standing) -> Result<Verdict, String> {
        let Standing { fleet, max_unavailable, .. } = standing;
        let slot = match self.view(fleet, &self.held(leases)).ruling(*max_unavailable) {
            Ruling::Has(slot) | Ruling::May(slot) => slot,
            Ruling::No(reason) => {
                self.release(leases, fleet).await?;
                return Ok(Verdict::Refused(reason));
            }
        };
        if !self.hold(leases, fleet, &slot, Some(&self.node), ABSENCE).await? {
            return Ok(Verdict::Unknown("another LB node asks at the same time".to_owned()));
        }
        // Whoever took another slot meanwhile, or before this one could be seen, counts now.
        let leases = self.list(fleet).await?;
        match self.view(fleet, &self.held(&leases)).ruling(*max_unavailable) {
            Ruling::Has(_) => Ok(Verdict::Granted),
            Ruling::May(_) => Ok(Verdict::Unknown("another LB node took the place of this one".to_owned())),
            Ruling::No(reason) => {
                self.release(&leases, fleet).await?;
                Ok(Verdict::Refused(reason))
            }
        }
    }

    fn view<'a>(&'a self, fleet: &'a str, leases: &'a [Held]) -> View<'a> {
        View { fleet, node: &self.node, leases, now: Timestamp::now().as_second() }
    }

    fn held(&self, leases: &[Lease]) -> Vec<Held> {
        leases.iter().filter_map(held).collect()
    }

    /// All Leases of the fleet, as the API server has them now, whatever its cache says.
    async fn list(&self, fleet: &str) -> Result<Vec<Lease>, String> {
        let wanted = ListParams::default().labels(&format!("{LABEL}={fleet}"));
        let listed = self.api().list(&wanted).await;
        listed.map(|list| list.items).map_err(|error| words::request(&error))
    }

    /// Gives back all slots that this node has; false if somebody else was faster with one.
    async fn release(&self, leases: &[Lease], fleet: &str) -> Result<bool, String> {
        let mut is_written = true;
        for slot in self.view(fleet, &self.held(leases)).own_slots() {
            is_written &= self.hold(leases, fleet, &slot, None, ABSENCE).await?;
        }
        Ok(is_written)
    }

    /// Makes `holder` the holder of the Lease `name` for so many seconds, if it is still as it is among `leases`; false if
    /// somebody else was faster. What nobody has and nobody is to have stays as it is.
    async fn hold(
        &self,
        leases: &[Lease],
        fleet: &str,
        name: &str,
        holder: Option<&str>,
        seconds: i64,
    ) -> Result<bool, String> {
        let known = leases.iter().find(|lease| lease.metadata.name.as_deref() == Some(name));
        let former = known.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let former_holder = former.holder_identity.as_deref().filter(|holder| !holder.is_empty());
        if holder.is_none() && former_holder.is_none() {
            return Ok(true);
        }
        let now = MicroTime(Timestamp::now());
        let is_new = former_holder != holder;
        let spec = LeaseSpec {
            // An empty holder is what the API server takes for none.
            holder_identity: Some(holder.unwrap_or_default().to_owned()),
            lease_duration_seconds: i32::try_from(seconds).ok(),
            acquire_time: if is_new { Some(now.clone()) } else { former.acquire_time },
            renew_time: Some(now),
            lease_transitions: Some(former.lease_transitions.unwrap_or_default() + i32::from(is_new)),
            ..LeaseSpec::default()
        };
        let labels = [(LABEL.to_owned(), fleet.to_owned())].into();
        let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        let api = self.api();
        let written = match known {
            Some(known) => {
                let version = known.metadata.resource_version.clone();
                let metadata = ObjectMeta { resource_version: version, ..metadata };
                api.replace(name, &PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
            }
            None => api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await,
        };
        match written {
            Ok(_) => Ok(true),
            // 409, AlreadyExists or Conflict.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(words::request(&error)),
        }
    }
}

/// What of a Lease matters.
fn held(lease: &Lease) -> Option<Held> {
    let spec = lease.spec.as_ref()?;
    let renewed = spec.renew_time.as_ref().map_or(0, |time| time.0.as_second());
    Some(Held {
        name: lease.metadata.name.clone()?,
        holder: spec.holder_identity.clone().filter(|holder| !holder.is_empty()),
        until: renewed + i64::from(spec.lease_duration_seconds.unwrap_or_default()),
    })
}
