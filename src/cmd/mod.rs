//! The commands: `isospin <subcommand>`, and the names under which upstream's programs are called.
//!
//! A command reads its arguments and its configuration, then calls the crate that does the work. It ends with 0 when
//! all went well, 1 when something failed, and 2 when it was called or configured wrongly; the last line on standard
//! error then says what to do.

mod agent;
mod agents;
mod args;
mod database;
mod db;
mod demo;
mod edge;
mod links;
mod metrics;
mod notify;
mod program;
mod server;
mod service;
mod standalone;
mod stop;
mod transport;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use args::Common;
use program::Program;
pub(crate) use stop::Stop;

/// OpenStack Networking (Neutron) as one binary
#[derive(Debug, Parser)]
#[command(name = "isospin", version, subcommand_required = true, arg_required_else_help = true)]
struct Isospin {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine: the API on an embedded database, and its agents
    Standalone(standalone::Args),
    /// Run the API server
    Server(server::Args),
    /// Create and check the database schema
    Db(db::Args),
    /// Run one agent of this host
    Agent(agent::Args),
    /// See it work: two instances get addresses and reach each other
    Demo(demo::Args),
    /// Talk to a Neutron API: net-list, port-create, agent-list and the rest of the old neutron command
    #[command(disable_help_flag = true)]
    Client(ClientArgs),
    /// Show how to configure it
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make links named as upstream's programs, which run this binary
    Links(links::Args),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print a configuration file that names every option that is read, with its default
    Sample,
}

#[derive(Debug, clap::Args)]
struct ClientArgs {
    /// The command and its arguments; `help` lists the commands
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Runs the program that the arguments, the first of them its name, ask for.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    let name = arguments.first().and_then(|path| Path::new(path).file_name()).unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let result = match Program::named(&name) {
        Some(Program::Client) => return client(arguments.into_iter().skip(1)),
        Some(program) => program.run(arguments),
        None => match Isospin::parse_from(arguments) {
            Isospin { command: Command::Client(args), .. } => return crate::client::run(args.words),
            Isospin { common, command } => command.run(common),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            if !matches!(stop, Stop::Told(_)) {
                let _ = writeln!(std::io::stderr(), "{name}: {stop}");
            }
            ExitCode::from(stop.code())
        }
    }
}

impl Command {
    fn run(self, common: Common) -> Result<(), Stop> {
        match self {
            Self::Standalone(args) => standalone::run(common, args),
            Self::Server(args) => server::run("neutron-server", common, args),
            Self::Db(args) => db::run(common, args),
            Self::Agent(args) => agent::run(common, args),
            Self::Demo(args) => demo::run(common, args),
            Self::Links(args) => links::run(args),
            Self::Config(ConfigCommand::Sample) => {
                let _ = write!(std::io::stdout(), "{}", oslo::config::sample(oslo::config::options::CATALOG));
                Ok(())
            }
            Self::Client(args) => match crate::client::run(args.words) {
                ExitCode::SUCCESS => Ok(()),
                _ => Err(Stop::failed("the client failed")),
            },
        }
    }
}

fn client(words: impl Iterator<Item = OsString>) -> ExitCode {
    crate::client::run(words.map(|word| word.to_string_lossy().into_owned()).collect())
}

/// Parses the arguments of a program that is called by a name of its own.
fn parse<T: clap::Args>(program: &'static str, arguments: Vec<OsString>) -> T {
    let command = T::augment_args(clap::Command::new(program)).version(env!("CARGO_PKG_VERSION"));
    let matches = command.get_matches_from(arguments);
    T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}
