//! The API server behind its own ClusterIP, on a node without kube-proxy: only the agent serves the address at which it
//! looks for what to serve.

use std::net::IpAddr;

use vipcast_lab::apiserver::{ApiServer, ControlPlane, Credential, Programs, ServerOptions, Unavailable};

use super::*;

const PLANE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/agent/plane/plane.clab.yml");
/// The first address of the Services' range: the ClusterIP of `default/kubernetes`.
const VIP: &str = "https://10.96.0.1:443";
const PORT: u16 = 6443;
/// An API server takes a minute to start on an emulated machine.
const LONG: Duration = Duration::from_secs(300);
const ALONE: &str = "kubernetes: {kubeconfig: kubeconfig}";
const WITH_SERVER: &str = "kubernetes: {kubeconfig: kubeconfig, server: \"https://10.0.1.11:6443\"}";

/// One boot of the servers for all steps: each costs a minute.
#[test]
fn the_api_server_can_be_behind_its_own_cluster_ip() -> Result<()> {
    if !require_ipvs() {
        return Ok(());
    }
    let programs = match Programs::find()? {
        Ok(programs) => programs,
        Err(Unavailable(reason)) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED kernel: the API server behind its ClusterIP: {reason}");
            return Ok(());
        }
    };
    on_lab(PLANE, |node| {
        let plane = ControlPlane::start(&programs, Some(&node.lab.node("plane").netns().path()))?;
        let first = serve(&plane, [10, 0, 1, 11])?;
        let kubeconfig = node.machine().path("etc/vipcast/kubeconfig");
        fs::copy(first.kubeconfig(VIP, &Credential::Admin)?, &kubeconfig)?;

        nothing_is_touched_before_the_first_list(node)?;
        a_configured_server_breaks_the_loop(node, &programs)?;
        the_adopted_vip_serves_a_restart(node)?;
        remembered_endpoints_serve_a_start(node)?;

        let second = serve(&plane, [10, 0, 1, 12])?;
        endpoints_are_followed(node, &programs, &first, &second)
    })
}

fn serve(plane: &ControlPlane, address: [u8; 4]) -> Result<ApiServer> {
    let address = IpAddr::from(address);
    let options = ServerOptions {
        bind: address,
        port: Some(PORT),
        advertise: Some(address),
        patience: LONG,
        ..Default::default()
    };
    plane.serve(options)
}

fn remembered(node: &Node) -> String {
    fs::read_to_string(node.machine().path("run/vipcast/apiservers")).unwrap_or_default()
}

/// What an API server answers at its ClusterIP, asked on the node by kubectl.
fn ask_at_vip(node: &Node, programs: &Programs) -> Result<String> {
    let kubeconfig = node.machine().path("etc/vipcast/kubeconfig");
    let command = node.machine().command(programs.kubectl()).arg("--kubeconfig").arg(kubeconfig);
    Ok(command.args(["get", "--raw", "/readyz"]).run()?.stdout)
}

/// The destinations of the API servers' virtual server.
fn destinations(node: &Node) -> Result<Vec<String>> {
    let table = node.sh("ipvsadm -Sn")?;
    let of_vip = table.lines().filter(|line| line.starts_with("-a -t 10.96.0.1:443 "));
    let mut found: Vec<String> = of_vip.filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect();
    found.sort();
    Ok(found)
}

fn nothing_is_touched_before_the_first_list(node: &mut Node) -> Result<()> {
    let before = node.sh("ip -4 route show table all; nft list ruleset; ipvsadm -Sn")?;
    node.launch()?;
    wait_for(PATIENCE, "trouble that names the address", || {
        let (code, reasons) = node.ask("/readyz")?;
        Ok(if code == 503 && reasons.contains(VIP) { Ok(()) } else { Err((code, reasons)) })
    })?;
    let after = node.sh("ip -4 route show table all; nft list ruleset; ipvsadm -Sn")?;
    ensure!(before == after, "{before}\n{after}");
    let said = node.vipcast(&["check"])?.ended(3)?;
    ensure!(said.stdout.contains("source.kubernetes.server"), "{said:#?}");
    ensure!(said.stdout.contains("https://10.96.0.1:443, which is a ClusterIP and does not answer"), "{said:#?}");
    let said = node.vipcast(&["plan"])?.ended(1)?;
    ensure!(said.stderr.contains("nothing can be planned") && said.stderr.contains(VIP), "{said:#?}");
    node.kill()
}

fn a_configured_server_breaks_the_loop(node: &mut Node, programs: &Programs) -> Result<()> {
    node.configure(ALONE, WITH_SERVER)?;
    node.start()?;
    ensure!(destinations(node)? == ["10.0.1.11:6443"], "{}", node.sh("ipvsadm -Sn")?);
    ensure!(ask_at_vip(node, programs)? == "ok");
    ensure!(remembered(node) == "10.0.1.11:6443\n", "{}", remembered(node));
    node.configure(WITH_SERVER, ALONE)
}

/// What the kernel holds is enough, even if nothing was remembered.
fn the_adopted_vip_serves_a_restart(node: &mut Node) -> Result<()> {
    node.kill()?;
    fs::remove_file(node.machine().path("run/vipcast/apiservers"))?;
    let before = node.ours()?;
    let start = node.log().len();
    node.start()?;
    let log = node.log();
    ensure!(log[start..].contains(&format!("API server answers address={VIP}")), "{}", &log[start..]);
    ensure!(node.steps(start).is_empty(), "{:#?}", node.steps(start));
    ensure!(node.ours()? == before);
    ensure!(remembered(node) == "10.0.1.11:6443\n", "{}", remembered(node));
    Ok(())
}

/// As after somebody emptied the kernel: nobody serves the ClusterIP.
fn remembered_endpoints_serve_a_start(node: &mut Node) -> Result<()> {
    node.kill()?;
    node.vipcast(&["cleanup"])?.ended(0)?;
    ensure!(destinations(node)?.is_empty());
    let start = node.log().len();
    node.start()?;
    let log = node.log();
    ensure!(log[start..].contains("API server answers address=https://10.0.1.11:6443"), "{}", &log[start..]);
    ensure!(destinations(node)? == ["10.0.1.11:6443"]);
    Ok(())
}

fn endpoints_are_followed(node: &mut Node, programs: &Programs, first: &ApiServer, second: &ApiServer) -> Result<()> {
    let wait = |expected: &[&str]| {
        wait_for(LONG, &format!("the API servers {expected:?}"), || {
            let found = (destinations(node)?, remembered(node));
            let lines: String = expected.iter().map(|endpoint| format!("{endpoint}\n")).collect();
            Ok(if found.0 == expected && found.1 == lines { Ok(()) } else { Err(found) })
        })
    };
    wait(&["10.0.1.11:6443", "10.0.1.12:6443"])?;
    first.stop()?;
    wait(&["10.0.1.12:6443"])?;
    ensure!(ask_at_vip(node, programs)? == "ok");
    // The agent goes on at the second one, by itself.
    second.kubectl(&["create", "service", "clusterip", "late", "--clusterip=10.96.7.7", "--tcp=80:80"], "")?;
    wait_for(LONG, "the new Service", || {
        let (_, status) = node.ask("/status")?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        Ok(if status["services"]["total"] == 2 { Ok(()) } else { Err(status["source"].clone()) })
    })?;
    node.wait_until_ready()
}
