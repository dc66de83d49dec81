//! `isospin db …` and `neutron-db-manage …`: the schema of the database.
//!
//! Commands, output and exit codes are those of upstream's tool. What differs is that there is one way up: an empty
//! database gets the whole schema, one at the head stays as it is, and any other is refused by name.

use std::io::Write;
use std::path::{Path, PathBuf};

use db::Database;
use db::migrate::{self, Revision, State, Target};
use oslo::config::Sources;

use super::Stop;
use super::args::Common;
use super::database::Connection;
use super::edge::Edge;

/// Create and check the database schema.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
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
    /// URL of the database
    #[arg(long, value_name = "URL", hide_default_value = true)]
    database_connection: Option<String>,
    /// Accepted; the URL says which it is
    #[arg(long, value_name = "ENGINE")]
    database_engine: Option<String>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Create the schema in an empty database; one that has it stays as it is
    Upgrade(Upgrade),
    /// Show the revisions that the database is at
    Current(Show),
    /// Show the revisions that there are
    History(Show),
    /// Show where the branches end
    Heads(Show),
    /// Show where the branches part
    Branches(Show),
    /// Succeed if the database has the schema that this version works with
    Check(Plain),
    /// Show where the branches part, and that each has one end
    #[command(name = "check_migration")]
    CheckMigration(Plain),
    /// Fail if the database lacks what needs the servers stopped
    #[command(name = "has_offline_migrations")]
    HasOfflineMigrations(Plain),
    /// Write down that the database is at a revision, and change nothing else
    Stamp(Stamp),
    /// (No longer supported)
    #[command(hide = true)]
    Downgrade(Words),
    /// Write a new migration
    #[command(hide = true)]
    Revision(Words),
}

