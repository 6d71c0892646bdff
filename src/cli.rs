//! The command line.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::config::{self, Config};
use crate::plan::Asked;
use crate::speaker::SpeakerOptions;
use crate::{check, daemon, prepare};

mod agent;
mod drain;
pub mod explain;
mod output;
pub mod plan;
mod speaker;
pub mod status;
mod switch_config;
mod table;

pub use output::{Output, show};
pub use switch_config::SwitchConfig;

/// vipcast turns a Kubernetes node into a load balancer that the racks' switches can see: it programs IPVS for every
/// Service's VIP, and announces the ClusterIP range over BGP.
///
/// Exit codes: 0 done; 1 failed, a bad configuration included; 2 wrong usage; 3 the answer is "no".
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "vipcast", version, max_term_width = 100)]
pub struct Cli {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "VIPCAST_CONFIG",
        default_value = "/etc/vipcast/vipcast.yaml"
    )]
    pub config: PathBuf,

    /// How log lines are written to standard error.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Which log lines are written: error, warn, info, debug or trace; or by module, such as
    /// info,vipcast::apply=debug.
    #[arg(long, global = true, value_name = "LEVEL", env = "RUST_LOG", default_value = "info", value_parser = log_level)]
    pub log_level: String,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the agent: program the kernel, announce the routes, follow every change.
    ///
    /// On SIGTERM or SIGINT it does what `shutdown` says. keep, the default with source.kubernetes: leaves everything as it
    /// is. withdraw, the default with manifests: withdraws its routes and waits until peers had time to hear it; the data
    /// plane stays. drain: the same after the node was drained (see `drain`); if it cannot be spared, it keeps. Whatever
    /// `shutdown` says, a node that shuts down withdraws, and one whose Node was deleted or has not the labels of
    /// nodeSelector any more is drained and removes all that is ours. A second signal ends it at once.
    /// gobgpd and its parent, the speaker, outlive it; the next agent finds them.
    Run {
        /// Do not start a speaker: it runs as a service or container of its own.
        #[arg(long)]
        no_speaker: bool,
    },
    /// Run the speaker: it holds what is announced, whatever becomes of the agent.
    ///
    /// It is gobgpd's parent, unless that is somebody else's, and starts it again when it ends; it speaks BFD; and it holds
    /// the announcement lease, which the agent renews: when nothing proves the data plane any more, it withdraws. `run` starts
    /// one by itself. As a unit or container of its own it keeps BGP sessions apart from all that happens to the agent. On
    /// SIGTERM it ends all sessions; on SIGHUP it runs its program anew in its own place, and no session notices.
    Speaker {
        /// Only say whether it could start with this configuration: exits with 0 if so, else with 1 and the reason.
        #[arg(long)]
        check: bool,
    },
    /// Get this node ready for an agent: load kernel modules with their parameters, and set kernel parameters.
    ///
    /// For an agent that has not the rights to do so by itself, as in a container that is not privileged. Prints what it
    /// found and what it set; run again, it changes nothing. `check` says what it cannot mend.
    Prepare,
    /// Show what `run` would change now, in stages, and change nothing, not even by loading a module.
    ///
    /// Can be used beside a running agent, and beside kube-router, kube-proxy or virtual servers made by hand. With
    /// --exit-code, exits with 3 if there is a difference.
    Plan {
        /// As if this node had the labels of nodeSelector: what it would take over once it has.
        ///
        /// Peers and ranges with selectors of their own go by the labels that the node has.
        #[arg(long)]
        as_lb_node: bool,
        /// Exit with 3 if there is a difference.
        #[arg(long)]
        exit_code: bool,
        /// How the answer is written.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show the running agent's view; without an agent, what the kernel and gobgpd hold of ours.
    ///
    /// Peers with the state of their sessions and how many of the desired routes gobgpd sends them, routes with their
    /// attributes, Services with problems, what fails. Exits with 3 if the node is not ready.
    Status {
        /// Look again and again, until Ctrl-C, which ends it with 0.
        ///
        /// A terminal is drawn anew each time; elsewhere only what changed is printed, with the time, and as JSON one
        /// document a line. It goes on while the agent is started anew.
        #[arg(short, long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "2s",
            value_parser = status::interval)]
        watch: Option<Duration>,
        /// How the answer is written.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Say what becomes of packets to a VIP or a Service, and why, link by link.
    ///
    /// Service, endpoints, virtual server, destinations with weights and connections, local route, SNAT, guard,
    /// announcement, and what each peer was sent, each with a verdict: ok; -- rightly not on this node; .. is being seen to;
    /// !! wrong, with the reason and what to do. Virtual servers are read anew for the answer. Exits with 3 if something is
    /// wrong or waits.
    Explain {
        /// VIP, VIP:PORT, VIP:PORT/PROTOCOL or NAMESPACE/SERVICE.
        #[arg(value_name = "VIP[:PORT]|NAMESPACE/SERVICE")]
        of: Asked,
        /// How the answer is written.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Let this node leave without a new connection that fails, as for an upgrade.
    ///
    /// The other LB nodes are asked first (drain.maxUnavailable, and the last one stays); then the routes get the community
    /// GRACEFUL_SHUTDOWN, and go when no new connection comes any more; what the switch goes on sending here gets drain.deadline
    /// to end. It lasts over restarts of the agent, until `undrain`. Exits with 3 if the node cannot be spared.
    Drain {
        /// Wait until this node can be spared, and then until nothing depends on it; tell how far it is.
        ///
        /// Ctrl-C ends the waiting and not the draining, which `vipcast undrain` takes back.
        #[arg(long)]
        wait: bool,
        /// Ask nobody: the node leaves whatever becomes of the others.
        #[arg(long)]
        force: bool,
    },
    /// Take `drain` back: the routes return as soon as the data plane is proved.
    ///
    /// Exits with 3 if something else drains the node: the annotation vipcast.io/drain, a taint, a label that is missing.
    Undrain {
        /// Wait until the routes are out.
        #[arg(long)]
        wait: bool,
    },
    /// Confirm what the agent holds since it could not believe it, such as that most endpoints are gone.
    Confirm,
    /// Remove what vipcast owns, and only that: routes first, then what they promised; and stop the speaker.
    ///
    /// Refuses while an agent runs. Kernel parameters stay as they are and are printed.
    Cleanup,
    /// Say whether this node is ready to run vipcast.
    ///
    /// Looks at the kernel, its modules and parameters, at this process's rights, at programs and at addresses, and for
    /// others that would be in the way: kube-proxy, another user of IPVS, another BGP speaker, a host firewall. Changes
    /// nothing and loads no module. Exits with 0 if the node is ready (there may be warnings) and with 3 if it is not.
    Check {
        /// How the answer is written.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Put another gobgpd in the place of the one that runs, as after an upgrade of its package.
    ///
    /// With `bgp.gracefulRestart` peers keep the routes until it is back, so no packet is lost; without, or while no agent
    /// runs that would tell the next one everything, it refuses.
    RestartGobgpd {
        /// Restart it though all sessions end, and the routes with them, until they are back.
        #[arg(long)]
        force: bool,
    },
    /// Print the switch's (ToR's) side of the peering, to match this configuration.
    ///
    /// A complete, commented configuration in the vendor's own words. Needs no running agent, and can be used anywhere.
    /// Passwords are not printed.
    SwitchConfig(SwitchConfig),
}

/// How a command that did its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is done, and if there was a question, the answer is yes.
    Done,
    /// The answer is no.
    No,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> ExitCode {
        match ending {
            Ending::Done => ExitCode::SUCCESS,
            Ending::No => ExitCode::from(3),
        }
    }
}

