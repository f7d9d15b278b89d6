use super::*;
use vigie_decide::held::{Deferred, DigestLine, DigestNotice, MuteLine};

/// 23 November 2026, 08:30 in Paris.
const DUE: Wall = Wall(1_795_419_000_000);
const HOUR_MS: i64 = 60 * MINUTE_MS;

fn told(digest: DigestNotice) -> Message {
    Message {
        at: digest.due,
        body: Body::Digest(Box::new(digest)),
        ..message(telling())
    }
}

/// A morning after a quiet night.
pub(super) fn nothing() -> Message {
    told(DigestNotice {
        due: DUE,
        ..DigestNotice::default()
    })
}

fn held(telling: Notification) -> DigestLine {
    DigestLine {
        held: Deferred {
            number: telling.number,
            held_since: telling.since,
            since: telling.since,
            times: 1,
            worst: telling.status,
            status: telling.status,
            family: telling.family,
            services: telling.services,
            criticality: telling.criticality,
            environment: telling.environment,
            reason: telling.reason,
            facts: telling.facts,
            ended: None,
            paged: std::collections::BTreeMap::new(),
            acknowledged: false,
        },
        alert: telling.alert,
    }
}

fn full() -> DigestNotice {
    let mut paged = held(telling());
    paged.held.paged = [("astreinte".parse().unwrap(), SINCE.plus_ms(1_000))].into();
    paged.held.acknowledged = true;
    let mut flapping = held(lesser(1840));
    flapping.held.times = 4;
    flapping.held.worst = Status::Critical;
    flapping.held.since = SINCE.plus_ms(9 * HOUR_MS);
    let mut ended = held(lesser(1838));
    ended.held.ended = Some((SINCE.plus_ms(10 * MINUTE_MS), Ended::Recovered));
    let certificate = held(Notification {
        number: 1700,
        family: Family::Tls,
        status: Status::Warning,
        reason: "tls.certificate".to_owned(),
        facts: facts(json!({"why": "expires_soon", "not_after": "2026-12-10T00:00:00Z"})),
        since: SINCE.plus_ms(-48 * HOUR_MS),
        ..telling()
    });
    DigestNotice {
        due: DUE,
        is_late: false,
        since: Some(DUE.plus_ms(-72 * HOUR_MS)),
        still_on: vec![paged, flapping],
        ended: vec![ended],
        attention: vec![certificate],
        mutes: vec![
            MuteLine {
                name: "correctifs".to_owned(),
                is_maintenance: true,
                reason: "mises à jour".to_owned(),
                until: Some(DUE.plus_ms(2 * HOUR_MS)),
            },
            MuteLine {
                name: "12".to_owned(),
                is_maintenance: false,
                reason: "disque en commande".to_owned(),
                until: None,
            },
        ],
        silent: vec!["db-01".parse().unwrap()],
        missing: vec!["app-03".parse().unwrap(), "app-04".parse().unwrap()],
        left_out: 7,
    }
}

