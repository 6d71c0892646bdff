//! Connections end well, with packets: a client, the agent's node, and two pods behind it.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use vipcast_lab::traffic::{LongLived, Port, Server, request_tcp, tcp};

use super::*;

const DRAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/agent/drain/drain.clab.yml");
const WEB: &str = "10.96.0.10:80";
const DNS: &str = "10.96.0.53:53";
/// How the first pod's line ends in a slice while it is ready, and while it is listed only.
const READY: &str = "{addresses: [10.244.1.2], conditions: {ready: true}}";
const NOT_READY: &str = "{addresses: [10.244.1.2], conditions: {ready: false}}";

/// Runs `test` with servers in both pods.
fn on_pods(test: impl FnOnce(&mut Node) -> Result<()>) -> Result<()> {
    if !require_ipvs() {
        return Ok(());
    }
    on_lab(DRAIN, |node| {
        let worker = node.lab.node("worker").netns();
        let mut servers = Vec::new();
        for (name, address) in [("one", [10, 244, 1, 2]), ("two", [10, 244, 1, 3])] {
            let address = IpAddr::from(address);
            servers.push(Server::start(worker, name, address, Port::Tcp(8080))?);
            servers.push(Server::start(worker, name, address, Port::Udp(5353))?);
        }
        test(node)
    })
}

/// Changes a manifest.
fn edit(node: &Node, file: &str, from: &str, to: &str) -> Result<()> {
    let file = node.machine().path("etc/vipcast/cluster").join(file);
    let text = fs::read_to_string(&file)?;
    ensure!(text.contains(from), "{from:?} is not in {text}");
    Ok(fs::write(&file, text.replace(from, to))?)
}

/// Waits until the weight of the pod `one` behind [`WEB`] is this; `None`: until it is gone.
fn wait_for_weight(node: &Node, expected: Option<u32>) -> Result<()> {
    wait_for(PATIENCE, &format!("the weight {expected:?}"), || {
        let table = node.sh("ipvsadm -Sn")?;
        let line = table.lines().find(|line| line.contains(&format!("-t {WEB} -r 10.244.1.2:8080 ")));
        let weight = line.and_then(|line| line.split("-w ").nth(1)?.trim().parse::<u32>().ok());
        Ok(if weight == expected { Ok(()) } else { Err(table) })
    })
}

fn open(node: &Node) -> Result<LongLived> {
    let client = node.lab.node("client").netns();
    let load = LongLived::start(client, WEB.parse()?, 4, Duration::from_millis(50), PATIENCE)?;
    let pods: Vec<&str> = load.connections().iter().map(|answer| answer.pod.as_str()).collect();
    ensure!(pods.contains(&"one") && pods.contains(&"two"), "{pods:?}");
    Ok(load)
}

/// Each of the open connections goes on.
fn goes_on(load: &LongLived) -> Result<()> {
    let before = load.exchanged();
    wait_for(PATIENCE, "lines that come back", || {
        let count = load.exchanged() - before;
        Ok(if count >= 20 { Ok(()) } else { Err(count) })
    })?;
    ensure!(load.broken().is_empty(), "{:#?}", load.broken());
    Ok(())
}

fn pods_of_new_connections(node: &Node) -> Result<Vec<String>> {
    let tally = tcp(node.lab.node("client").netns(), WEB.parse()?, 16, PATIENCE)?;
    ensure!(tally.failures.is_empty(), "{:#?}", tally.failures);
    Ok(tally.by_pod().into_keys().collect())
}

#[test]
fn connections_of_a_removed_destination_go_on_and_a_returning_one_takes_more() -> Result<()> {
    on_pods(|node| {
        node.start()?;
        let load = open(node)?;
        for _ in 0..2 {
            edit(node, "web.yaml", READY, NOT_READY)?;
            wait_for_weight(node, Some(0))?;
            goes_on(&load)?;
            ensure!(pods_of_new_connections(node)? == ["two"]);
            edit(node, "web.yaml", NOT_READY, READY)?;
            wait_for_weight(node, Some(1))?;
            goes_on(&load)?;
            ensure!(pods_of_new_connections(node)? == ["one", "two"]);
        }
        ensure!(!node.steps(0).iter().any(|step| step.contains("delete destination")), "{:#?}", node.steps(0));

        edit(node, "web.yaml", READY, NOT_READY)?;
        wait_for_weight(node, Some(0))?;
        ensure!(load.stop().is_empty());
        edit(node, "web.yaml", &format!("  - {NOT_READY}\n"), "")?;
        wait_for_weight(node, None)
    })
}

#[test]
fn a_restart_in_the_middle_of_a_drain_goes_on_and_breaks_nothing() -> Result<()> {
    on_pods(|node| {
        node.start()?;
        let load = open(node)?;
        edit(node, "web.yaml", READY, NOT_READY)?;
        wait_for_weight(node, Some(0))?;
        let start = node.restart()?;
        goes_on(&load)?;
        edit(node, "web.yaml", NOT_READY, READY)?;
        wait_for_weight(node, Some(1))?;
        goes_on(&load)?;
        let steps = node.steps(start);
        ensure!(steps == [format!("set destination 10.244.1.2:8080 weight 1 of {WEB} TCP")], "{steps:#?}");
        Ok(())
    })
}