impl Cli {
    /// Sends log lines to standard error, in the format and from the level that were asked for.
    pub fn init_log(&self) {
        let log = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter(&self.log_level)))
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
    }

    /// Does what was asked for: one call for each command.
    pub fn run(&self) -> anyhow::Result<Ending> {
        match &self.command {
            Command::Run { no_speaker } => {
                block_on(daemon::run(self.load()?, !no_speaker))?;
                Ok(Ending::Done)
            }
            Command::Speaker { check } => {
                let options = self.speaker()?;
                if !check {
                    block_on(crate::speaker::run(&options))?;
                }
                Ok(Ending::Done)
            }
            Command::Prepare => {
                let config = self.load()?;
                block_on(async move { prepare::prepare(&config, &mut std::io::stdout()).await })?;
                Ok(Ending::Done)
            }
            Command::Plan { as_lb_node, exit_code, output } => {
                let document = block_on(plan::plan(&self.load()?, *as_lb_node))?;
                show(&document, *output, plan::Document::text).context("cannot write the answer")?;
                Ok(if *exit_code && document.changes { Ending::No } else { Ending::Done })
            }
            Command::Status { watch: Some(interval), output } => {
                block_on(status::watch(&self.load()?, *interval, *output))?;
                Ok(Ending::Done)
            }
            Command::Explain { of, output } => {
                let answer = block_on(explain::explain(&self.load()?, of.clone()))?;
                show(&answer, *output, explain::Answer::text).context("cannot write the answer")?;
                Ok(if answer.is_good() { Ending::Done } else { Ending::No })
            }
            Command::Status { watch: None, output } => {
                let answer = block_on(status::status(&self.load()?))?;
                let now = Timestamp::now().as_second();
                show(&answer, *output, |answer| answer.text(now)).context("cannot write the answer")?;
                Ok(if answer.status.ready { Ending::Done } else { Ending::No })
            }
            Command::Drain { wait, force } => block_on(drain::drain(&self.load()?, *wait, *force)),
            Command::Undrain { wait } => block_on(drain::undrain(&self.load()?, *wait)),
            Command::Confirm => block_on(drain::confirm(&self.load()?)),
            Command::Cleanup => {
                let left = block_on(daemon::cleanup(self.load()?))?;
                for sysctl in left {
                    let line = format!("left as it is: {} = {}\n", sysctl.name, sysctl.now.unwrap_or_default());
                    std::io::stdout().write_all(line.as_bytes()).context("cannot write the answer")?;
                }
                Ok(Ending::Done)
            }
            Command::Check { output } => {
                let config = self.load()?;
                let answer = block_on(async { Ok(check::check(&config).await) })?;
                show(&answer, *output, check::Answer::table).context("cannot write the answer")?;
                Ok(if answer.ready { Ending::Done } else { Ending::No })
            }
            Command::RestartGobgpd { force } => {
                block_on(self::speaker::restart_gobgpd(&self.load()?, *force))?;
                Ok(Ending::Done)
            }
            Command::SwitchConfig(asked) => {
                let (text, remark) = asked.print(&self.load()?)?;
                if let Some(remark) = remark {
                    tracing::warn!("{remark}");
                }
                output::write(&text).context("cannot write the answer")?;
                Ok(Ending::Done)
            }
        }
    }

    /// What a speaker of this configuration is told.
    fn speaker(&self) -> anyhow::Result<SpeakerOptions> {
        let config = self.load()?;
        if !config.has_speaker() {
            bail!("{}: there is nothing to announce: neither bgp nor bfd.peers is given", config.file.display());
        }
        Ok(SpeakerOptions { gobgpd: config.gobgpd, runtime_dir: config.runtime_dir })
    }

    /// The configuration.
    fn load(&self) -> anyhow::Result<Config> {
        Ok(config::load(&self.config, &|name| std::env::var(name).ok())?)
    }
}

