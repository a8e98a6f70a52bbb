//! Lines of source files, read from disk.

use std::collections::HashMap;
use std::fs;
use std::time::SystemTime;

use crate::snapshot::Site;

/// Larger files are not read: nobody has written them.
const LARGEST: u64 = 4 << 20;
/// How many files are kept.
const KEPT: usize = 64;

/// The files that were read, as long as they do not change.
#[derive(Debug, Default)]
pub(super) struct SourceLines(HashMap<String, File>);

#[derive(Debug)]
struct File {
    modified: SystemTime,
    lines: Vec<String>,
}

impl SourceLines {
    /// The line of a place, without the space around it; `None` if there is no such file or line.
    pub(super) fn line(&mut self, site: &Site) -> Option<String> {
        // "<string>", "<frozen importlib._bootstrap>"
        if site.file.starts_with('<') {
            return None;
        }
        let found = fs::metadata(&site.file).ok()?;
        let modified = found.modified().ok()?;
        if !found.is_file() || found.len() > LARGEST {
            return None;
        }
        if self
            .0
            .get(&site.file)
            .is_none_or(|file| file.modified != modified)
        {
            if self.0.len() >= KEPT {
                self.0.clear();
            }
            let content = fs::read(&site.file).ok()?;
            let lines = String::from_utf8_lossy(&content)
                .lines()
                .map(|line| line.trim().to_owned())
                .collect();
            self.0.insert(site.file.clone(), File { modified, lines });
        }
        let index = usize::try_from(site.line.checked_sub(1)?).ok()?;
        let line = self.0.get(&site.file)?.lines.get(index)?;
        (!line.is_empty()).then(|| line.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, line: u32) -> Site {
        Site {
            file: file.to_owned(),
            line,
            function: String::new(),
        }
    }

    #[test]
    fn a_line_is_read_and_read_again_when_the_file_has_changed() {
        let path = std::env::temp_dir().join(format!("ferrio-lines-{}.py", std::process::id()));
        let name = path.to_str().expect("a plain name");
        fs::write(&path, "import time\n\n    time.sleep(1)\n").expect("a file can be written");
        let mut lines = SourceLines::default();
        assert_eq!(lines.line(&at(name, 3)).as_deref(), Some("time.sleep(1)"));
        assert_eq!(lines.line(&at(name, 2)), None);
        assert_eq!(lines.line(&at(name, 4)), None);
        assert_eq!(lines.line(&at(name, 0)), None);

        fs::write(&path, "other\n").expect("a file can be written");
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        let file = fs::File::options()
            .write(true)
            .open(&path)
            .expect("it is there");
        file.set_modified(later).expect("a time can be set");
        assert_eq!(lines.line(&at(name, 1)).as_deref(), Some("other"));
        fs::remove_file(&path).expect("it is there");
        assert_eq!(lines.line(&at(name, 1)), None);
    }

    #[test]
    fn what_is_no_file_has_no_lines() {
        let mut lines = SourceLines::default();
        for name in ["<string>", "/", "/dev/zero", "no/such/file.py"] {
            assert_eq!(lines.line(&at(name, 1)), None, "{name}");
        }
    }
}
