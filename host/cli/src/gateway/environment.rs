//! The variables of the modules: from a private file, or from this process.
//!
//! Invariant: a module sees the variables that its `host_env_keys` name and no others; what
//! else stands in the file goes nowhere.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use postern_runtime::serve::Environment;
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome, Sort};

/// Largest file.
const MAX_FILE: usize = 64 << 10;

/// Variables by name.
#[derive(Clone, Default)]
pub struct Variables(Arc<BTreeMap<String, Zeroizing<String>>>);

impl Variables {
    /// Reads `NAME=VALUE` lines; empty lines and those that start with `#` are skipped.
    pub fn read(file: &Path) -> Outcome<Self> {
        let bytes = postern_files::read_private(file, MAX_FILE);
        let bytes = Zeroizing::new(bytes.or_environment("cannot read")?);
        let text = str::from_utf8(&bytes).or_environment(file.display())?;
        let wrong = |line: usize| {
            let file = file.display();
            Failure::environment(format_args!("{file}:{}: expected NAME=VALUE", line + 1))
        };
        let mut variables = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or_else(|| wrong(number))?;
            let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if name.is_empty() || !named {
                return Err(wrong(number));
            }
            variables.insert(name.to_owned(), Zeroizing::new(value.to_owned()));
        }
        Ok(Self(Arc::new(variables)))
    }

    /// A variable of the file, else of this process.
    pub fn value(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| (**value).clone()).or_else(|| std::env::var(name).ok())
    }

    /// For the gateway, which asks for what `host_env_keys` name.
    pub fn environment(&self) -> Environment {
        let variables = self.clone();
        Arc::new(move |name| variables.value(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Variables, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.env");
        postern_files::write_private(&file, text.as_bytes()).unwrap();
        Variables::read(&file).map_err(|failure| failure.to_string())
    }

    #[test]
    fn lines_are_read_as_they_stand() {
        let variables = read("# made today\n\nPOSTERN_A=one=two\nPOSTERN_B= x \n").unwrap();
        assert_eq!(variables.value("POSTERN_A").as_deref(), Some("one=two"));
        assert_eq!(variables.value("POSTERN_B").as_deref(), Some(" x "));
        assert_eq!(variables.value("POSTERN_NOWHERE"), None);
    }

    #[test]
    fn a_wrong_line_is_named_and_not_repeated() {
        for text in ["A=1\nSECRET", "A=1\n=SECRET", "A=1\nexport SECRET=1"] {
            let problem = read(text).err().unwrap();
            assert!(problem.ends_with("gateway.env:2: expected NAME=VALUE"), "{problem}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.env");
        postern_files::write_atomic(&file, b"A=1\n").unwrap();
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&file, everyone).unwrap();
        let failure = Variables::read(&file).map(drop).unwrap_err();
        assert!(failure.to_string().contains("chmod 600"), "{failure}");
    }
}
