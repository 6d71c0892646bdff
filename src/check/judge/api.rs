//! The API server: whether it answers, what it allows, and whether it is reached through ourselves.

use hyper::Uri;

use super::super::{Facts, Finding};
use super::{error, warning};
use crate::config::Config;
use crate::model::Kind;
use crate::watch::kubernetes::inquiry::Inquiry;

const SUBJECT: &str = "API server";
const DIRECT: &str = "an address that works without vipcast";
const ROLE: &str = "apply the ClusterRole and its binding of deploy/";
const SERVER: &str = "set source.kubernetes.server to the API servers' own addresses";

pub(super) fn judge(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(api) = &facts.api else { return };
    let looped = !facts.processes.contains_key("kube-proxy") && api.remembered == 0 && is_behind_us(config, api);
    let url = api.given.first().map(|url| url.to_string().trim_end_matches('/').to_owned()).unwrap_or_default();
    match &api.answer {
        Err(why) if looped && !api.reached => findings.push(error(
            SUBJECT,
            format!(
                "{url}, which is a ClusterIP and does not answer ({why}): without kube-proxy it works only once vipcast \
                 serves it, and vipcast cannot serve it before it has read the API server"
            ),
            DIRECT,
            SERVER,
        )),
        Err(why) => findings.push(error(
            SUBJECT,
            why,
            "an API server that answers",
            "correct source.kubernetes or the credentials, or mend the way there",
        )),
        Ok(_) if looped => findings.push(warning(
            SUBJECT,
            format!(
                "{url}, which answers, but is a ClusterIP: without kube-proxy it works only while vipcast serves it, and \
                 after a reboot nothing does"
            ),
            DIRECT,
            SERVER,
        )),
        Ok(_) => {}
    }
    let Ok(rights) = &api.answer else { return };
    if !rights.denied.is_empty() {
        findings.push(error(
            SUBJECT,
            format!("{}, which does not allow: {}", rights.server, rights.denied.join(", ")),
            "leave to get our Node, and to list and watch Services, EndpointSlices, ServiceCIDRs and our Node",
            ROLE,
        ));
    }
    if rights.denied_events {
        findings.push(warning(
            SUBJECT,
            format!("{}, which does not allow: create events.events.k8s.io", rights.server),
            "leave to tell the owners of Services by Events what is wrong with them",
            ROLE,
        ));
    }
    if rights.denied_leases && config.settings.drain.fleet.is_some() {
        let namespace = &config.namespace;
        findings.push(warning(
            SUBJECT,
            format!(
                "{}, which does not allow to list, create and update leases.coordination.k8s.io in {namespace}",
                rights.server
            ),
            "leave to agree with the other LB nodes who may be drained; without, only --force drains this node",
            "apply the Role and its binding of deploy/, or set drain.fleet: off",
        ));
    }
    if rights.absent.contains(&Kind::ServiceCidr) && config.settings.cluster_ips.is_none() {
        findings.push(error(
            "ranges.clusterIPs",
            "none configured, and an API server without ServiceCIDR objects (Kubernetes has them since 1.33)",
            "the ClusterIP ranges from one or the other",
            "configure ranges.clusterIPs",
        ));
    }
}

/// Is the API server asked only at addresses that nobody but us can serve on this node?
fn is_behind_us(config: &Config, api: &Inquiry) -> bool {
    let is_vip = |url: &Uri| {
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let ranges = config.settings.cluster_ips.iter().flatten();
        host.parse().is_ok_and(|address| ranges.into_iter().any(|range| range.prefix.contains(address)))
    };
    api.in_cluster || (!api.given.is_empty() && api.given.iter().all(is_vip))
}