#[derive(Debug, clap::Args)]
struct Upgrade {
    /// head, heads, a revision, a release such as 2026.2, or +n
    #[arg(allow_hyphen_values = true)]
    revision: Option<String>,
    /// Only what a running server does not notice, which is all
    #[arg(long, conflicts_with = "contract")]
    expand: bool,
    /// Only what needs the servers stopped, which comes with the rest
    #[arg(long)]
    contract: bool,
    /// So many revisions further
    #[arg(long, allow_hyphen_values = true)]
    delta: Option<i64>,
    /// Print statements instead of running them: not supported
    #[arg(long, hide = true)]
    sql: bool,
    /// Storage engine of MySQL's tables; there is one
    #[arg(long, value_parser = ["", "innodb", "InnoDB", "INNODB"], hide = true)]
    mysql_engine: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Show more of each revision
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Plain {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Stamp {
    /// heads, base or a revision
    revision: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
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

/// How far an upgrade is to go.
#[derive(Debug)]
enum Goal {
    /// To the head, of both branches or of the one that is named.
    Head,
    /// To a revision on the way there.
    Older(&'static Revision),
    /// So many revisions further.
    Further(i64),
}

pub(super) fn run(before: Common, args: Args) -> Result<(), Stop> {
    let common = before.and(args.common);
    let action = match args.action {
        Action::Upgrade(Upgrade {
            revision: None, expand: false, contract: false, delta: None, sql, place, ..
        }) => {
            let revision = Some("head".to_owned());
            Action::Upgrade(Upgrade {
                revision,
                expand: false,
                contract: false,
                delta: None,
                sql,
                mysql_engine: None,
                place,
            })
        }
        action => action,
    };
    act(common, None, action)
}

pub(super) fn run_manage(args: ManageArgs) -> Result<(), Stop> {
    act(args.common, args.database_connection, args.action)
}

fn act(common: Common, url: Option<String>, action: Action) -> Result<(), Stop> {
    match action {
        Action::Upgrade(upgrade) => {
            let goal = goal(&upgrade)?;
            let branch = ["(expand) ", "(contract) "].into_iter().zip([upgrade.expand, upgrade.contract]);
            let branch = branch.filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect::<String>();
            said(&format!("upgrade {branch}"), || {
                on_database(common, url, upgrade.place, async |db, _| up(db, goal).await)
            })
        }
        Action::Current(show) => {
            let current = async |db: &Database, shown: &str| current(db, shown, show.verbose).await;
            said("current ", || on_database(common, url, show.place, current))
        }
        Action::History(show) => said("history ", || list(migrate::history().iter(), show.verbose, branched)),
        Action::Heads(show) => {
            said("heads ", || list(heads(), show.verbose, |head| format!("{} (head)", labelled(head))))
        }
        Action::Branches(_) | Action::CheckMigration(_) => said("branches ", branches),
        Action::Check(plain) => on_database(common, url, plain.place, async |db, _| check(db).await),
        Action::HasOfflineMigrations(plain) => on_database(common, url, plain.place, async |db, _| offline(db).await),
        Action::Stamp(stamp) => {
            let Stamp { revision, place } = stamp;
            said("stamp ", || {
                let to = target(&revision)?;
                on_database(common, url, place, async |db, _| migrate::stamp(db, to).await.map_err(database_failed))
            })
        }
        Action::Downgrade(_) => Err(Stop::failed("Downgrade no longer supported")),
        Action::Revision(_) => Err(Stop::failed("migrations are not written here")),
    }
}

/// The lines around what a command does: what runs, and that it went well.
fn said(what: &str, work: impl FnOnce() -> Result<(), Stop>) -> Result<(), Stop> {
    say(&format!("Running {what}for neutron ..."))?;
    work()?;
    say("OK")
}

fn goal(upgrade: &Upgrade) -> Result<Goal, Stop> {
    let Upgrade { revision, delta, expand, contract, sql, .. } = upgrade;
    let phase = *expand || *contract;
    if phase && (revision.is_some() || delta.is_some()) {
        return Err(Stop::failed("Phase upgrade options do not accept revision specification"));
    }
    if *sql {
        return Err(Stop::failed("statements are not printed here: give an empty database and they are run"));
    }
    let words = revision.as_deref().unwrap_or_default();
    if words.contains('-') {
        return Err(Stop::failed("Negative relative revision (downgrade) not supported"));
    }
    match (words, words.split_once('+'), delta) {
        ("", _, None) if phase => Ok(Goal::Head),
        ("", _, None) => Err(Stop::failed("You must provide a revision or relative delta")),
        (_, Some(_), Some(_)) => Err(Stop::failed("Use either --delta or relative revision, not both")),
        (_, _, Some(..0)) => Err(Stop::failed("Negative delta (downgrade) not supported")),
        (_, _, Some(steps)) => Ok(Goal::Further(*steps)),
        (_, Some((_, steps)), None) => {
            steps.parse().map(Goal::Further).map_err(|_| Stop::failed(format!("'{words}' is not a revision")))
        }
        ("head" | "heads" | "expand@head" | "contract@head" | "2026.2", None, None) => Ok(Goal::Head),
        (id, None, None) => match migrate::revision(id).or_else(|| last_of_release(id)) {
            Some(revision) if revision.is_head() => Ok(Goal::Head),
            Some(revision) => Ok(Goal::Older(revision)),
            None => Err(Stop::failed(format!("Can't locate revision identified by '{id}'"))),
        },
    }
}

fn last_of_release(release: &str) -> Option<&'static Revision> {
    migrate::history().iter().find(|revision| revision.release == release)
}

fn target(revision: &str) -> Result<Target, Stop> {
    match revision {
        "heads" => Ok(Target::Heads),
        "base" => Ok(Target::Base),
        "head" => failed("Multiple heads are present; please specify a single target revision"),
        id => match migrate::revision(id.trim_end_matches("@head")) {
            Some(revision) => Ok(Target::Revision(revision)),
            None => failed(&format!("Can't locate revision identified by '{id}'")),
        },
    }
}

/// How upstream's tool tells that a command was refused.
fn failed<T>(why: &str) -> Result<T, Stop> {
    say(&format!("FAILED: {why}"))?;
    Err(Stop::Told(255))
}

/// Connects to the database that is meant and runs something on it, which gets the URL without its password besides.
fn on_database(
    before: Common,
    url: Option<String>,
    place: Place,
    work: impl AsyncFnOnce(&Database, &str) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let common = before.and(place.common);
    let edge = Edge::new("neutron-db-manage", common.sources(Sources::standard("neutron-db-manage")))?;
    let configured: Option<String> = edge.config().get("database", "connection")?;
    let in_dir = place.state_dir.map(|dir| sqlite_url(&dir));
    let Some(url) = place.url.or(url).or(in_dir).or(configured) else {
        return Err(Stop::usage(
            "which database? Set connection in [database] of a --config-file, or give --url or --state-dir",
        ));
    };
    let settings = Connection::new(&edge, &url)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Stop::because("cannot start", error))?.block_on(async {
        let database = settings.open_once().await?;
        work(&database, &db::url_without_password(&url)).await
    })
}

async fn up(database: &Database, goal: Goal) -> Result<(), Stop> {
    match (goal, migrate::state(database).await.map_err(database_failed)?) {
        (Goal::Further(steps @ 1..), State::Head) => {
            Err(Stop::failed(format!("the database is at the head; there are no {steps} revisions after it")))
        }
        (Goal::Older(revision), State::Empty) => Err(Stop::failed(format!(
            "an empty database gets the whole schema: {} is on the way there; use `upgrade head`",
            revision.id
        ))),
        (Goal::Further(steps), State::Empty) if steps < migrate::history().len() as i64 => Err(Stop::failed(format!(
            "an empty database gets the whole schema, which is more than {steps} revisions; use `upgrade head`"
        ))),
        _ => {
            let created = migrate::upgrade(database).await.map_err(database_failed)?;
            tracing::info!(
                "{}",
                if created { "the schema is created" } else { "the schema was there, nothing changed" }
            );
            Ok(())
        }
    }
}

async fn current(database: &Database, url: &str, verbose: bool) -> Result<(), Stop> {
    if verbose {
        say(&format!("Current revision(s) for {url}:"))?;
    }
    for id in migrate::current(database).await.map_err(database_failed)? {
        match migrate::revision(&id).filter(|revision| revision.id == id) {
            Some(revision) if verbose => describe(revision)?,
            Some(revision) if revision.is_head() => say(&format!("{id} (head)"))?,
            _ => say(&id)?,
        }
    }
    Ok(())
}

async fn check(database: &Database) -> Result<(), Stop> {
    migrate::check(database).await.map_err(database_failed)?;
    say("OK")
}

async fn offline(database: &Database) -> Result<(), Stop> {
    let current = migrate::current(database).await.map_err(database_failed)?;
    if current.iter().any(|id| id == migrate::HEADS[0]) {
        return say("No offline migrations pending.");
    }
    say(
        "Need to apply migrations from neutron contract branch. This will require all Neutron server instances to be \
         shutdown before proceeding with the upgrade.",
    )?;
    Err(Stop::Told(1))
}

fn heads() -> impl Iterator<Item = &'static Revision> {
    migrate::history().iter().filter(|revision| revision.is_head())
}

fn list(
    revisions: impl Iterator<Item = &'static Revision>,
    verbose: bool,
    line: impl Fn(&Revision) -> String,
) -> Result<(), Stop> {
    for revision in revisions {
        if verbose { describe(revision)? } else { say(&line(revision))? }
    }
    Ok(())
}

fn branches() -> Result<(), Stop> {
    for revision in migrate::history().iter().filter(|revision| revision.followers().count() > 1) {
        say(&format!("{} (branchpoint)", revision.id))?;
        for follower in revision.followers() {
            say(&format!("     -> {}", labelled(follower)))?;
        }
    }
    say("")
}

/// A line of `history`.
fn branched(revision: &Revision) -> String {
    let down = if revision.down.is_empty() { "<base>" } else { revision.down };
    let depends = if revision.depends.is_empty() { String::new() } else { format!(" ({})", revision.depends) };
    let mark = match revision.followers().count() {
        0 => " (head)",
        1 => "",
        _ => " (branchpoint)",
    };
    format!("{down}{depends} -> {}{mark}, {}", labelled(revision), revision.message)
}

fn labelled(revision: &Revision) -> String {
    if revision.branch.is_empty() { revision.id.to_owned() } else { format!("{} ({})", revision.id, revision.branch) }
}

/// What `--verbose` shows of one.
fn describe(revision: &Revision) -> Result<(), Stop> {
    let followers: Vec<&str> = revision.followers().map(|follower| follower.id).collect();
    let mark = match followers.len() {
        0 => " (head)",
        1 => "",
        _ => " (branchpoint)",
    };
    say(&format!("Rev: {}{mark}", revision.id))?;
    say(&format!("Parent: {}", if revision.down.is_empty() { "<base>" } else { revision.down }))?;
    if !revision.depends.is_empty() {
        say(&format!("Also depends on: {}", revision.depends))?;
    }
    if followers.len() > 1 {
        say(&format!("Branches into: {}", followers.join(", ")))?;
    }
    if !revision.branch.is_empty() {
        say(&format!("Branch names: {}", revision.branch))?;
    }
    say(&format!("Release: {}\n\n    {}\n", revision.release, revision.message))
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
