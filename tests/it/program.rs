//! `regatta` and other programs as child processes: their ports, logs and memory, and waiting for what they do.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, Once, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

/// Longer than anything here may take, many times over: a busy machine is no defect.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// What the program's `main` does for its process, as far as tests need it, who have no `main`: it chooses the provider of
/// cryptography, and lets the process have as many files open as it may. Debian's soft limit of 1024 is soon reached by
/// tests that run side by side.
pub fn like_main() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    });
}

/// Waiting for a condition, with a deadline and never for a fixed time.
pub struct Waiting<'a> {
    what: &'a str,
    start: Instant,
}

impl<'a> Waiting<'a> {
    pub fn on(what: &'a str) -> Self {
        Self { what, start: Instant::now() }
    }

    /// What a look found; after a pause where it found nothing, and with what it saw where the time is over.
    pub async fn took<T, E: Debug>(&self, look: Result<T, E>) -> Option<T> {
        let (what, waited) = (self.what, self.start.elapsed());
        match look {
            Ok(found) => {
                println!("{what}: after {:.2} s", waited.as_secs_f32());
                return Some(found);
            }
            Err(seen) => assert!(waited < DEADLINE, "{what}: not within {DEADLINE:?}; last seen: {seen:#?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        None
    }
}

/// Waits until `look` finds something; fails with what it saw last.
pub async fn eventually<T, E: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let waiting = Waiting::on(what);
    loop {
        if let Some(found) = waiting.took(look().await).await {
            return found;
        }
    }
}

/// A port of 127.0.0.1 at which nobody listens, below those that the system gives to outgoing connections, so that none
/// of these takes it meanwhile; scripts choose among others (`free_port` of e2e/lib.sh). Tests of another process may
/// take it all the same: whoever starts a program there looks whether it listens, as [`Program::at_free_ports`] does.
pub fn free_port() -> u16 {
    const FIRST: u16 = 24_000;
    const BLOCKS: u16 = 60;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let block = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap();
    loop {
        let port = FIRST + (block * 100 + NEXT.fetch_add(1, Ordering::Relaxed)) % (BLOCKS * 100);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// `regatta`, with a log that [`Program`] reads.
pub fn regatta() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regatta"));
    command.env("REGATTA_LOG", "info");
    command
}

/// A child process, until this is dropped.
pub struct Program {
    child: Option<Child>,
    log: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = child.wait();
            let _ = ended.send(());
        });
        // Its files can go then. One whose volume hangs ends no sooner than the volume, which goes after this.
        let _ = end.recv_timeout(Duration::from_secs(2));
        if std::thread::panicking() {
            println!("--- the program's log:\n{}", self.text());
        }
    }
}

impl Program {
    /// Starts it, and waits for nothing.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // What is no JSON was said before there was a log, or by another program.
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                lines.lock().unwrap().push(line);
            }
        });
        Self { child: Some(child), log, reader: Some(reader) }
    }

    /// Starts what `make` gives for free ports, with others where somebody took one of them meanwhile: it listens at them.
    pub async fn at_free_ports<const N: usize>(make: impl Fn([u16; N]) -> Command) -> (Self, [u16; N]) {
        for _ in 0..5 {
            let ports = [(); N].map(|()| free_port());
            let mut program = Self::spawn(&mut make(ports));
            if program.listens(&ports).await {
                return (program, ports);
            }
            println!("it ended, with ports {ports:?}: {}", program.text());
        }
        panic!("a program ends whatever ports it has");
    }

    /// Whether it listens at these ports soon, it and no other, rather than ending.
    pub async fn listens(&mut self, ports: &[u16]) -> bool {
        eventually("it listens or has ended", async || {
            let has = listening(self.id());
            match self.ended() {
                Some(_) => Ok(false),
                None if ports.iter().all(|port| has.contains(port)) => Ok(true),
                None => Err(has),
            }
        })
        .await
    }

    /// The ports at which it listens.
    pub fn ports(&self) -> BTreeSet<u16> {
        listening(self.id())
    }

    /// The `host:port` at which a registry serves clients, as soon as it says so; `None` where it ended instead.
    pub async fn serves(&mut self) -> Option<String> {
        eventually("it serves or has ended", async || {
            let ended = self.ended().is_some();
            match self.find(|line| line["message"] == "serving") {
                _ if ended => Ok(None),
                Some(line) => Ok(Some(line["address"].as_str().unwrap().to_owned())),
                None => Err("neither"),
            }
        })
        .await
    }

    /// A registry that was told to listen at a port of the system's choice, and where that is.
    pub async fn serving(command: &mut Command) -> (Self, String) {
        let mut program = Self::spawn(command);
        match program.serves().await {
            Some(authority) => (program, authority),
            None => panic!("it ended: {}", program.text()),
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends it a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        let child = self.child.as_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// How it ended, if it has; all that it said is in its log then.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut().unwrap().try_wait().unwrap()?;
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        Some(status)
    }

    /// How it ends, within the deadline.
    pub async fn end(&mut self) -> ExitStatus {
        eventually("it ends", async || self.ended().ok_or("it runs")).await
    }

    /// What it has logged: an object a line, or a string where a line is none.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// The same as text.
    pub fn text(&self) -> String {
        let line = |line: &Value| line.as_str().map_or_else(|| line.to_string(), str::to_owned);
        self.log.lock().unwrap().iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn find(&self, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
        self.log.lock().unwrap().iter().find(|line| is_it(line)).cloned()
    }

    /// A line of its log, as soon as it is there.
    pub async fn line(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || self.find(&is_it).ok_or("not logged")).await
    }

    /// A number of its status (proc_pid_status(5)): sizes are in KiB.
    pub fn status(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The most that it ever had resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.status("VmHWM")
    }
}

/// The ports at which a process listens (proc_pid_net(5), proc_pid_fd(5)); none where it is gone.
fn listening(id: u32) -> BTreeSet<u16> {
    let Ok(open) = std::fs::read_dir(format!("/proc/{id}/fd")) else { return BTreeSet::new() };
    let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let own: BTreeSet<String> = links.map(|link| link.display().to_string()).collect();
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, state, _, _, _, _, _, inode, ..] = columns[..] else { continue };
            let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            // 0A is LISTEN.
            if state == "0A" && own.contains(&format!("socket:[{inode}]")) {
                ports.extend(port);
            }
        }
    }
    ports
}
