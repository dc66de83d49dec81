//! The arguments that every command has, before or after the subcommand.

use std::path::PathBuf;

/// Where the configuration and the log are.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Configuration and log")]
pub(super) struct Common {
    /// Read this file; may be repeated, later files win
    #[arg(long, value_name = "FILE")]
    config_file: Vec<PathBuf>,
    /// Read the *.conf files of this directory, sorted by name, after the files
    #[arg(long, value_name = "DIR")]
    config_dir: Vec<PathBuf>,
    /// Log to this file instead of standard error
    #[arg(long, value_name = "FILE", alias = "logfile")]
    log_file: Option<PathBuf>,
    /// Directory of the log file, which is named after the program unless --log-file names it
    #[arg(long, value_name = "DIR", alias = "logdir")]
    log_dir: Option<PathBuf>,
    /// Log every detail
    #[arg(long, short = 'd')]
    debug: bool,
    /// Do not log every detail, whatever the files say
    #[arg(long, conflicts_with = "debug", hide = true)]
    nodebug: bool,
    /// Directory for what services keep between starts
    #[arg(long = "state_path", value_name = "DIR", hide = true)]
    state_path: Option<PathBuf>,
}

impl Common {
    /// Arguments from before the subcommand, then those from after it, which win where there can be but one.
    pub(super) fn and(mut self, after: Self) -> Self {
        self.config_file.extend(after.config_file);
        self.config_dir.extend(after.config_dir);
        if after.debug || after.nodebug {
            (self.debug, self.nodebug) = (after.debug, after.nodebug);
        }
        Self {
            log_file: after.log_file.or(self.log_file),
            log_dir: after.log_dir.or(self.log_dir),
            state_path: after.state_path.or(self.state_path),
            ..self
        }
    }

    /// The sources of the configuration: what the arguments name, and where they name none, what `found` has.
    pub(super) fn sources(&self, found: oslo::config::Sources) -> oslo::config::Sources {
        let mut sources = found.with_environment();
        if !self.config_file.is_empty() {
            sources.files.clone_from(&self.config_file);
        }
        if !self.config_dir.is_empty() {
            sources.dirs.clone_from(&self.config_dir);
        }
        let mut set = |name, value: Option<String>| {
            if let Some(value) = value {
                sources.overrides.insert(("DEFAULT", name), value);
            }
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        set("log_file", path(&self.log_file));
        set("log_dir", path(&self.log_dir));
        set("state_path", path(&self.state_path));
        set("debug", (self.debug || self.nodebug).then(|| self.debug.to_string()));
        sources
    }
}

#[cfg(test)]
mod tests {
    use oslo::config::Sources;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Outer {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        inner: Inner,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Inner {
        Go {
            #[command(flatten)]
            common: Common,
        },
    }

    fn parse(words: &str) -> Common {
        use clap::Parser;
        let Outer { common, inner: Inner::Go { common: after } } = Outer::parse_from(words.split(' '));
        common.and(after)
    }

    #[test]
    fn arguments_count_before_and_after_the_subcommand() {
        let common = parse("p --config-file a --log-file one --debug go --config-file=b --config-dir d --log-file two");
        let sources = common.sources(Sources { files: vec!["standard".into()], ..Sources::default() });
        assert_eq!(sources.files, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(sources.dirs, [PathBuf::from("d")]);
        assert_eq!(sources.overrides[&("DEFAULT", "log_file")], "two");
        assert_eq!(sources.overrides[&("DEFAULT", "debug")], "true");
        assert_eq!(parse("p -d go --nodebug").sources(Sources::default()).overrides[&("DEFAULT", "debug")], "false");
    }

    #[test]
    fn without_arguments_the_standard_files_are_read() {
        let found = Sources { files: vec!["standard".into()], ..Sources::default() };
        let sources = parse("p go").sources(found);
        assert_eq!(sources.files, [PathBuf::from("standard")]);
        assert!(sources.overrides.is_empty());
    }
}
