#![expect(clippy::unwrap_used, reason = "tests")]

use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Command, clap::error::ErrorKind> {
    Arguments::try_parse_from(line.split_whitespace())
        .map(|arguments| arguments.command)
        .map_err(|error| error.kind())
}

#[test]
fn the_command_line_holds_together() {
    Arguments::command().debug_assert();
}

#[test]
fn a_token_is_for_exactly_one_node_or_sender() {
    use clap::error::ErrorKind;
    let Ok(Command::Token(token)) = parse("vigie-collector token --sender prom-01 --replace")
    else {
        panic!("a sender's token");
    };
    assert_eq!(token.sender.unwrap().as_str(), "prom-01");
    assert!(token.node.is_none() && token.replace);
    assert!(parse("vigie-collector token --node app-01").is_ok());
    for (line, refused) in [
        ("token", ErrorKind::MissingRequiredArgument),
        ("token --replace", ErrorKind::MissingRequiredArgument),
        ("token --node a --sender a", ErrorKind::ArgumentConflict),
        ("token --sender PROM", ErrorKind::ValueValidation),
    ] {
        let got = parse(&format!("vigie-collector {line}")).unwrap_err();
        assert_eq!(got, refused, "{line}");
    }
}

#[test]
fn every_command_about_senders_shows_an_example() {
    let cli = Arguments::command();
    let sender = cli.find_subcommand("sender").unwrap();
    let names: Vec<_> = sender
        .get_subcommands()
        .map(|command| {
            let help = command.get_after_help().map(ToString::to_string);
            let name = command.get_name();
            let example = format!("vigie-collector sender {name}");
            assert!(help.is_some_and(|help| help.contains(&example)), "{name}");
            name
        })
        .collect();
    assert_eq!(names, ["list", "retire", "deny", "allow"]);
}

#[test]
fn every_command_about_alerts_shows_an_example() {
    let cli = Arguments::command();
    for path in [
        "ack",
        "end",
        "silence",
        "silence list",
        "silence end",
        "maintenance start",
        "maintenance end",
        "maintenance list",
        "test-receiver",
    ] {
        let command = path
            .split(' ')
            .try_fold(&cli, |command, name| command.find_subcommand(name));
        let help = command.and_then(clap::Command::get_after_help);
        let help = help.map(ToString::to_string).unwrap_or_default();
        assert!(help.contains(&format!("vigie-collector {path}")), "{path}");
    }
}

#[test]
fn an_acknowledgement_names_alerts_or_undoes_one() {
    use clap::error::ErrorKind;
    for good in ["1841", "1841 #1843 --for 2h", "--undo 1841", "1841 --json"] {
        assert!(
            parse(&format!("vigie-collector ack {good}")).is_ok(),
            "{good}"
        );
    }
    for (line, refused) in [
        ("", ErrorKind::MissingRequiredArgument),
        ("--for 2h", ErrorKind::MissingRequiredArgument),
        ("1841 --undo 1841", ErrorKind::ArgumentConflict),
        ("--undo 1841 --for 2h", ErrorKind::ArgumentConflict),
        ("all", ErrorKind::ValueValidation),
        ("1841 --for soon", ErrorKind::ValueValidation),
    ] {
        let got = parse(&format!("vigie-collector ack {line}")).unwrap_err();
        assert_eq!(got, refused, "{line}");
    }
}

#[test]
fn maintenance_has_a_length_and_a_reason() {
    use clap::error::ErrorKind;
    let start = "vigie-collector maintenance start --node app-01";
    assert!(parse(&format!("{start} --for 2h --reason noyau")).is_ok());
    for missing in ["--for 2h", "--reason noyau"] {
        let got = parse(&format!("{start} {missing}")).unwrap_err();
        assert_eq!(got, ErrorKind::MissingRequiredArgument);
    }
}
