//! One virtual machine: started, listened to, ended.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Size, kernel::Kernel};
use crate::progress;

/// A boot takes 4 s on an idle machine; on one that is busy with builds it has been seen to take ten times that.
const BOOT_TIMEOUT: Duration = Duration::from_secs(180);

/// QEMU opens its sockets before it starts the machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What is left to do once the job's exit status is known: the rest of its output is on its way already.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The three ways out of the machine, by the names of their ports.
const PORTS: [&str; 3] = ["stdout", "stderr", "control"];

/// How a run ended.
pub(super) enum End {
    /// The job ended with this exit status.
    Exit(u8),
    /// It did not end in time.
    TimedOut,
}

/// A running machine; dropped, it is killed.
pub(super) struct Qemu {
    child: Child,
    console: PathBuf,
    control: Receiver<String>,
    outputs: Vec<JoinHandle<()>>,
}

impl Qemu {
    /// Starts QEMU, its sockets and console in `folder`, and connects to it.
    pub(super) fn start(
        folder: &Path,
        kernel: &Kernel,
        initrd: &[u8],
        size: Size,
        writable: &[PathBuf],
    ) -> Result<Self> {
        let initrd_file = folder.join("initrd");
        fs::write(&initrd_file, initrd).context("write the RAM disk")?;
        let console = folder.join("console");
        let listeners = PORTS
            .iter()
            .map(|port| {
                let listener = UnixListener::bind(folder.join(port))?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .collect::<io::Result<Vec<_>>>()
            .context("open the machine's sockets")?;

        // setpriv: a machine whose runner was killed must not live on.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot"]);
        command.args(["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]);
        command.args(["-smp", &size.cpus.to_string(), "-m", &format!("{}M", size.memory_mib)]);
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&initrd_file);
        // An oops is a failure at once, not a machine that limps on; the watchdogs would only report how slow the
        // emulation is. On a busy machine the timer's interrupt comes too late for the kernel's test of it, which panics.
        command.args(["-append", "console=ttyS0 quiet panic=-1 oops=panic nowatchdog no_timer_check mitigations=off"]);
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.args(["-virtfs", "local,path=/,mount_tag=host,security_model=passthrough,readonly=on,multidevs=remap"]);
        for (share, path) in writable.iter().enumerate() {
            let path = path.display();
            command.args([
                "-virtfs",
                &format!("local,path={path},mount_tag=rw{share},security_model=none,multidevs=remap"),
            ]);
        }
        command.args(["-device", "virtio-serial-pci"]);
        for port in PORTS {
            let socket = folder.join(port);
            command.args(["-chardev", &format!("socket,id={port},path={},server=off", socket.display())]);
            command.args(["-device", &format!("virtserialport,chardev={port},name={port}")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(folder.join("qemu.log")).context("create QEMU's log")?);
        let child = command.spawn().context("start QEMU")?;

        let (sender, control) = channel();
        let mut machine = Self { child, console, control, outputs: Vec::new() };
        for (port, listener) in PORTS.iter().zip(&listeners) {
            let stream = machine.accept(listener, &folder.join("qemu.log"))?;
            let sender = sender.clone();
            match *port {
                "stdout" => machine.outputs.push(thread::spawn(move || copy(stream, io::stdout()))),
                "stderr" => machine.outputs.push(thread::spawn(move || copy(stream, io::stderr()))),
                _ => drop(thread::spawn(move || report(stream, &sender))),
            }
        }
        Ok(machine)
    }

    fn accept(&mut self, listener: &UnixListener, log: &Path) -> Result<UnixStream> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("connect to QEMU"),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("QEMU did not start ({status}):\n{}", fs::read_to_string(log).unwrap_or_default());
            }
            if Instant::now() > deadline {
                bail!("QEMU did not open its sockets in {} s", CONNECT_TIMEOUT.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the job's end. A machine that dies or never comes up is an error with the end of its console.
    pub(super) fn wait(mut self, timeout: Option<Duration>) -> Result<End> {
        let started = Instant::now();
        let booted = self.next_message(started + BOOT_TIMEOUT)?;
        let Some(uptime) = booted.as_deref().and_then(|line| line.strip_prefix("booted ")) else {
            bail!("the virtual machine did not boot in {} s\n{}", BOOT_TIMEOUT.as_secs(), self.console_tail());
        };
        progress(&format!(
            "virtual machine up in {:.1} s (its own clock: {uptime} s)",
            started.elapsed().as_secs_f32()
        ));

        // An unlimited wait is one of a year.
        let deadline = Instant::now() + timeout.unwrap_or(Duration::from_secs(365 * 24 * 3600));
        let Some(line) = self.next_message(deadline)? else {
            eprintln!("{}", self.console_tail());
            return Ok(End::TimedOut);
        };
        let status = line.strip_prefix("exit ").and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("the virtual machine said {line:?}"))?;

        // The guest wrote all the output before it told the status, so what is left sits in our sockets.
        self.stop();
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while self.outputs.iter().any(|output| !output.is_finished()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(End::Exit(status))
    }

    /// The next line from the machine's control port, or nothing if it does not come in time.
    fn next_message(&mut self, deadline: Instant) -> Result<Option<String>> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.control.recv_timeout(left) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let status: ExitStatus = self.child.wait()?;
                bail!("the virtual machine died ({status})\n{}", self.console_tail())
            }
        }
    }

    /// The last lines of the kernel's console, which is where a panic explains itself.
    fn console_tail(&self) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(60)..].join("\n");
        format!("--- console of the virtual machine\n{tail}\n---")
    }

    fn stop(&mut self) {
        // Nothing of the machine is worth an orderly shutdown: its disks are memory, and the guest has synced the shares.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Copies as it comes, since people watch. It ends when QEMU does.
fn copy(mut from: UnixStream, mut to: impl Write) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        // A reader that went away (`| head`) does not end the job.
        let _ = to.write_all(&buffer[..count]).and_then(|()| to.flush());
    }
}

fn report(from: UnixStream, sender: &Sender<String>) {
    for line in BufReader::new(from).lines() {
        let Ok(line) = line else { return };
        if sender.send(line).is_err() {
            return;
        }
    }
}
