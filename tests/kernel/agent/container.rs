//! The agent and the speaker with the rights that their containers get in `deploy/`: read from the manifests, and made up
//! from a mount namespace, a PID namespace and setpriv(1), as a container runtime does it.

use std::path::Path;

use serde_json::Value;

use super::*;

/// Becomes a container: RUNTIME_DIR is all that can be written to, of `/proc` what runtimes leave open, and of the
/// capabilities those in BOUNDING_SET.
const CONTAINER: &str = r#"
    runtime=$1 bounding=$2
    shift 2
    mount --bind "$runtime" "$runtime"
    for path in sys sysrq-trigger bus fs irq; do
        mount --bind /proc/$path /proc/$path && mount -o remount,bind,ro /proc/$path
    done
    # Network namespaces are mounts, too, and no files.
    while read -r _ _ _ _ point _ rest; do
        case "$point $rest" in
            "$runtime "* | /proc\ * | /proc/* | *"- nsfs "*) ;;
            # What another mount hides cannot be reached anyhow.
            *) mount -o remount,bind,ro "$point" 2>/dev/null || true ;;
        esac
    done </proc/self/mountinfo
    exec setpriv --bounding-set "$bounding" --inh-caps -all --ambient-caps -all --no-new-privs "$@"
"#;

/// The rights of a container.
struct Rights {
    /// Its capabilities, without `CAP_`, in lower case.
    capabilities: Vec<String>,
}

impl Rights {
    /// Those of the container `name` in a manifest of `deploy/`. Whatever this file could not imitate is refused.
    fn of(manifest: &str, name: &str) -> Result<Rights> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(manifest);
        let manifest: Value = serde_saphyr::from_str(&fs::read_to_string(&file)?)?;
        let pod = &manifest["spec"]["template"]["spec"];
        let containers = ["containers", "initContainers"].map(|key| pod[key].as_array().cloned().unwrap_or_default());
        let container = containers.into_iter().flatten().find(|container| container["name"] == name);
        let mut context =
            container.with_context(|| format!("{} has no {name}", file.display()))?["securityContext"].take();
        let added = context["capabilities"]["add"].take();
        let expected = serde_json::json!({
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsUser": 0,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        if let Some(capabilities) = context["capabilities"].as_object_mut() {
            capabilities.remove("add");
        }
        ensure!(context == expected, "{name} has the security context {context:#}");
        let names = added.as_array().cloned().unwrap_or_default();
        let capabilities = names.iter().filter_map(Value::as_str).map(str::to_lowercase).collect();
        Ok(Rights { capabilities })
    }

    /// As setpriv(1) takes them.
    fn bounding_set(&self) -> String {
        self.capabilities.iter().fold("-all".to_owned(), |set, capability| format!("{set},+{capability}"))
    }
}

impl Node {
    /// A command in a container that has `rights`.
    fn contained(&self, rights: &Rights, program: &str) -> vipcast_lab::netns::NsCommand<'_> {
        let machine = self.machine();
        let command = machine.command("unshare").args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command
            .args(["sh", "-euc", CONTAINER, "container"])
            .arg(machine.path("run/vipcast"))
            .arg(rights.bounding_set())
            .arg(program)
    }

    /// Starts one of our two in a container, with more log than the manifests ask for.
    fn start_contained(&self, name: &str, rights: &Rights, arguments: &[&str]) -> Result<Daemon> {
        let config = self.machine().path("etc/vipcast/config.yaml");
        let command = self.contained(rights, VIPCAST).args(["--log-level", "info,vipcast::daemon=debug", "--config"]);
        self.machine().spawn_daemon(name, command.arg(config).args(arguments))
    }

    /// Prepares the node with all rights, as the init container does; what it said.
    fn prepare(&self) -> Result<String> {
        Ok(self.vipcast(&["prepare"])?.ended(0)?.stdout)
    }

    /// Makes the node ready for containers: a peer with a password, a listener for probes, the folder that they share.
    fn furnish(&self) -> Result<()> {
        let machine = self.machine();
        fs::write(machine.path("etc/vipcast/tor.password"), "hunter2\n")?;
        let peers = BGP.replace("asn: 65000}, ", "asn: 65000, passwordFile: tor.password}, ");
        self.configure("resync: 1h", &format!("resync: 1s\nadmin: {{metrics: 9181}}{peers}"))?;
        Ok(fs::create_dir_all(machine.path("run/vipcast"))?)
    }
}

fn agents() -> Result<Rights> {
    Rights::of("base/daemonset.yaml", "agent")
}

/// The status code of a GET of `path` on an address of the node's; an error where nobody listens.
fn get(node: &Node, address: &str, path: &str) -> Result<u16> {
    node.machine().run(|| {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        answer.split(' ').nth(1).context("a status line")?.parse().context("a number")
    })?
}

#[test]
fn what_the_manifests_grant_is_enough() -> Result<()> {
    on_node(|node| {
        node.furnish()?;
        let said = node.prepare()?;
        for expected in ["module ip_vs: there\n", "net/ipv4/vs/conntrack = 1, was 0\n", "\nprepared\n"] {
            ensure!(said.contains(expected), "no {expected:?} in {said}");
        }
        let again = node.prepare()?;
        ensure!(!again.contains("was") && again.contains("net/ipv4/vs/conntrack = 1\n"), "{again}");

        let split = Rights::of("overlays/split/speaker.yaml", "speaker")?;
        let sidecar = Rights::of("components/sidecar/speaker.yaml", "speaker")?;
        // For the probe of the data plane, and for BFD on a busy node.
        ensure!(split.capabilities == ["net_raw", "sys_nice"], "{:?}", split.capabilities);
        ensure!(split.capabilities == sidecar.capabilities, "{:?}", sidecar.capabilities);
        let _speaker = node.start_contained("speaker", &split, &["speaker"])?;
        node.agent = Some(node.start_contained("vipcast", &agents()?, &["run", "--no-speaker"])?);
        node.wait_until_ready()?;
        ensure!(node.ours()?.contains("10.96.200.1:53"), "{}", node.ours()?);
        let written = node.steps(0);
        ensure!(written.iter().any(|step| step.contains("announce")), "{written:#?}");
        ensure!(!written.iter().any(|step| step.contains("net/")), "what is right is not written: {written:#?}");
        let log = fs::read_to_string(node.machine().path("run/vipcast/gobgpd.log"))?;
        ensure!(!log.to_lowercase().contains("permi"), "{log}");

        // The kubelet comes by the node's address; a VIP shows nobody our listener.
        ensure!(get(node, "10.0.1.2:9181", "/livez")? == 200 && get(node, "[fd00:1::2]:9181", "/readyz")? == 200);
        ensure!(get(node, "10.0.1.2:9181", "/status")? == 404);
        ensure!(get(node, "10.96.0.10:9181", "/livez").is_err(), "the guard refuses");

        // What cannot be mended from in here says who can.
        node.sh("echo 0 > /proc/sys/net/ipv4/ip_forward")?;
        wait_for(PATIENCE, "the refusal", || {
            let (_, status) = node.ask("/status")?;
            Ok(if status.contains("read-only") && status.contains("vipcast prepare") { Ok(()) } else { Err(status) })
        })?;
        ensure!(node.prepare()?.contains("net/ipv4/ip_forward = 1, was 0"));
        wait_for(PATIENCE, "an agent without failures", || {
            let (_, status) = node.ask("/status")?;
            Ok(if status.contains("\"failures\":[]") { Ok(()) } else { Err(status) })
        })?;
        node.wait_until_ready()
    })
}

#[test]
fn what_the_manifests_grant_is_needed() -> Result<()> {
    on_node(|node| {
        node.furnish()?;
        node.prepare()?;
        let rights = agents()?;
        ensure!(!rights.capabilities.is_empty());
        // This node's peers have addresses: without router advertisements it lacks nothing.
        for less in rights.capabilities.iter().filter(|capability| *capability != "net_raw") {
            let others = rights.capabilities.iter().filter(|capability| **capability != *less).cloned().collect();
            let agent = node.start_contained("vipcast", &Rights { capabilities: others }, &["run", "--no-speaker"])?;
            wait_for(PATIENCE, &format!("a failure without {less}"), || {
                ensure!(agent.ended()?.is_none(), "{}", agent.log());
                Ok(match node.ask("/status") {
                    Ok((_, status)) if status.contains("not permitted") => Ok(()),
                    other => Err(format!("{other:?}")),
                })
            })?;
            ensure!(node.ask("/readyz")?.0 == 503);
            agent.kill()?;
        }
        Ok(())
    })
}

#[test]
fn the_size_of_the_connection_table_is_fixed_at_load() -> Result<()> {
    on_node(|node| {
        let found = node.sh("cat /sys/module/ip_vs/parameters/conn_tab_bits")?.trim().to_owned();
        let wanted = if found == "19" { "18" } else { "19" };
        node.configure("resync: 1h", &format!("resync: 1h\ndataplane: {{connTabBits: {wanted}}}"))?;
        let warning =
            format!("WARNING: conn_tab_bits of module ip_vs is {found}, and dataplane.connTabBits is {wanted}: boot");
        let said = node.prepare()?;
        ensure!(said.contains(&warning), "no {warning:?} in {said}");
        let answer: Value = serde_json::from_str(&node.vipcast(&["check", "-o", "json"])?.stdout)?;
        let warnings = answer["warnings"].as_array().context("warnings")?;
        let of_table = |finding: &&Value| finding["subject"] == "parameter conn_tab_bits of module ip_vs";
        let finding = warnings.iter().find(of_table).with_context(|| format!("{answer:#}"))?;
        ensure!(finding["found"] == found.as_str(), "{finding:#}");
        Ok(())
    })
}

#[test]
fn a_container_of_these_tests_is_one() -> Result<()> {
    on_node(|node| {
        node.furnish()?;
        let sh = |line: &str| {
            let output = node.contained(&agents()?, "sh").args(["-ec", line]).output()?;
            anyhow::Ok(Said::from(output))
        };
        let status = sh("cat /proc/self/status")?.ended(0)?.stdout;
        // NET_ADMIN and NET_RAW (include/uapi/linux/capability.h).
        for line in ["CapEff:\t0000000000003000", "CapBnd:\t0000000000003000", "NoNewPrivs:\t1"] {
            ensure!(status.contains(line), "no {line:?} in {status}");
        }
        sh(&format!("touch {}/x", node.machine().path("run/vipcast").display()))?.ended(0)?;
        for file in ["/x", "/etc/x", "/tmp/x", "/run/x", "/var/x", "/dev/shm/x"] {
            let said = sh(&format!("touch {file}"))?.ended(1)?;
            ensure!(said.stderr.contains("Read-only file system"), "{said:#?}");
        }
        let said = sh("echo 1 > /proc/sys/net/ipv4/ip_forward")?;
        ensure!(said.code != Some(0) && said.stderr.contains("Read-only file system"), "{said:#?}");
        Ok(())
    })
}
