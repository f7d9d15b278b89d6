//! All that is known of one alert.

use super::{
    Detail,
    clock::Clock,
    document::{Block, Document, Field},
    items::Item,
    title::{Place, headline},
    words,
};
use vigie_core::{
    id::{ReceiverName, ServiceName},
    reason::message::{self, Language},
};
use vigie_decide::alert::Notice;

pub(super) fn write(clock: Clock<'_>, item: &Item<'_>, detail: Detail, document: &mut Document) {
    match detail {
        Detail::Full => {
            document.push(Block::Strong(finding(clock, item)));
            document.push(Block::Fields(fields(clock, item)));
        }
        Detail::Minimal => {
            let fields = minimal_fields(clock, item);
            document.push(Block::Strong(format!(
                "{}{}{}.",
                item.about().who(clock.language, detail),
                words::colon(clock.language),
                headline(clock, item, detail, Place::Unsaid)
            )));
            document.push(Block::Fields(fields));
        }
    }
}

/// The first sentence: what was found, in words.
pub(super) fn finding(clock: Clock<'_>, item: &Item<'_>) -> String {
    format!(
        "{}{}{}.",
        words::lead(clock.language, item.notice),
        words::colon(clock.language),
        item.about().finding(clock)
    )
}

fn label(language: Language, french: &'static str, english: &'static str) -> &'static str {
    words::either(language, french, english)
}

fn minimal_fields(clock: Clock<'_>, item: &Item<'_>) -> Vec<Field> {
    let language = clock.language;
    let about = item.about();
    let mut fields = vec![Field::new(
        label(language, "Alerte", "Alert"),
        format!("#{}", about.number),
    )];
    fields.extend(services(language, item));
    fields.push(state(language, item));
    fields.push(Field::new(
        label(language, "Depuis", "Since"),
        clock.full(item.telling.since),
    ));
    fields.extend(end(clock, item));
    fields
}

fn fields(clock: Clock<'_>, item: &Item<'_>) -> Vec<Field> {
    let language = clock.language;
    let about = item.about();
    let telling = item.telling;
    let text = |french, english, value: String| Field::new(label(language, french, english), value);
    let mut fields = Vec::new();
    fields.extend(services(language, item));
    fields.push(text(
        "Criticité",
        "Criticality",
        words::criticality(language, telling.criticality).to_owned(),
    ));
    fields.push(match about.sender() {
        Some(_) => text("Émetteur", "Sender", about.place()),
        None => text("Nœud", "Node", about.place()),
    });
    fields.push(text("Contrôle", "Check", about.check()));
    let object = about.object();
    if !object.is_empty() {
        fields.push(text("Objet", "Object", object));
    }
    let labels: Vec<String> = about.labels().collect();
    if !labels.is_empty() {
        fields.push(text("Étiquettes", "Labels", labels.join(", ")));
    }
    fields.push(state(language, item));
    let (need, level) = telling.need;
    fields.push(text(
        "Besoin",
        "Need",
        format!("{} {level}", words::need(language, need)),
    ));
    fields.push(text(
        "Famille",
        "Family",
        message::family(language, telling.family).to_owned(),
    ));
    fields.push(text(
        "Environnement",
        "Environment",
        words::environment(language, telling.environment).to_owned(),
    ));
    fields.push(text("Depuis", "Since", clock.full(telling.since)));
    fields.extend(end(clock, item));
    if telling.step > 0 {
        fields.push(text("Étape", "Step", (telling.step + 1).to_string()));
    }
    if !telling.others_told.is_empty() {
        let told: Vec<&str> = telling
            .others_told
            .iter()
            .map(ReceiverName::as_str)
            .collect();
        fields.push(text("Aussi prévenus", "Told as well", told.join(", ")));
    }
    if let Some(by) = &telling.acknowledged_by {
        fields.push(text(
            "Pris en charge par",
            "On it",
            words::actor(language, by),
        ));
    }
    if let Ok(explains @ 1..) = usize::try_from(telling.explains) {
        fields.push(text(
            "Explique",
            "Explains",
            words::OTHER_ALERTS.count(language, explains),
        ));
    }
    if let Some(runbook) = &telling.runbook {
        fields.push(Field::address(
            label(language, "Que faire", "What to do"),
            runbook,
        ));
    }
    fields.push(text(
        "Voir de près",
        "Look closer",
        format!("vigie-collector why {}", about.number),
    ));
    if item.notice != Notice::Close {
        fields.push(text(
            "S'en charger",
            "Take it on",
            format!("vigie-collector ack {}", about.number),
        ));
    }
    fields
}

fn services(language: Language, item: &Item<'_>) -> Option<Field> {
    let names: Vec<&str> = item
        .telling
        .services
        .iter()
        .map(ServiceName::as_str)
        .collect();
    (!names.is_empty())
        .then(|| Field::new(label(language, "Services", "Services"), names.join(", ")))
}

fn state(language: Language, item: &Item<'_>) -> Field {
    let about = item.about();
    let standing = if about.is_exercise() {
        words::either(
            language,
            "exercice, rien n'est en panne",
            "exercise, nothing has failed",
        )
    } else {
        about.standing(language)
    };
    let label = match item.notice {
        Notice::Close => label(language, "État avant", "State before"),
        Notice::Open | Notice::Worse | Notice::Still | Notice::Again | Notice::HandOver => {
            label(language, "État", "State")
        }
    };
    Field::new(label, standing.to_owned())
}

fn end(clock: Clock<'_>, item: &Item<'_>) -> Option<Field> {
    let ended = words::ended(clock.language, item.telling.ended);
    (item.notice == Notice::Close).then(|| {
        Field::new(
            label(clock.language, "Fin", "End"),
            format!("{} ({ended})", clock.full(item.at)),
        )
    })
}
