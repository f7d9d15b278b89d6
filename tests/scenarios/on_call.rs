//! The house in which the stories of nights and weekends happen: the settings of the handbook, its people, its gateway for
//! text messages and its mail server. Their clock begins at the last Saturday evening, because certificates are judged by
//! the machine's own clock too.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Method;
use jiff::{
    Timestamp, ToSpan as _, Zoned,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use serde_json::Value;
use vigie_collector::zones;
use vigie_core::{status::Status, time::Wall};
use vigie_platform::clock::{Clock as _, SystemClock};
use vigie_tests::harness::{
    Collector, DrivenClock, Gateway, HandAgent, MailServer, ask_plain, eventually, own_address,
    replays,
};

/// Who is on call until Monday, who is from then on, and whom the second step wakes.
pub const AM: &str = "+33600000001";
pub const JB: &str = "+33600000002";
pub const CHEF: &str = "+33600000003";

/// Less than an agent may be unheard.
const PASSES_AT_ONCE: Duration = Duration::from_secs(30 * 60);

/// Everybody who is there. The collector is dropped first, so that nobody is missed by it.
pub struct House {
    pub collector: Collector,
    pub clock: Arc<DrivenClock>,
    pub gateway: Gateway,
    pub mail: MailServer,
    acknowledge: SocketAddr,
    monday: Date,
}

impl House {
    /// It is Saturday, 22:50 in Paris.
    pub async fn open() -> Self {
        Self::open_at(saturday()).await
    }

    /// It is then.
    pub async fn open_at(at: Wall) -> Self {
        let clock = Arc::new(DrivenClock::at(at));
        let mut house = Self {
            collector: Collector::with("").clock(&clock).prepare(),
            clock,
            gateway: Gateway::start().await,
            mail: MailServer::start().await,
            acknowledge: (own_address(), 9479).into(),
            monday: monday_before(at).checked_add(7.days()).expect("our days"),
        };
        house.collector.write_settings(&house.settings());
        house.collector.write_people(PEOPLE);
        house.collector.restart().await;
        house
    }

    /// The tables of its settings, without people.
    pub fn settings(&self) -> String {
        let monday = self.monday;
        let before = monday.checked_sub(7.days()).expect("our days");
        let acknowledge = self.acknowledge;
        "silent_after = \"1h\"\n".to_owned()
            + &self.gateway.as_channel()
            + &self.mail.as_channel()
            + &format!(
                r#"
                [service.dossier-patient]
                criticality = "critical"
                needs = {{ D = 4, I = 4, C = 4, T = 3 }}
                [service.intranet]
                criticality = "standard"
                needs = {{ D = 2, I = 2, C = 2, T = 2 }}
                [group.app-strasbourg]
                nodes = ["app-01", "app-02"]
                services = ["dossier-patient", "intranet"]
                site = "strasbourg"
                [calendar.bureau]
                time_zone = "Europe/Paris"
                open = ["Mon-Fri 08:30-18:00"]
                holidays = {{ country = "fr", alsace_moselle = true, good_friday = true }}
                opened = ["{monday}"]
                [rota.astreinte]
                people = ["am", "jb"]
                handoff = "Mon 08:30 Europe/Paris"
                first = "{before}"
                [receiver.astreinte]
                steps = [
                    {{ rota = "astreinte", via = ["sms"], repeat = "5m" }},
                    {{ after = "15m", people = ["chef"], via = ["sms", "mail"], repeat = "10m" }},
                ]
                [receiver.equipe-sis]
                calendar = "bureau"
                email = {{ to = ["sis@chu.example"], channel = "mail" }}
                digest = "always"
                [[route]]
                match = {{ criticality = "critical", status = ["critical", "unknown"], environment = "production" }}
                outside = "bureau"
                notify = ["astreinte"]
                digest = ["equipe-sis"]
                [[route]]
                match = {{ need = 4, family = ["integrity", "backup", "tls"], status = "critical", environment = "production" }}
                outside = "bureau"
                notify = ["astreinte"]
                digest = ["equipe-sis"]
                [[route]]
                notify = ["equipe-sis"]
                hold = true
                [acknowledge]
                listen = "{acknowledge}"
                url = "http://{acknowledge}"
                lasts = "8h"
                "#
            )
    }

    /// The Monday after that Saturday, whatever holiday it may be in the year in which this runs.
    pub const fn monday(&self) -> Date {
        self.monday
    }

    /// Opening time of that Monday.
    pub fn opening(&self) -> Wall {
        wall(self.monday(), 8, 30)
    }

    /// A node driven by hand with a check for the critical service and one for the standard one, both well.
    pub async fn node(&self, name: &str) -> HandAgent {
        let mut agent = HandAgent::join(&self.collector, name).await;
        agent.adds_to_plan(&["portail"], Some("dossier-patient"));
        agent.adds_to_plan(&["annuaire"], Some("intranet"));
        let mut lines = agent.says_plan();
        for check in ["portail", "annuaire"] {
            lines.push(agent.finds(check, None, Status::Ok));
        }
        agent.hands_in(&lines).await;
        agent
    }

    /// Lets so much time pass, with every node heard at least every half hour.
    pub async fn passes(&self, duration: Duration, nodes: &[&HandAgent]) {
        let mut left = duration;
        while !left.is_zero() {
            let step = left.min(PASSES_AT_ONCE);
            self.clock.jump(step);
            left -= step;
            for node in nodes {
                node.hands_in(&[]).await;
            }
            self.catches_up().await;
        }
    }

    /// Lets time pass until then.
    pub async fn passes_until(&self, then: Wall, nodes: &[&HandAgent]) {
        let left = then.0 - self.clock.now().wall.0;
        let left = u64::try_from(left).expect("it is not over yet");
        self.passes(Duration::from_millis(left), nodes).await;
    }

    /// Waits until the collector has done all that is due by now, deliveries to those who take them included.
    pub async fn catches_up(&self) {
        let at = self.clock.now().wall.to_string();
        eventually("the collector has seen this hour", async || {
            let status = self.collector.try_status().await?;
            if status["at"].as_str() >= Some(&at) {
                Ok(())
            } else {
                Err(status["at"].to_string())
            }
        })
        .await;
    }

    /// Waits until nothing is on its way any more. A clock that jumps under a request would make its answer late.
    pub async fn is_delivered(&self) {
        eventually("nothing is on its way", async || {
            match &self.collector.try_status().await?["messages_waiting"] {
                none if *none == 0 => Ok(()),
                some => Err(some.to_string()),
            }
        })
        .await;
    }

    /// Follows a link with `method`, and returns the status and the page.
    pub async fn follows(&self, link: &str, method: Method) -> (u16, String) {
        let beginning = format!("http://{}", self.acknowledge);
        let path = link.strip_prefix(&beginning);
        let path = path.unwrap_or_else(|| panic!("{link} leads elsewhere"));
        eventually("the page behind the link answers", async || {
            let page = ask_plain(self.acknowledge, method.clone(), path, &[]).await?;
            let text = String::from_utf8_lossy(&page.body).into_owned();
            Ok((page.status, text))
        })
        .await
    }

    /// Follows a link and presses its button.
    pub async fn presses(&self, link: &str) -> String {
        let (status, page) = self.follows(link, Method::POST).await;
        assert_eq!(status, 200, "{page}");
        page
    }

    /// Changes the settings and waits until they count.
    pub async fn reloads(&self, settings: &str) {
        const LOADED: &str = "settings loaded";
        let before = self.collector.program().log().matches(LOADED).count();
        self.collector.write_settings(settings);
        self.collector.reload();
        eventually("the settings are read again", async || {
            let log = self.collector.program().log();
            if log.matches(LOADED).count() > before {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
    }

    /// What `why` says of an alert.
    pub fn tells_why(&self, number: &str) -> String {
        let output = self.collector.command(&["why", number]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it prints text")
    }

    /// The open alert about a check.
    pub async fn alert(&self, check: &str) -> Value {
        eventually(&format!("{check} is an alert"), async || {
            let status = self.collector.try_status().await?;
            let alerts = status["alerts"].as_array().cloned().unwrap_or_default();
            let found = alerts.iter().find(|alert| alert["check"] == check);
            found.cloned().ok_or_else(|| format!("{alerts:?}"))
        })
        .await
    }

    /// What `explain` says of this moment.
    pub fn explains(&self, supposed: &[&str]) -> Value {
        let at = self.clock.now().wall.to_string();
        let words: Vec<&str> = ["explain", "--json", "--at", &at]
            .iter()
            .chain(supposed)
            .copied()
            .collect();
        let output = self.collector.command(&words);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    }

    /// The exercise that runs.
    pub async fn exercise(&self) -> Value {
        let status = self.collector.status().await;
        let alerts = status["alerts"].as_array().cloned().unwrap_or_default();
        let exercise = alerts.into_iter().find(|alert| alert["exercise"] == true);
        exercise.expect("an exercise runs")
    }

    /// This evening, as settings write it.
    pub fn evening(&self) -> String {
        let now = in_paris(self.clock.now().wall);
        now.strftime("%Y-%m-%d %H:%M").to_string()
    }

    /// The story is over: the log is decided once more, and comes out the same.
    pub async fn closes(mut self) {
        assert!(self.collector.stop().await.success());
        replays(&self.collector.data_dir()).await;
    }
}

/// Who is reached how.
pub const PEOPLE: &str = r#"
[person.am]
contacts = [{ channel = "sms", to = "+33600000001" }, { channel = "mail", to = "am@chu.example" }]
[person.jb]
contacts = [{ channel = "sms", to = "+33600000002" }]
[person.chef]
contacts = [{ channel = "sms", to = "+33600000003" }, { channel = "mail", to = "chef@chu.example" }]
"#;

/// The zone of all clocks in the stories.
fn paris() -> TimeZone {
    zones::find("Europe/Paris").expect("every machine knows Paris")
}

/// Then and there.
pub fn wall(date: Date, hour: i8, minute: i8) -> Wall {
    let then = date.at(hour, minute, 0, 0).to_zoned(paris());
    Wall(
        then.expect("no story happens in a gap")
            .timestamp()
            .as_millisecond(),
    )
}

fn in_paris(at: Wall) -> Zoned {
    Timestamp::from_millisecond(at.0)
        .expect("stories happen in our days")
        .to_zoned(paris())
}

/// The last Saturday, 22:50.
pub fn saturday() -> Wall {
    let now = SystemClock.wall();
    let today = in_paris(now).date();
    let since = today.weekday().since(Weekday::Saturday);
    let saturday = today.checked_sub(since.days()).expect("our days");
    let at = wall(saturday, 22, 50);
    if at <= now {
        at
    } else {
        wall(saturday.checked_sub(7.days()).expect("our days"), 22, 50)
    }
}

fn monday_before(at: Wall) -> Date {
    let date = in_paris(at).date();
    let since = date.weekday().since(Weekday::Monday);
    date.checked_sub(since.days()).expect("our days")
}
