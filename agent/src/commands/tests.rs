#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;

use super::*;

fn run(arguments: &[&str]) -> Exit {
    let arguments = std::iter::once("vigie-agent").chain(arguments.iter().copied());
    let none: [(OsString, OsString); 0] = [];
    main(arguments.map(OsString::from), none)
}

#[test]
fn the_command_line_holds_together_and_every_command_shows_an_example() {
    let cli = command_line();
    cli.clone().debug_assert();
    for command in cli.get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string);
        assert!(
            help.is_some_and(|help| help.contains("vigie-agent")),
            "{}",
            command.get_name()
        );
    }
    let sender = cli.find_subcommand("sender").unwrap();
    for command in sender.get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string);
        assert!(help.is_some_and(|help| help.contains("vigie-agent sender")));
    }
}

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    let missing = missing.to_str().unwrap();
    let socket = dir.path().join("admin.sock");
    let token = dir.path().join("token");
    let nowhere = dir.path().join("none/vigie");
    let nowhere = nowhere.to_str().unwrap();
    let here = dir.path().to_str().unwrap();
    let table: [(&[&str], Exit); 12] = [
        (&["--version"], Exit::Ok),
        (&["no-such-command"], Exit::Usage),
        (&["probe", "no-such-kind"], Exit::Usage),
        (&["probe", "tcp"], Exit::Usage),
        (&["probe", "memory", "with-a-target"], Exit::Usage),
        (&["sender"], Exit::Usage),
        (&["sender", "renew", "--dir", nowhere], Exit::Usage),
        (&["sender", "renew", "--dir", here], Exit::Usage),
        (
            &[
                "sender",
                "join",
                "--token-file",
                token.to_str().unwrap(),
                "--dir",
                here,
            ],
            Exit::Usage,
        ),
        (&["check-config", "--config", missing], Exit::Usage),
        (
            &["status", "--socket", socket.to_str().unwrap()],
            Exit::Unreachable,
        ),
        (
            &[
                "join",
                "--config",
                missing,
                "--token-file",
                token.to_str().unwrap(),
            ],
            Exit::Usage,
        ),
    ];
    for (arguments, expected) in table {
        assert_eq!(run(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn a_machine_that_has_not_joined_is_told_so_and_nothing_runs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    let state = dir.path().join("state");
    let text = format!(
        "state_dir = {state:?}\ncollectors = [\"https://vigie.example:9443\"]\nlisten = \"off\"\n"
    );
    fs::write(&file, text).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(run(&["check-config", "--config", file]), Exit::Ok);
    assert_eq!(run(&["run", "--config", file]), Exit::Usage);
    assert!(!state.join("entries").exists());
    assert_eq!(
        run(&["reveal", "~00000000", "--config", file]),
        Exit::Finding
    );
}

#[test]
fn a_probe_finds_what_does_not_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    assert_eq!(run(&["probe", "tcp", &address]), Exit::Ok);
    drop(listener);
    assert_eq!(run(&["probe", "tcp", &address, "--json"]), Exit::Finding);
}
