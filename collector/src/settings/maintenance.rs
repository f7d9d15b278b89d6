//! `[maintenance.N]`: windows in which work on machines is expected, and what they keep quiet.
//!
//! A window that keeps everything quiet has an end: nodes that are being brought in are watched for good one day.

use std::collections::{BTreeMap, BTreeSet};

use vigie_core::id::{GroupName, MaintenanceName, NodeName};
use vigie_decide::{
    calendar::recurring::Recurring,
    mute::{Nodes, REASON_LEN_MAX, Scope},
    rules::Maintenance,
};
use vigie_platform::settings_file::{Complaint, Section};

use super::{as_complaint, time_zone};

pub(super) fn read(
    root: &Section<'_>,
    groups: &BTreeSet<GroupName>,
) -> Option<BTreeMap<MaintenanceName, Maintenance>> {
    let read: Vec<_> = root
        .tables("maintenance")
        .into_iter()
        .map(|section| {
            let name = section.parsed_own_name::<MaintenanceName>();
            let maintenance = read_maintenance(&section, groups);
            section.finish();
            Some((name?, maintenance?))
        })
        .collect();
    read.into_iter().collect()
}

fn read_maintenance(section: &Section<'_>, groups: &BTreeSet<GroupName>) -> Option<Maintenance> {
    let nodes = section.names::<NodeName>("nodes").optional();
    let groups = section.references("groups", "group", groups).optional();
    let is_wrong = |key, is_read: bool| section.has(key) && !is_read;
    let has_mistake = is_wrong("nodes", nodes.is_some()) || is_wrong("groups", groups.is_some());
    let (nodes, groups) = (nodes.unwrap_or_default(), groups.unwrap_or_default());
    if nodes.is_empty() && groups.is_empty() && !has_mistake {
        let what = format!("`maintenance.{}` is of no node", section.own_name());
        section.mistake(
            "nodes",
            what,
            "write `groups = [\"…\"]` or `nodes = [\"…\"]`",
        );
    }
    let scope = section
        .one_of(
            "mutes",
            &[
                ("reachability", Scope::Reachability),
                ("everything", Scope::Everything),
            ],
        )
        .or(Scope::Reachability);
    let window = section
        .str("window")
        .try_map(|text| {
            let window = Recurring::try_from(text).map_err(as_complaint)?;
            time_zone(window.time_zone().to_owned())?;
            Ok(window)
        })
        .try_map(|window| {
            if scope == Scope::Everything && !window.has_end() {
                return Err(Complaint::new(
                    "what keeps everything quiet must come to an end",
                    "write a window such as \"2026-12-01 22:00..2026-12-07 08:00 Europe/Paris\", or remove `mutes`",
                ));
            }
            Ok(window)
        })
        .required();
    let reason = section.str("reason").try_map(reason);
    let reason = if scope == Scope::Everything || section.has("reason") {
        reason.required()
    } else {
        // Its name says what a usual window is for; that everything is kept quiet wants a reason of its own.
        Some(reason.or(section.own_name().to_owned()))
    };
    Some(Maintenance {
        place: Nodes {
            nodes: nodes.into_iter().collect(),
            groups: groups.into_iter().collect(),
        },
        window: window?,
        scope,
        reason: reason?,
    })
}

fn reason(text: String) -> Result<String, Complaint> {
    let is_line = (1..=REASON_LEN_MAX).contains(&text.chars().count())
        && !text.contains(char::is_control)
        && !text.trim().is_empty();
    is_line.then_some(text).ok_or_else(|| {
        let mend = format!("write in 1 to {REASON_LEN_MAX} characters what the work is for");
        Complaint::new("this is no reason", mend)
    })
}
