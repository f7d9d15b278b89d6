//! `make bench`: vigie's own figures, measured on this machine with the shipped programs, beside those of its peers.
//!
//! Prints one line per figure with what it should be. It asserts nothing about them: a slow machine is not a defect, and
//! a figure is worth reading with its machine beside it. That is also why peers run in the same run, under the same load:
//! ratios carry over to other machines.

mod accepted;
mod agent;
mod alerts;
mod decisions;
mod figures;
mod fleet;
mod ingest;
mod load;
mod meter;
mod parties;
mod probes;
mod sink;
mod storm;
mod view;

use vigie_tests::harness::shipped;

fn main() {
    // Who speaks plain HTTP to a peer makes a client that wants to know, too. Fails only if it is known already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime can be built").block_on(measure());
}

/// One part after another: on a small machine two would disturb each other. Words on the command line choose parts.
async fn measure() {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|word| word == part);
    programs();
    if is_wanted("alerts") {
        alerts::measure().await;
    }
    if is_wanted("accepted") {
        accepted::measure().await;
    }
    if is_wanted("storm") {
        storm::measure().await;
    }
    if is_wanted("decisions") {
        decisions::measure();
    }
    if is_wanted("view") {
        view::measure().await;
    }
    if is_wanted("fleet") {
        fleet::measure().await;
    }
    if is_wanted("agent") {
        agent::measure().await;
    }
    if is_wanted("probes") {
        probes::measure().await;
    }
    if is_wanted("ingest") {
        ingest::measure().await;
    }
}

fn programs() {
    if figures::is_short() {
        println!("SHORT: these figures mean nothing");
    }
    println!("programs");
    figures::size(&shipped("vigie-agent"), Some(8.0));
    figures::size(&shipped("vigie-collector"), None);
    figures::versions(&[
        "prometheus",
        "prometheus-alertmanager",
        "prometheus-node-exporter",
        "victoria-metrics",
    ]);
}
