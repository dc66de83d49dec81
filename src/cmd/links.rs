//! `isospin links DIR`: links named as upstream's programs, which run this binary under those names.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::Stop;
use super::program::NAMES;

/// Make links named as upstream's programs, which run this binary.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory for the links
    dir: PathBuf,
}

pub(super) fn run(args: Args) -> Result<(), Stop> {
    let binary = std::env::current_exe().map_err(|error| Stop::because("cannot tell where this binary is", error))?;
    let made = make(&args.dir, &binary)?;
    let _ = writeln!(std::io::stdout(), "{made} links made in {}, {} there", args.dir.display(), NAMES.len() - made);
    Ok(())
}

/// Makes the links that are missing; anything else of these names stops it before the first is made.
fn make(dir: &Path, binary: &Path) -> Result<usize, Stop> {
    std::fs::create_dir_all(dir).map_err(|error| Stop::because(format!("cannot make {}", dir.display()), error))?;
    let mut missing = Vec::new();
    for (name, _) in NAMES {
        let link = dir.join(name);
        match std::fs::symlink_metadata(&link) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing.push(link),
            Err(error) => return Err(Stop::because(format!("cannot look at {}", link.display()), error)),
            Ok(_) if std::fs::read_link(&link).is_ok_and(|target| target == binary) => {}
            Ok(_) => {
                return Err(Stop::failed(format!(
                    "{} is there and is not a link to {}; move it away first",
                    link.display(),
                    binary.display()
                )));
            }
        }
    }
    for link in &missing {
        symlink(binary, link).map_err(|error| Stop::because(format!("cannot make {}", link.display()), error))?;
    }
    Ok(missing.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_made_once_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        let binary = Path::new("/usr/bin/isospin");
        assert_eq!(make(&bin, binary).unwrap(), NAMES.len());
        assert_eq!(make(&bin, binary).unwrap(), 0);
        assert_eq!(std::fs::read_link(bin.join("neutron-server")).unwrap(), binary);

        std::fs::remove_file(bin.join("neutron")).unwrap();
        std::fs::remove_file(bin.join("neutron-server")).unwrap();
        std::fs::write(bin.join("neutron-server"), "#!/usr/bin/python3").unwrap();
        let text = make(&bin, binary).unwrap_err().to_string();
        assert!(text.ends_with("neutron-server is there and is not a link to /usr/bin/isospin; move it away first"));
        assert!(!bin.join("neutron").exists(), "nothing is made when something is in the way");
    }
}
