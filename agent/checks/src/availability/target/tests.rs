#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io,
    sync::{Arc, Mutex},
};

use vigie_core::{
    reason::availability::{NET_NO_ADDRESS, NET_RESOLVER, TCP_OK},
    time::Now,
};
use vigie_machine::{
    Answer,
    net::{Net, ResolveError, Resolver},
};
use vigie_platform::clock::{Clock, ManualClock, SystemClock};

use super::*;

/// Answers with what it was last told.
struct Scripted(Mutex<Script>);

#[derive(Clone, Copy)]
enum Script {
    Addresses(&'static [&'static str]),
    Many(u8),
    NoAddress,
    Broken,
    Silent,
}

impl Scripted {
    fn saying(script: Script) -> Arc<Self> {
        Arc::new(Self(Mutex::new(script)))
    }

    fn now_says(&self, script: Script) {
        *self.0.lock().unwrap() = script;
    }
}

impl Resolver for Scripted {
    fn resolve<'a>(&'a self, _host: &'a str) -> Answer<'a, Result<Vec<IpAddr>, ResolveError>> {
        let script = *self.0.lock().unwrap();
        Box::pin(async move {
            match script {
                Script::Addresses(texts) => Ok(addresses(texts)),
                Script::Many(count) => {
                    Ok((0..count).map(|n| IpAddr::from([192, 0, 2, n])).collect())
                }
                Script::NoAddress => Err(ResolveError::NoAddress),
                Script::Broken => Err(ResolveError::Resolver(io::Error::other("SERVFAIL"))),
                Script::Silent => std::future::pending().await,
            }
        })
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn context(resolver: &Arc<Scripted>, clock: Arc<dyn Clock>) -> Context {
    Context {
        net: Net::with_resolver(Arc::<Scripted>::clone(resolver)),
        ..Context::of_this_machine(clock)
    }
}

fn portal(addresses: Addresses) -> Target {
    Target::new(Host::parse("Portail.Example").unwrap(), 443, addresses)
}

async fn observed(target: &mut Target, context: &Context) -> Vec<(String, Status, &'static str)> {
    let probe = |address: SocketAddr, _progress| async move {
        assert_eq!(address.port(), 443);
        Observation::new(Status::Ok, TCP_OK)
    };
    let deadline = context.clock.elapsed().plus_ms(5_000);
    let observations = target.observe(context, deadline, probe).await;
    observations
        .into_iter()
        .map(|seen| {
            (
                seen.object.unwrap().to_string(),
                seen.status,
                seen.reason.code(),
            )
        })
        .collect()
}

const TWO: Script = Script::Addresses(&["192.0.2.7", "2001:db8::7"]);

#[tokio::test]
async fn every_address_and_the_name_are_objects() {
    let context = context(&Scripted::saying(TWO), Arc::new(SystemClock));
    assert_eq!(
        observed(&mut portal(Addresses::All), &context).await,
        [
            ("portail.example".to_owned(), Status::Ok, "net.resolved"),
            ("192.0.2.7".to_owned(), Status::Ok, "tcp.ok"),
            ("2001:db8::7".to_owned(), Status::Ok, "tcp.ok"),
        ]
    );
    assert_eq!(
        observed(&mut portal(Addresses::First), &context).await,
        [("portail.example".to_owned(), Status::Ok, "tcp.ok")]
    );
    let mut literal = Target::new(Host::parse("192.0.2.9").unwrap(), 443, Addresses::All);
    assert_eq!(
        observed(&mut literal, &context).await,
        [("192.0.2.9".to_owned(), Status::Ok, "tcp.ok")]
    );
}

#[tokio::test]
async fn a_broken_resolver_is_unknown_and_does_not_blind_the_check() {
    let resolver = Scripted::saying(Script::Broken);
    let context = context(&resolver, Arc::new(SystemClock));
    let mut target = portal(Addresses::All);
    let unknown = (
        "portail.example".to_owned(),
        Status::Unknown,
        NET_RESOLVER.code(),
    );
    assert_eq!(
        observed(&mut target, &context).await,
        std::slice::from_ref(&unknown)
    );
    resolver.now_says(Script::Addresses(&["192.0.2.7"]));
    assert_eq!(observed(&mut target, &context).await.len(), 2);
    resolver.now_says(Script::Broken);
    let known = ("192.0.2.7".to_owned(), Status::Ok, "tcp.ok");
    assert_eq!(
        observed(&mut target, &context).await,
        [unknown.clone(), known]
    );
    let mut first = portal(Addresses::First);
    assert_eq!(observed(&mut first, &context).await, [unknown]);
}

#[tokio::test]
async fn a_name_without_address_is_critical() {
    let context = context(&Scripted::saying(Script::NoAddress), Arc::new(SystemClock));
    let expected = [(
        "portail.example".to_owned(),
        Status::Critical,
        NET_NO_ADDRESS.code(),
    )];
    assert_eq!(
        observed(&mut portal(Addresses::All), &context).await,
        expected
    );
    assert_eq!(
        observed(&mut portal(Addresses::First), &context).await,
        expected
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_resolver_leaves_half_of_the_time_to_the_known_addresses() {
    let clock = Arc::new(ManualClock::at(Now::default()));
    let resolver = Scripted::saying(TWO);
    let context = context(&resolver, Arc::clone(&clock) as Arc<dyn Clock>);
    let mut target = portal(Addresses::All);
    observed(&mut target, &context).await;
    resolver.now_says(Script::Silent);
    let (seen, ()) = tokio::join!(observed(&mut target, &context), async {
        clock.advance(std::time::Duration::from_millis(2_500));
    });
    assert_eq!(seen.len(), 3);
    assert_eq!(
        (seen[0].1, seen[0].2),
        (Status::Unknown, NET_RESOLVER.code())
    );
    assert_eq!(seen[1].1, Status::Ok);
}

#[tokio::test]
async fn too_many_addresses_are_said_and_not_all_asked() {
    let context = context(&Scripted::saying(Script::Many(40)), Arc::new(SystemClock));
    let seen = observed(&mut portal(Addresses::All), &context).await;
    assert_eq!(seen.len(), 1 + ADDRESSES_MAX);
    assert_eq!(
        (seen[0].1, seen[0].2),
        (Status::Warning, "net.too_many_addresses")
    );
}

#[test]
fn only_names_and_addresses_are_hosts() {
    for wrong in [
        "",
        "a b",
        "a..b",
        "-a",
        "1.2.3",
        "0x7f.1 ",
        "*.example",
        "[::1]",
    ] {
        assert_eq!(Host::parse(wrong), None, "{wrong}");
    }
    assert!(matches!(Host::parse("::1"), Some(Host::Address(_))));
    assert!(matches!(Host::parse("app_1.example"), Some(Host::Name(_))));
}