/// Does `work` on a runtime of its own, and does not wait for what it leaves behind: a file system that hangs, say, must
/// not keep the process.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = Runtime::new().context("cannot start threads")?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// What is logged. kube tells of each failure as often as it happens, which the source says once and in words; who wants
/// to see it has to name kube.
fn filter(level: &str) -> String {
    if level.contains("kube") { level.to_owned() } else { format!("{level},kube_client=off,kube_runtime=off") }
}

/// A text that [`EnvFilter`] understands.
fn log_level(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_can_stand_before_and_after_the_command() {
        let parse = |words: &[&str]| Cli::try_parse_from(words).unwrap();
        let before = parse(&["vipcast", "--config", "a.yaml", "--log-format", "json", "check", "-o", "yaml"]);
        let after = parse(&["vipcast", "check", "--output", "yaml", "--log-format", "json", "--config", "a.yaml"]);
        assert_eq!(before, after);
        assert_eq!(before.config, PathBuf::from("a.yaml"));
        assert_eq!(before.command, Command::Check { output: Output::Yaml });
    }

    #[test]
    fn a_plan_is_for_the_node_as_it_is_unless_asked_otherwise() {
        for (words, expected) in [(&["vipcast", "plan"][..], false), (&["vipcast", "plan", "--as-lb-node"], true)] {
            let command = Cli::try_parse_from(words).unwrap().command;
            let plan = Command::Plan { as_lb_node: expected, exit_code: false, output: Output::Table };
            assert_eq!(command, plan, "{words:?}");
        }
    }

    #[test]
    fn a_watch_has_an_interval_of_its_own_or_two_seconds() {
        let parse = |words: &[&str]| Cli::try_parse_from(words).map(|cli| cli.command);
        let status = |watch, output| Command::Status { watch, output };
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(parse(&["vipcast", "status"]).unwrap(), status(None, Output::Table));
        assert_eq!(parse(&["vipcast", "status", "--watch"]).unwrap(), status(seconds(2), Output::Table));
        assert_eq!(parse(&["vipcast", "status", "-w", "5s", "-o", "json"]).unwrap(), status(seconds(5), Output::Json));
        assert!(parse(&["vipcast", "status", "--watch", "0s"]).is_err());
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for (words, kind) in [
            (&["vipcast"][..], ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            (&["vipcast", "dance"], ErrorKind::InvalidSubcommand),
            (&["vipcast", "check", "-o", "xml"], ErrorKind::InvalidValue),
            (&["vipcast", "check", "--log-level", "a=b=c"], ErrorKind::ValueValidation),
            (&["vipcast", "check", "--fast"], ErrorKind::UnknownArgument),
            (&["vipcast", "explain"], ErrorKind::MissingRequiredArgument),
            (&["vipcast", "explain", "cart"], ErrorKind::ValueValidation),
        ] {
            let error = Cli::try_parse_from(words).unwrap_err();
            assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{words:?}");
        }
    }
}
