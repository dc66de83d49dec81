//! Help texts, made from the table of commands.

use std::io::{self, Write};

use super::args;
use super::catalog;
use super::spec::{Command, Count, Take};

/// Writes what the client as a whole takes, and its commands.
pub(super) fn write_overview(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "usage: neutron [options] COMMAND [arguments]\n")?;
    writeln!(out, "Options of every command:")?;
    let flags = [
        ("--os-cloud CLOUD", "a cloud of clouds.yaml (OS_CLOUD)"),
        ("--os-url URL", "the API, without asking Keystone (OS_URL, OS_ENDPOINT)"),
        ("--os-token TOKEN", "a token (OS_TOKEN)"),
        ("--os-auth-url URL", "Keystone (OS_AUTH_URL); with --os-username, --os-password, --os-project-name,"),
        ("", "--os-user-domain-name, --os-project-domain-name, --os-region-name"),
        ("--os-endpoint-type TYPE", "public, internal or admin (OS_INTERFACE)"),
        ("--os-cacert FILE", "the certificates to trust for https (OS_CACERT)"),
        ("--http-timeout SECONDS", "how long to wait for an answer (OS_NETWORK_TIMEOUT)"),
        ("-r, --retries NUM", "how often to try again to connect"),
        ("-h, --help", "this text, or that of a command"),
    ];
    for (flag, text) in flags {
        writeln!(out, "  {flag:<26}{text}")?;
    }
    writeln!(out, "\nCommands for API v2.0:")?;
    let width = catalog::COMMANDS.iter().map(|command| command.name.len()).max().unwrap_or(0);
    for command in catalog::COMMANDS {
        writeln!(out, "  {:<width$}  {}", command.name, command.about)?;
    }
    writeln!(out, "\n'neutron help COMMAND' tells what a command takes.")
}

/// Writes what a command takes.
pub(super) fn write_command(out: &mut dyn Write, command: &'static Command) -> io::Result<()> {
    writeln!(out, "{}\n\n{}\n", usage(command), command.about)?;
    for opt in args::options_of(command) {
        let names: Vec<&str> = opt.names.iter().rev().copied().collect();
        let value = if opt.take == Take::Flag { String::new() } else { format!(" {}", opt.metavar) };
        writeln!(out, "  {:<44} {}", format!("{}{value}", names.join(", ")), opt.help)?;
    }
    writeln!(out, "\nAny other --key value is passed to the server as it is.")
}

/// The line that sums a command up.
pub(super) fn usage(command: &Command) -> String {
    let mut usage = format!("usage: neutron {} [options]", command.name);
    for positional in command.positionals {
        let name = positional.metavar;
        usage.push_str(&match positional.count {
            Count::One => format!(" {name}"),
            Count::Optional => format!(" [{name}]"),
            Count::Several => format!(" {name} [{name} ...]"),
        });
    }
    usage
}
