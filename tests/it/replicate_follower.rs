//! `regatta replicate --follow` as a child process, and the edges that it is given.

use regatta::admin::{Deletions, Edge, EdgeStatus, Filters, PolicyRef, Remote, Trigger};
use tempfile::TempDir;

use crate::program::{Program, eventually, regatta};
use crate::replicate_support::{REPLICATOR, Registry, write_secret};

/// A follower of a registry.
pub struct Follower {
    program: Program,
    _remotes: TempDir,
    pub metrics: String,
}

impl Follower {
    /// Starts one at `home`; it knows the credentials of the remote `destination`.
    pub async fn start(home: &Registry) -> Self {
        let remotes = tempfile::tempdir().unwrap();
        write_secret(&remotes.path().join("destination/credentials"), REPLICATOR.0, REPLICATOR.1);
        let (program, [health, metrics]) = Program::at_free_ports(|[health, metrics]| {
            let mut command = regatta();
            command
                .args(["replicate", "--follow", "--internal-url", &home.internal_url])
                .args(["--internal-ca".as_ref(), home.file("tls.crt").as_os_str()])
                .args(["--credentials-dir".as_ref(), home.file("replicators/own").as_os_str()])
                .args(["--remotes-dir".as_ref(), remotes.path().as_os_str()])
                .args(["--health-listen", &format!("127.0.0.1:{health}")])
                .args(["--metrics-listen", &format!("127.0.0.1:{metrics}")]);
            command
        })
        .await;
        let follower = Self { program, _remotes: remotes, metrics: format!("http://127.0.0.1:{metrics}/metrics") };
        eventually("the follower is ready", async || {
            let answer = reqwest::get(format!("http://127.0.0.1:{health}/readyz")).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await;
        follower
    }

    /// Ends it with SIGTERM; whether it ended well.
    pub async fn terminate(mut self) -> bool {
        self.program.signal("TERM");
        self.program.end().await.success()
    }
}

/// An event edge over everything.
pub fn edge(id: &str, destination: &str) -> Edge {
    Edge {
        id: id.to_owned(),
        policy: PolicyRef { namespace: "fleet".to_owned(), name: "policy".to_owned(), generation: 1 },
        source: "source".to_owned(),
        destination: Remote { name: "destination".to_owned(), url: destination.to_owned(), insecure: true },
        filters: Filters::default(),
        deletions: Deletions::Propagate,
        trigger: Trigger::Event,
        suspend: false,
        requested_at: None,
        approved_plan: None,
    }
}

/// Waits for an edge's status to be as `wanted` says.
pub async fn status(home: &Registry, id: &str, what: &str, wanted: impl Fn(&EdgeStatus) -> bool) -> EdgeStatus {
    eventually(what, async || {
        let status = home.status(id).await;
        status.clone().filter(|status| wanted(status)).ok_or(status)
    })
    .await
}
