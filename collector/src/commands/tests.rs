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