#[test]
fn a_digest_in_french_says_everything_in_order() {
    let paris = paris();
    let mail = mail(voice(Language::French, &paris), &[told(full())]);
    let certificate = vigie_core::reason::message::render_in(
        Language::French,
        Some(&paris),
        "tls.certificate",
        &full().attention[0].held.facts,
    );
    assert_eq!(
        mail.subject,
        "[vigie] point du matin du 23 novembre : 2 en cours, 1 terminée, 1 sauvegarde ou certificat à voir, 1 nœud muet, 2 nœuds jamais vus"
    );
    assert_eq!(
        mail.text,
        format!("Point du matin du 23 novembre : 2 en cours, 1 terminée, 1 sauvegarde ou certificat à voir, 1 nœud muet, 2 nœuds jamais vus.

Le point d'avant est parti le 20/11 à 08:30.

Encore en cours (2) :
- #1841 dossier-patient : portail (app-01) en panne depuis le 22/11 à 20:04 ; réponse HTTP 503 au lieu de 200 ; prévenus : astreinte le 22/11 à 20:04 ; prise en charge
- #1840 messagerie : disques /var (mail-01) à surveiller depuis 05:04 ; disque rempli à 87 %, limite 85 % ; il reste 1,2 Go ; 4 fois depuis le 22/11 à 20:04 ; au pire en défaut

Appels passés entre-temps (1) :
- #1841 dossier-patient : prévenus : astreinte le 22/11 à 20:04

Terminées d'elles-mêmes (1) :
- #1838 messagerie : disques /var (mail-01) à surveiller du 22/11 à 20:04 au 22/11 à 20:14, rétabli ; disque rempli à 87 %, limite 85 % ; il reste 1,2 Go

Sauvegardes et certificats (1) :
- #1700 dossier-patient : portail (app-01) à surveiller depuis le 20/11 à 20:04 ; {certificate}

Silences et maintenances (2) :
- maintenance correctifs jusqu'à 10:30 : mises à jour
- silence 12 sans fin connue : disque en commande

Nœuds muets (1) :
- db-01

Nœuds jamais vus (2) :
- app-03, app-04

et 7 autres : vigie-collector status

Heures : Europe/Paris (UTC+1).

-- 
Dit par vigie au destinataire chefs.
")
    );
    for part in [
        "<html lang=\"fr\">",
        "<h2>Encore en cours (2)</h2>",
        "<th scope=\"col\" align=\"left\">État</th>",
        "<tr><th scope=\"row\" align=\"left\">#1841</th><td>dossier-patient</td>",
        "<li>silence 12 sans fin connue : disque en commande</li>",
    ] {
        assert!(mail.html.contains(part), "{part} in {}", mail.html);
    }
}

#[test]
fn a_digest_in_english_says_the_same() {
    let paris = paris();
    let digest = DigestNotice {
        attention: Vec::new(),
        mutes: Vec::new(),
        missing: Vec::new(),
        left_out: 0,
        ..full()
    };
    let mail = mail(voice(Language::English, &paris), &[told(digest)]);
    assert_eq!(
        mail.subject,
        "[vigie] morning report of 23 November: 2 still on, 1 ended, 1 silent node"
    );
    assert_eq!(
        mail.text,
        "Morning report of 23 November: 2 still on, 1 ended, 1 silent node.

The report before it went out on 20 Nov at 08:30.

Still on (2):
- #1841 dossier-patient: portail (app-01) down since 22 Nov 20:04; HTTP answer 503 instead of 200; paged: astreinte on 22 Nov at 20:04; somebody is on it
- #1840 messagerie: disques /var (mail-01) needs attention since 05:04; disk 87% full, limit 85%; 1.2 GB left; 4 times since 22 Nov 20:04; at worst failing

Pages since then (1):
- #1841 dossier-patient: paged: astreinte on 22 Nov at 20:04

Ended by themselves (1):
- #1838 messagerie: disques /var (mail-01) needs attention from 22 Nov 20:04 to 22 Nov 20:14, recovered; disk 87% full, limit 85%; 1.2 GB left

Silent nodes (1):
- db-01

Times: Europe/Paris (UTC+1).

-- 
Told by vigie to the receiver chefs.
"
    );
}

#[test]
fn a_quiet_morning_says_so() {
    let paris = paris();
    let batch = [nothing()];
    for (language, title) in [
        (
            Language::French,
            "[vigie] point du matin du 23 novembre : rien à signaler",
        ),
        (
            Language::English,
            "[vigie] morning report of 23 November: nothing to report",
        ),
    ] {
        let voice = Voice {
            link: Some(LINK),
            ..voice(language, &paris)
        };
        assert_eq!(mail(voice, &batch).subject, title);
        assert_eq!(minimal_chat(voice, &batch).title, title);
        assert_eq!(brief(voice, &batch), title, "no link: nothing is on");
    }
}

#[test]
fn a_late_digest_says_when_it_was_due() {
    let paris = paris();
    for (hours, title) in [
        (
            2,
            "[vigie] point du matin du 23 novembre : 2 en cours (en retard : était dû à 08:30)",
        ),
        (
            26,
            "[vigie] point du matin du 23 novembre : 2 en cours (en retard : était dû le 23/11 à 08:30)",
        ),
    ] {
        let digest = DigestNotice {
            is_late: true,
            due: DUE,
            still_on: full().still_on,
            ..DigestNotice::default()
        };
        let late = Message {
            at: DUE.plus_ms(hours * HOUR_MS),
            ..told(digest)
        };
        assert_eq!(
            mail(voice(Language::French, &paris), &[late]).subject,
            title
        );
    }
    let afternoon = Message {
        ..told(DigestNotice {
            due: DUE.plus_ms(6 * HOUR_MS),
            ..DigestNotice::default()
        })
    };
    assert_eq!(
        mail(voice(Language::English, &paris), &[afternoon]).subject,
        "[vigie] report of 23 November: nothing to report"
    );
}

#[test]
fn a_minimal_digest_counts_and_names_services_only() {
    let paris = paris();
    let text = minimal_mail(voice(Language::French, &paris), &[told(full())]).text;
    for unsaid in [
        "app-0",
        "mail-01",
        "db-01",
        "portail",
        "disques",
        "/var",
        "HTTP",
        "astreinte",
        "mises",
        "correctifs",
        "chefs",
    ] {
        assert!(!text.contains(unsaid), "{unsaid} in {text}");
    }
    for said in [
        "- #1841 dossier-patient : en panne depuis le 22/11 à 20:04 ; prise en charge\n",
        "- #1840 messagerie : à surveiller depuis 05:04 ; 4 fois depuis le 22/11 à 20:04",
        "Nœuds muets (1)",
        "Silences et maintenances (2)",
    ] {
        assert!(text.contains(said), "{said} in {text}");
    }
}

#[test]
fn a_digest_of_ten_thousand_names_what_is_urgent_and_counts_the_rest() {
    let paris = paris();
    let mut lines: Vec<DigestLine> = (0..9_700).map(|index| held(lesser(index))).collect();
    lines.extend((0..300).map(|index| {
        held(Notification {
            number: 90_000 + index,
            ..telling()
        })
    }));
    let digest = DigestNotice {
        due: DUE,
        still_on: lines,
        ..DigestNotice::default()
    };
    let mail = mail(voice(Language::French, &paris), &[told(digest)]);
    for index in 0..300 {
        assert!(mail.text.contains(&format!("#{} ", 90_000 + index)));
    }
    assert!(
        mail.text
            .contains("et 9 500 autres : vigie-collector status"),
        "{}",
        &mail.text[mail.text.len() - 300..]
    );
    assert!(mail.text.len() < 200_000 && mail.html.len() < 200_000);
}
