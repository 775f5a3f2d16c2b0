//! Reports from the kernel (configfs, `tsm/report`, Linux 6.7).
//!
//! Invariant: a report is read from an entry of its own, and taken only when nobody else
//! wrote to that entry: its generation is one more than before our one write.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use postern_core::hex;
use postern_core::redacted::Redacted;

use crate::fault::Fault;
use crate::random;

/// Gives reports.
pub trait ReportSource: Send + Sync {
    /// A report with this report data.
    ///
    /// # Errors
    /// What the kernel answers.
    fn report(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Fault>;
}

/// What the interface is made of: folders with attributes.
pub trait Entries: Send + Sync {
    /// Makes an entry, which must not be there.
    ///
    /// # Errors
    /// What the kernel answers.
    fn make(&self, entry: &Path) -> io::Result<()>;
    /// Reads an attribute.
    ///
    /// # Errors
    /// What the kernel answers.
    fn read(&self, attribute: &Path) -> io::Result<Vec<u8>>;
    /// Writes an attribute at once.
    ///
    /// # Errors
    /// What the kernel answers.
    fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Removes an entry.
    fn remove(&self, entry: &Path);
}

/// The kernel's own.
struct Configfs;

impl Entries for Configfs {
    fn make(&self, entry: &Path) -> io::Result<()> {
        std::fs::create_dir(entry)
    }

    fn read(&self, attribute: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(attribute)
    }

    fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()> {
        // It is there, and takes one write.
        OpenOptions::new().write(true).open(attribute)?.write_all(bytes)
    }

    fn remove(&self, entry: &Path) {
        let _ = std::fs::remove_dir(entry);
    }
}

/// The kernel's interface for attestation reports.
pub struct Tsm {
    folder: PathBuf,
    entries: Box<dyn Entries>,
}

impl Default for Tsm {
    fn default() -> Self {
        Self::at(Path::new("/sys/kernel/config/tsm/report"))
    }
}

impl Tsm {
    /// At another folder, for tests.
    pub fn at(folder: &Path) -> Self {
        Self::of(folder, Box::new(Configfs))
    }

    /// Of another kernel, for tests.
    pub fn of(folder: &Path, entries: Box<dyn Entries>) -> Self {
        Self { folder: folder.to_owned(), entries }
    }

    fn generation(&self, entry: &Path) -> io::Result<u64> {
        let text = self.entries.read(&entry.join("generation"))?;
        let number = str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        number.ok_or_else(|| io::Error::other("expected a generation"))
    }

    /// The report, and whether it is the one of our write.
    fn exchange(&self, entry: &Path, report_data: &[u8]) -> io::Result<(Vec<u8>, bool)> {
        let before = self.generation(entry)?;
        self.entries.write(&entry.join("inblob"), report_data)?;
        let report = self.entries.read(&entry.join("outblob"))?;
        let ours = self.generation(entry)? == before.wrapping_add(1);
        Ok((report, ours))
    }
}

impl ReportSource for Tsm {
    fn report(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Fault> {
        // By chance: containers of one machine share the kernel, and may share a process id.
        let name = format!("postern-{}", hex::lower(&random::bytes::<16>()?));
        let entry = self.folder.join(name);
        self.entries.make(&entry).map_err(|e| Fault::file(&entry, &e))?;
        let exchanged = self.exchange(&entry, report_data);
        self.entries.remove(&entry);
        match exchanged.map_err(|e| Fault::file(&entry, &e))? {
            (report, true) => Ok(report),
            _ => Err(Fault::Attestation(Redacted::new("somebody else wrote to our report entry"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Barrier, Mutex, PoisonError};

    use super::*;

    /// A kernel in memory: the report of an entry is what was last written to it. With a
    /// meeting point, readers of reports wait there for each other after the writes.
    #[derive(Default)]
    struct Kernel {
        entries: Mutex<HashMap<PathBuf, (u64, Vec<u8>)>>,
        meeting: Option<Barrier>,
        meddled: bool,
    }

    impl Kernel {
        fn with<T>(
            &self,
            entry: &Path,
            what: impl FnOnce(&mut (u64, Vec<u8>)) -> T,
        ) -> io::Result<T> {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.get_mut(entry).map(what).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    impl Entries for Arc<Kernel> {
        fn make(&self, entry: &Path) -> io::Result<()> {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            match entries.insert(entry.to_owned(), (7, Vec::new())) {
                None => Ok(()),
                Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            }
        }

        fn read(&self, attribute: &Path) -> io::Result<Vec<u8>> {
            let entry = attribute.parent().unwrap();
            if attribute.ends_with("generation") {
                return self.with(entry, |entry| format!("{}\n", entry.0).into_bytes());
            }
            self.meeting.as_ref().map(Barrier::wait);
            self.with(entry, |entry| entry.1.clone())
        }

        fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()> {
            let entry = attribute.parent().unwrap();
            let writes = if self.meddled { 2 } else { 1 };
            self.with(entry, |entry| *entry = (entry.0 + writes, bytes.to_vec()))
        }

        fn remove(&self, entry: &Path) {
            self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(entry);
        }
    }

    fn tsm(kernel: &Arc<Kernel>) -> Tsm {
        Tsm::of(Path::new("/tsm"), Box::new(Arc::clone(kernel)))
    }

    #[test]
    fn reports_made_at_the_same_time_are_each_for_their_own_data() {
        let kernel = Arc::new(Kernel { meeting: Some(Barrier::new(2)), ..Kernel::default() });
        let source = tsm(&kernel);
        let reports = std::thread::scope(|scope| {
            let asked = [[1; 64], [2; 64]].map(|data| {
                let source = &source;
                scope.spawn(move || source.report(&data))
            });
            asked.map(|thread| thread.join().unwrap())
        });
        assert_eq!(reports, [Ok(vec![1; 64]), Ok(vec![2; 64])]);
        assert!(kernel.entries.lock().unwrap().is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_report_of_an_entry_that_somebody_else_wrote_to_is_not_taken() {
        let kernel = Arc::new(Kernel { meddled: true, ..Kernel::default() });
        assert!(matches!(tsm(&kernel).report(&[1; 64]), Err(Fault::Attestation(_))));
        assert!(kernel.entries.lock().unwrap().is_empty());
    }
}
