//! What the tests of this family share: servers on loopback, one for each way to fail, and checks made from settings.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::{TcpListener, TcpStream},
};
use vigie_core::{
    observation::{Fact, Observation},
    status::Status,
    time::Elapsed,
};
use vigie_machine::{
    Answer, Context,
    net::{Net, ResolveError, Resolver},
};
use vigie_platform::{
    clock::{Clock, SystemClock},
    settings_file::{self, Mistakes},
};

use crate::{Check, Kind};

/// The port of a server that runs `handler` for every connection until the test ends.
pub(super) async fn server<F>(handler: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handler(stream));
        }
    });
    port
}

/// A port on which nobody listens. The socket that keeps it from others lives as long as the first value.
pub(super) async fn closed_port() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// The head of a request, up to its empty line.
pub(super) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut read).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8(read).unwrap()
}

/// Breaks a connection off with RST.
pub(super) fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
}

/// Knows `*.here` as 127.0.0.1 and nothing else.
struct LoopbackResolver;

impl Resolver for LoopbackResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Answer<'a, Result<Vec<IpAddr>, ResolveError>> {
        let answer = if host.ends_with(".here") {
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        } else if host.ends_with(".invalid") {
            Err(ResolveError::NoAddress)
        } else {
            Err(ResolveError::Resolver(io::Error::other("SERVFAIL")))
        };
        Box::pin(async { answer })
    }
}

/// The machine's context with [`LoopbackResolver`], an hour before its deadline.
pub(super) fn context() -> Context {
    context_with(Arc::new(SystemClock), 3_600_000)
}

/// The same with another clock and time left.
pub(super) fn context_with(clock: Arc<dyn Clock>, left_ms: u64) -> Context {
    let deadline = Elapsed(clock.elapsed().0 + left_ms);
    Context {
        net: Net::with_resolver(Arc::new(LoopbackResolver)),
        ..Context::of_this_machine(clock).until(deadline)
    }
}

/// The check that `settings` (a whole `[check.N]` section) describes.
pub(super) fn built(kind: &Kind, settings: &str) -> Result<Box<dyn Check>, Mistakes> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    std::fs::write(&file, settings).unwrap();
    let loaded = settings_file::load(&file, [("", ""); 0]);
    let root = loaded.root();
    let mut sections = root.tables("check");
    let check = {
        let mut section = sections.pop().unwrap();
        assert!(section.has("kind"), "the agent reads it");
        // Read by the agent for every kind.
        section.has("service");
        (kind.build)(&mut section)
    };
    drop(sections);
    drop(root);
    loaded.finish(check)
}

/// What one run of such a check finds.
pub(super) async fn run(kind: &Kind, context: &Context, keys: &str) -> Vec<Observation> {
    let settings = format!("[check.c]\nkind = \"{}\"\n{keys}", kind.name);
    let mut check = built(kind, &settings).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    check.run(context).await
}

/// The one observation of such a run.
pub(super) async fn run_one(kind: &Kind, context: &Context, keys: &str) -> Observation {
    let mut found = run(kind, context, keys).await;
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Status, code, and the word or number of one fact, in short.
pub(super) fn told(observation: &Observation, fact: &str) -> (Status, &'static str, String) {
    let fact = match observation.facts.get(fact) {
        Some(Fact::Word(word)) => (*word).to_owned(),
        Some(other) => other.to_json().to_string(),
        None => String::new(),
    };
    (observation.status, observation.reason.code(), fact)
}
