//! Commands that talk to a running collector.

use std::{ffi::OsString, path::Path};

use serde::de::DeserializeOwned;
use serde_json::json;
use vigie_core::{
    id::{NodeName, SenderName},
    token::Holder,
};
use vigie_decide::view::fleet::Fleet;
use vigie_platform::process::Exit;

use crate::{
    operator::{
        Answer, Question, ask,
        reply::{Done, IssuedToken},
    },
    settings,
    status::{node_table, sender_table, table},
};

type Variables = Vec<(OsString, OsString)>;

/// Which collector is asked: the one with these settings.
pub(super) struct Asked<'a> {
    /// Its settings file.
    pub(super) config: &'a Path,
    /// Variables that override it.
    pub(super) variables: Variables,
}

/// Asks, and prints why not if it is refused.
pub(super) async fn ask_running<T: DeserializeOwned>(
    asked: Asked<'_>,
    question: Question,
) -> Result<T, Exit> {
    let (value, _) = ask_running_with_settings(asked, question).await?;
    Ok(value)
}

/// As [`ask_running`], with the settings by which the collector was found.
pub(super) async fn ask_running_with_settings<T: DeserializeOwned>(
    asked: Asked<'_>,
    question: Question,
) -> Result<(T, settings::Settings), Exit> {
    let settings = asked.settings()?;
    let value = ask_at(&settings.data_dir, &question).await?;
    Ok((value, settings))
}

impl Asked<'_> {
    /// Its settings; prints what is wrong with them.
    pub(super) fn settings(self) -> Result<settings::Settings, Exit> {
        settings::load(self.config, self.variables).map_err(|mistakes| {
            eprintln!("{mistakes}");
            Exit::Usage
        })
    }
}

/// Asks, and prints why not if it is refused.
async fn answer<T: DeserializeOwned>(
    config: &Path,
    variables: Variables,
    question: Question,
) -> Result<(T, settings::Settings), Exit> {
    ask_running_with_settings(Asked { config, variables }, question).await
}

/// Asks the collector that runs on a data folder what it would not refuse, and prints why not.
pub(super) async fn ask_at<T: DeserializeOwned>(
    data_dir: &Path,
    question: &Question,
) -> Result<T, Exit> {
    if let Err(wrong) = question.judge() {
        eprintln!("{wrong}");
        return Err(Exit::Usage);
    }
    match ask(data_dir, question).await {
        Ok(Answer::Done(value)) => Ok(value),
        Ok(Answer::Refused { error, mend }) => {
            eprintln!("{error}; {mend}");
            Err(Exit::Finding)
        }
        Err(cause) => {
            eprintln!("{cause}");
            Err(Exit::Unreachable)
        }
    }
}

async fn perform(config: &Path, variables: Variables, question: Question, done: String) -> Exit {
    match answer::<Done>(config, variables, question).await {
        Ok(_) => {
            println!("{done}");
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

pub(super) async fn status(config: &Path, variables: Variables, json: bool) -> Exit {
    match answer::<Fleet>(config, variables, Question::Status).await {
        Ok((fleet, settings)) => {
            if json {
                println!("{:#}", json!(fleet));
            } else {
                print!("{}", table(&fleet, settings.language));
            }
            if fleet.is_fine() {
                Exit::Ok
            } else {
                Exit::Finding
            }
        }
        Err(exit) => exit,
    }
}

pub(super) async fn node_list(config: &Path, variables: Variables, json: bool) -> Exit {
    match answer::<Fleet>(config, variables, Question::Status).await {
        Ok((fleet, _)) => {
            if json {
                println!("{:#}", json!(fleet.nodes));
            } else {
                print!("{}", node_table(&fleet.nodes));
            }
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

pub(super) async fn token(
    config: &Path,
    variables: Variables,
    holder: Holder,
    replace: bool,
) -> Exit {
    let name = holder.name().to_owned();
    let (question, then) = match holder {
        Holder::Node(node) => (
            Question::Token { node, replace },
            format!("On that machine: vigie-agent join --token-file FILE --node {name}"),
        ),
        Holder::Sender(sender) => (
            Question::SenderToken { sender, replace },
            format!(
                "Beside that program, under its account: vigie-agent sender join --token-file FILE --name {name} --dir DIR"
            ),
        ),
    };
    match answer::<IssuedToken>(config, variables, question).await {
        Ok((issued, _)) => {
            println!("{}", issued.token);
            eprintln!("One use, one hour, for {name} only. {then}");
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

pub(super) async fn retire(config: &Path, variables: Variables, node: NodeName) -> Exit {
    let done = format!("{node} is retired; its alerts have ended, its lines stay in the log.");
    perform(config, variables, Question::Retire { node }, done).await
}

pub(super) async fn deny(
    config: &Path,
    variables: Variables,
    node: NodeName,
    denied: bool,
) -> Exit {
    let done = if denied {
        format!("{node} is denied.")
    } else {
        format!("{node} is allowed again.")
    };
    perform(config, variables, Question::Deny { node, denied }, done).await
}

pub(super) async fn sender_list(config: &Path, variables: Variables, json: bool) -> Exit {
    match answer::<Fleet>(config, variables, Question::Status).await {
        Ok((fleet, _)) => {
            if json {
                println!("{:#}", json!(fleet.senders));
            } else {
                print!("{}", sender_table(&fleet.senders));
            }
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

pub(super) async fn retire_sender(config: &Path, variables: Variables, sender: SenderName) -> Exit {
    let done = format!("{sender} is retired; nothing is taken from it any more.");
    perform(config, variables, Question::RetireSender { sender }, done).await
}

pub(super) async fn deny_sender(
    config: &Path,
    variables: Variables,
    sender: SenderName,
    denied: bool,
) -> Exit {
    let done = if denied {
        format!("{sender} is denied.")
    } else {
        format!("{sender} is allowed again.")
    };
    let question = Question::DenySender { sender, denied };
    perform(config, variables, question, done).await
}

pub(super) async fn confirm(config: &Path, variables: Variables, node: NodeName) -> Exit {
    let done = format!(
        "Confirmed: the plan of {node} as it is now; alerts that waited for a person have ended."
    );
    perform(config, variables, Question::Confirm { node }, done).await
}

pub(super) async fn clock_confirm(config: &Path, variables: Variables) -> Exit {
    perform(
        config,
        variables,
        Question::ClockConfirm,
        "The wall clock is trusted again.".to_owned(),
    )
    .await
}