/// What is refused is refused at once: none of so many attempts in a row waits for an answer.
#[test]
fn a_deleted_service_keeps_its_connections_and_refuses_others() -> Result<()> {
    on_pods(|node| {
        node.start()?;
        let load = open(node)?;
        fs::remove_file(node.machine().path("etc/vipcast/cluster/web.yaml"))?;
        wait_for_weight(node, Some(0))?;
        let target = WEB.parse()?;
        for _ in 0..50 {
            let error = node.lab.node("client").run(|| request_tcp(target, PATIENCE))?.err();
            let error = format!("{:#}", error.context("a connection to a Service that is gone")?);
            ensure!(error.contains("refused"), "{error}");
        }
        goes_on(&load)?;
        ensure!(load.stop().is_empty());
        wait_for(PATIENCE, "the virtual server's end", || {
            let (servers, table) = (node.sh("ipvsadm -Sn")?, node.sh("nft list table inet vipcast")?);
            let gone = !servers.contains(WEB) && !table.contains("10.96.0.10");
            Ok(if gone { Ok(()) } else { Err((servers, table)) })
        })
    })
}

/// A UDP client that keeps its socket.
struct Asker(UdpSocket);

impl Asker {
    fn new(node: &Node) -> Result<Asker> {
        let target: SocketAddr = DNS.parse()?;
        let socket = node.lab.node("client").run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(target)?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            std::io::Result::Ok(socket)
        })??;
        Ok(Asker(socket))
    }

    /// The answer to one datagram: the pod, and the client that it saw.
    fn ask(&self) -> Result<(String, String)> {
        self.0.send(b"who?\n")?;
        let mut buffer = [0; 512];
        let count = self.0.recv(&mut buffer).context("no answer")?;
        let text = String::from_utf8_lossy(&buffer[..count]).trim_end().to_owned();
        let (pod, seen) = text.split_once(' ').context("an answer")?;
        Ok((pod.to_owned(), seen.to_owned()))
    }
}

#[test]
fn a_udp_flow_moves_at_once_when_its_endpoint_goes_and_others_stay() -> Result<()> {
    on_pods(|node| {
        node.start()?;
        let askers = [Asker::new(node)?, Asker::new(node)?];
        let mut first: Vec<_> = askers.iter().map(Asker::ask).collect::<Result<_>>()?;
        let at = first.iter().position(|(pod, _)| pod == "one").context("a flow to the first pod")?;
        let (_, stays) = (first.remove(at), first.remove(0));
        ensure!(stays.0 == "two", "{stays:?}");
        edit(node, "dns.yaml", READY, NOT_READY)?;
        let forgotten = format!("forget flows to {DNS} UDP that 10.244.1.2:5353 answers");
        wait_for(PATIENCE, &forgotten, || {
            let steps = node.steps(0);
            Ok(if steps.contains(&forgotten) { Ok(()) } else { Err(steps) })
        })?;
        ensure!(askers[at].ask()?.0 == "two");
        ensure!(askers[1 - at].ask()? == stays, "the other flow is as it was");
        Ok(())
    })
}

/// The flow's packets were forwarded, and tracked as what they were, before there was a virtual server.
#[test]
fn a_udp_flow_that_began_before_the_service_is_served_once_it_is_there() -> Result<()> {
    on_pods(|node| {
        node.sh("echo 1 > /proc/sys/net/ipv4/ip_forward
                 nft add table ip other
                 nft add chain ip other tracked '{ type filter hook forward priority 0; }'
                 nft add rule ip other tracked ct state new counter accept")?;
        let asker = Asker::new(node)?;
        asker.0.send(b"who?\n")?;
        wait_for(PATIENCE, "the flow", || {
            let flows = node.sh("conntrack -L -p udp")?;
            Ok(if flows.contains("src=10.96.0.53") { Ok(()) } else { Err(flows) })
        })?;
        node.start()?;
        let served = wait_for(PATIENCE, "an answer", || Ok(asker.ask().map_err(|error| format!("{error:#}"))))?;
        ensure!(served.1.starts_with("10.0.1.2:"), "{served:?}");
        let steps = node.steps(0);
        ensure!(steps.contains(&format!("forget flows to {DNS} UDP that {DNS} answers")), "{steps:#?}");
        Ok(())
    })
}

#[test]
fn timeouts_are_set_and_seen() -> Result<()> {
    on_node(|node| {
        node.start()?;
        let found = node.sh("ipvsadm -L --timeout")?;
        ensure!(found.trim_end().ends_with("7500 120 120"), "{found}");
        let start = node.restart()?;
        wait_for(PATIENCE, "the timeouts in the status", || {
            let (_, status) = node.ask("/status")?;
            let status: serde_json::Value = serde_json::from_str(&status)?;
            let expected = serde_json::json!({"tcp": 7500, "tcpFin": 120, "udp": 120});
            Ok(if status["ipvs"]["timeouts"] == expected { Ok(()) } else { Err(status["ipvs"].clone()) })
        })?;
        ensure!(node.steps(start).is_empty(), "{:#?}", node.steps(start));
        Ok(())
    })
}
