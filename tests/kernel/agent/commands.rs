//! `plan` and `status` without an agent, and configurations that are refused.

use super::*;

#[test]
fn a_plan_beside_virtual_servers_made_by_hand_changes_nothing() -> Result<()> {
    on_node(|node| {
        node.sh("ipvsadm -A -t 10.96.0.10:80 -s wlc; ipvsadm -a -t 10.96.0.10:80 -r 10.244.1.2:8080 -m
                 ipvsadm -A -u 10.96.5.5:53 -s rr; ipvsadm -A -t 192.0.2.1:80 -s rr
                 ip link add kube-dummy-if type dummy; ip addr add 10.96.0.10/32 dev kube-dummy-if")?;
        let look = || {
            node.sh("ipvsadm -Sn; nft list ruleset; ip route show table all; ip -6 route show table all; ip -o link
                     cut -d' ' -f1 /proc/modules; cat /proc/sys/net/ipv4/ip_forward; iptables-save | sed /^#/d")
        };
        let before = look()?;
        let said = node.vipcast(&["plan"])?.ended(0)?.stdout;
        for expected in [
            "set virtual server 10.96.0.10:80 TCP to rr",
            "add destination 10.244.1.3:8080 weight 1 to 10.96.0.10:80 TCP",
            "delete virtual server 10.96.5.5:53 UDP",
            "add virtual server [fd00:10:96::10]:80 TCP rr",
            "set local route 10.96.0.0/16 src 10.0.1.2",
            "Nothing was changed.",
        ] {
            ensure!(said.contains(expected), "no {expected:?} in {said}");
        }
        ensure!(!said.contains("192.0.2.1") && !said.contains("destination 10.244.1.2:8080"), "{said}");
        let json = node.vipcast(&["plan", "--exit-code", "-o", "json"])?.ended(3)?.stdout;
        let document: serde_json::Value = serde_json::from_str(&json)?;
        ensure!(document["changes"] == true && document["summary"]["addr"] == 3, "{document:#}");
        ensure!(document["stages"][0]["steps"][0]["target"].is_string(), "{document:#}");

        let said = node.vipcast(&["status"])?.ended(3)?.stdout;
        ensure!(said.starts_with("No agent runs with this configuration"), "{said}");
        let json = node.vipcast(&["status", "-o", "json"])?.ended(3)?.stdout;
        let answer: serde_json::Value = serde_json::from_str(&json)?;
        ensure!(answer["agent"] == false && answer["ipvs"]["virtualServers"] == 2, "{answer:#}");
        ensure!(look()? == before, "{}\n{before}", look()?);

        // What was planned is what an agent does, and afterwards nothing is left to plan.
        node.start()?;
        let planned = document["summary"].as_object().context("a summary")?.values();
        let planned: u64 = planned.filter_map(serde_json::Value::as_u64).sum();
        node.wait_for_steps(0, usize::try_from(planned)?).map(drop)
    })
}

#[test]
fn a_bad_configuration_is_one_line_and_exit_code_1() -> Result<()> {
    on_node(|node| {
        node.configure("resync: 1h", "resync: never")?;
        for command in ["run", "plan", "status", "cleanup"] {
            let said = node.vipcast(&[command])?.ended(1)?;
            let line = said.stderr.trim_end();
            ensure!(!line.contains('\n') && said.stdout.is_empty(), "{said:#?}");
            for expected in ["vipcast: ", "config.yaml", "8", "resync", "never"] {
                ensure!(line.contains(expected), "no {expected:?} in {line}");
            }
        }
        Ok(())
    })
}

#[test]
fn without_manifests_nothing_can_be_planned_and_that_is_no_success() -> Result<()> {
    on_node(|node| {
        node.configure("manifests: cluster/", "manifests: nowhere/")?;
        let said = node.vipcast(&["plan"])?.ended(1)?;
        ensure!(said.stdout.is_empty() && said.stderr.contains("nothing can be planned"), "{said:#?}");
        ensure!(said.stderr.contains("nowhere"), "{said:#?}");
        Ok(())
    })
}
