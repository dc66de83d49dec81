//! `isospin db …` and `neutron-db-manage …`: the schema of the database.

use std::io::Write;
use std::path::{Path, PathBuf};

use db::migrate::{self, State};
use db::{Database, Settings};
use oslo::config::Sources;

use super::Stop;
use super::args::Common;
use super::edge::Edge;

/// Create and check the database schema.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Create the schema in an empty database; one that has it stays as it is
    Upgrade {
        /// The revision; head is the only one
        #[arg(default_value = "head", value_parser = ["head", "heads"])]
        revision: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show the revisions that the database is at
    Current {
        #[command(flatten)]
        place: Place,
    },
    /// Succeed if the database has the schema that this version works with
    Check {
        #[command(flatten)]
        place: Place,
    },
    /// Show the revisions that there are
    History,
}

/// Which database; without an argument, that of the configuration.
#[derive(Debug, Default, clap::Args)]
struct Place {
    /// URL of the database
    #[arg(long, value_name = "URL", conflicts_with = "state_dir")]
    url: Option<String>,
    /// State directory of a standalone service
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// The arguments of `neutron-db-manage`.
#[derive(Debug, clap::Args)]
pub(super) struct ManageArgs {
    #[command(flatten)]
    common: Common,
    /// The project whose schema it is; this one is neutron's
    #[arg(long, default_value = "neutron", value_parser = ["neutron"])]
    subproject: String,
    #[command(subcommand)]
    action: ManageAction,
}

#[derive(Debug, clap::Subcommand)]
enum ManageAction {
    /// Create the schema in an empty database; one that has it stays as it is
    Upgrade {
        /// The revision: head or heads
        #[arg(default_value = "heads", value_parser = ["head", "heads"])]
        revision: String,
        /// Only what a running server does not notice, which is all
        #[arg(long, conflicts_with = "contract")]
        expand: bool,
        /// Only what needs the servers stopped, which is nothing
        #[arg(long)]
        contract: bool,
    },
    /// Show the revisions that the database is at
    Current {
        /// Accepted
        #[arg(long, short)]
        verbose: bool,
    },
    /// Show the revisions that there are
    History,
    /// Show the newest revisions
    Heads,
    /// Succeed: there is one way to the newest schema
    #[command(name = "check_migration")]
    CheckMigration,
    /// Fail if the database lacks what needs the servers stopped
    #[command(name = "has_offline_migrations")]
    HasOfflineMigrations,
    /// Mark the database as being at a revision
    #[command(hide = true)]
    Stamp {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Write a new migration
    #[command(hide = true)]
    Revision {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// What is asked of the database, whichever the name of the program.
#[derive(Clone, Copy)]
enum Task {
    Upgrade,
    Current,
    Check,
}

pub(super) fn run(before: Common, args: Args) -> Result<(), Stop> {
    let common = before.and(args.common);
    let (task, place) = match args.action {
        Action::Upgrade { place, .. } => (Task::Upgrade, place),
        Action::Current { place } => (Task::Current, place),
        Action::Check { place } => (Task::Check, place),
        Action::History => return history(),
    };
    on_database(common, place, task)
}

pub(super) fn run_manage(args: ManageArgs) -> Result<(), Stop> {
    let task = match args.action {
        ManageAction::Upgrade { .. } => Task::Upgrade,
        ManageAction::Current { .. } => Task::Current,
        ManageAction::HasOfflineMigrations => Task::Check,
        ManageAction::History | ManageAction::Heads => return history(),
        ManageAction::CheckMigration => return say("OK"),
        ManageAction::Stamp { .. } | ManageAction::Revision { .. } => {
            return Err(Stop::usage(
                "migrations are not written and no revision is stamped here: `upgrade head` creates the schema in an \
                 empty database, and upstream's neutron-db-manage brings an older one to 2026.2",
            ));
        }
    };
    on_database(args.common, Place::default(), task)
}

fn on_database(before: Common, place: Place, task: Task) -> Result<(), Stop> {
    let common = before.and(place.common);
    let edge = Edge::new("neutron-db-manage", common.sources(Sources::standard("neutron-db-manage")))?;
    let configured: Option<String> = edge.config().get("database", "connection")?;
    let in_dir = place.state_dir.map(|dir| sqlite_url(&dir));
    let Some(url) = place.url.or(in_dir).or(configured) else {
        return Err(Stop::usage(
            "which database? Set connection in [database] of a --config-file, or give --url or --state-dir",
        ));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Stop::because("cannot start", error))?.block_on(perform(&url, task))
}

async fn perform(url: &str, task: Task) -> Result<(), Stop> {
    let database = Database::connect(&Settings::new(url)).await.map_err(database_failed)?;
    match task {
        Task::Upgrade => {
            let created = migrate::upgrade(&database).await.map_err(database_failed)?;
            say(if created { "OK: the schema is created" } else { "OK: the schema was there, nothing changed" })
        }
        Task::Current => {
            for revision in migrate::current(&database).await.map_err(database_failed)? {
                say(&format!("{revision} (head)").replace(" (head)", head_mark(&revision)))?;
            }
            Ok(())
        }
        Task::Check => match migrate::state(&database).await.map_err(database_failed)? {
            State::Head => say("OK"),
            _ => migrate::check(&database).await.map_err(database_failed),
        },
    }
}

fn head_mark(revision: &str) -> &'static str {
    if migrate::HEADS.iter().any(|head| head.id == revision) { " (head)" } else { "" }
}

fn history() -> Result<(), Stop> {
    for revision in migrate::history() {
        let down = revision.down.unwrap_or("<base>");
        say(&format!("{down} -> {} ({}) (head), {}", revision.id, revision.branch, revision.message))?;
    }
    Ok(())
}

/// The embedded database of a standalone service.
pub(super) fn sqlite_url(state_dir: &Path) -> String {
    let dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    format!("sqlite:///{}", dir.join(super::standalone::DATABASE).display())
}

pub(super) fn database_failed(error: db::DbError) -> Stop {
    match error {
        db::DbError::Url(_) => Stop::usage(error.to_string()),
        error => Stop::failed(super::stop::chain(&error)),
    }
}

/// A line for whoever called; a reader that went away is no failure.
fn say(line: &str) -> Result<(), Stop> {
    let _ = writeln!(std::io::stdout(), "{line}");
    Ok(())
}
