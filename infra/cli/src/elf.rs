//! What a Linux binary asks of the machine that runs it: read from its ELF headers, as the dynamic linker reads them.
//!
//! A binary that was linked for a newer C library than Lambda's starts nowhere but on the machine that built it, and
//! Lambda then says no more than that the process ended.

/// `e_machine` of 64-bit Arm.
pub(crate) const AARCH64: u16 = 0xB7;
/// `e_machine` of 64-bit Intel and AMD.
pub(crate) const X86_64: u16 = 0x3E;

/// Tables that no compiler makes longer: a bound for a file that is not what it seems.
const MOST: usize = 10_000;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_VERNEED: u64 = 0x6fff_fffe;

/// What the binary needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The machine, as `e_machine` says it.
    pub machine: u16,
    /// Shared libraries by file name.
    pub libraries: Vec<String>,
    /// Versions of their symbols: `GLIBC_2.34`.
    pub versions: Vec<String>,
}

impl Needs {
    /// Reads the headers of a 64-bit little-endian binary; `None` if these bytes are none.
    pub(crate) fn of(binary: &[u8]) -> Option<Self> {
        let file = File(binary);
        if file.bytes(0, 6)? != [0x7f, b'E', b'L', b'F', 2, 1] {
            return None;
        }
        let mut needs = Self {
            machine: file.u16(18)?,
            libraries: Vec::new(),
            versions: Vec::new(),
        };
        let (table, size, count) = (file.offset(32)?, file.u16(54)?, file.u16(56)?);
        let headers = (0..usize::from(count))
            .map(|index| {
                let at = table.checked_add(index.checked_mul(usize::from(size))?)?;
                Some(Segment {
                    kind: file.u32(at)?,
                    offset: file.u64(at.checked_add(8)?)?,
                    address: file.u64(at.checked_add(16)?)?,
                    size: file.u64(at.checked_add(32)?)?,
                })
            })
            .collect::<Option<Vec<Segment>>>()?;
        let Some(dynamic) = headers.iter().find(|header| header.kind == PT_DYNAMIC) else {
            return Some(needs); // A static binary asks for nothing.
        };
        let start = usize::try_from(dynamic.offset).ok()?;
        let entries: Vec<(u64, u64)> = (0..MOST)
            .map_while(|index| {
                let at = start.checked_add(index.checked_mul(16)?)?;
                let (tag, value) = (file.u64(at)?, file.u64(at.checked_add(8)?)?);
                (tag != 0).then_some((tag, value))
            })
            .collect();
        let value = |wanted| {
            let found = entries.iter().find(|(tag, _)| *tag == wanted);
            found.map(|(_, value)| *value)
        };
        let strings = in_file(&headers, value(DT_STRTAB)?)?;
        for (_, name) in entries.iter().filter(|(tag, _)| *tag == DT_NEEDED) {
            let at = strings.checked_add(usize::try_from(*name).ok()?)?;
            needs.libraries.push(file.text(at)?);
        }
        if let Some(address) = value(DT_VERNEED) {
            file.versions(in_file(&headers, address)?, strings, &mut needs.versions)?;
        }
        needs.versions.sort();
        needs.versions.dedup();
        Some(needs)
    }

    /// Versions of the C library beyond `minor` of `GLIBC_2.<minor>`: what a machine with that one does not have.
    pub(crate) fn beyond_glibc(&self, minor: u32) -> Vec<&str> {
        let beyond = |version: &&String| {
            version
                .strip_prefix("GLIBC_")
                .is_some_and(|number| match number.strip_prefix("2.") {
                    Some(rest) => {
                        let its = rest.split('.').next().and_then(|part| part.parse().ok());
                        its.is_none_or(|its: u32| its > minor)
                    }
                    // `GLIBC_PRIVATE`, `GLIBC_ABI_DT_RELR` (2.36) and whatever comes.
                    None => true,
                })
        };
        self.versions
            .iter()
            .filter(beyond)
            .map(String::as_str)
            .collect()
    }
}

/// A program header.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// Where in the file an address of the running program is.
fn in_file(headers: &[Segment], address: u64) -> Option<usize> {
    let segment = headers.iter().find(|segment| {
        segment.kind == PT_LOAD
            && address >= segment.address
            && address - segment.address < segment.size
    })?;
    usize::try_from(segment.offset.checked_add(address - segment.address)?).ok()
}

/// Little-endian reads that never leave the bytes.
struct File<'a>(&'a [u8]);

impl File<'_> {
    fn bytes(&self, at: usize, length: usize) -> Option<&[u8]> {
        self.0.get(at..at.checked_add(length)?)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(at, 2)?.try_into().ok()?))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(at, 4)?.try_into().ok()?))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(at, 8)?.try_into().ok()?))
    }

    fn offset(&self, at: usize) -> Option<usize> {
        usize::try_from(self.u64(at)?).ok()
    }

    /// Text that ends with a zero byte.
    fn text(&self, at: usize) -> Option<String> {
        let bytes = self.0.get(at..)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// The table of needed versions: for each library a chain of names.
    fn versions(&self, start: usize, strings: usize, versions: &mut Vec<String>) -> Option<()> {
        let mut library = start;
        loop {
            let mut version = self.following(library, 8)?;
            for _ in 0..usize::from(self.u16(library.checked_add(2)?)?) {
                let name = self.following(version, 8)?.checked_sub(version)?;
                if versions.len() == MOST {
                    return None;
                }
                versions.push(self.text(strings.checked_add(name)?)?);
                version = self.following(version, 12)?;
            }
            let next = self.following(library, 12)?;
            if next == library {
                return Some(());
            }
            library = next;
        }
    }

    /// `at` and the distance that stands `field` bytes behind it.
    fn following(&self, at: usize, field: usize) -> Option<usize> {
        let distance = self.u32(at.checked_add(field)?)?;
        at.checked_add(usize::try_from(distance).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_binary() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[cfg(all(target_os = "linux", target_pointer_width = "64", target_env = "gnu"))]
    #[test]
    fn reads_what_the_running_test_itself_needs() {
        let needs = Needs::of(&own_binary()).unwrap();
        let machine = if cfg!(target_arch = "aarch64") {
            AARCH64
        } else {
            X86_64
        };
        assert_eq!(needs.machine, machine);
        assert!(needs.libraries.iter().any(|name| name == "libc.so.6"));
        assert!(
            needs
                .versions
                .iter()
                .any(|version| version.starts_with("GLIBC_2."))
        );
        assert!(!needs.beyond_glibc(0).is_empty());
        assert!(needs.beyond_glibc(9_999).is_empty());
    }

    #[test]
    fn a_symbol_newer_than_the_c_library_is_found() {
        let needs = Needs {
            machine: AARCH64,
            libraries: Vec::new(),
            versions: [
                "GCC_3.0",
                "GLIBC_2.17",
                "GLIBC_2.2.5",
                "GLIBC_2.34",
                "GLIBC_2.39",
                "GLIBC_ABI_DT_RELR",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        assert_eq!(needs.beyond_glibc(34), ["GLIBC_2.39", "GLIBC_ABI_DT_RELR"]);
    }

    #[test]
    fn bytes_that_are_no_binary_and_every_cut_of_one_are_answered() {
        assert_eq!(Needs::of(b""), None);
        assert_eq!(Needs::of(b"#!/bin/sh\n"), None);
        let binary = own_binary();
        for length in (0..4_096).chain([binary.len() / 2]) {
            // The answer does not matter, that there is one does.
            let _ = Needs::of(&binary[..length]);
        }
        let mut wild = binary[..4_096].to_vec();
        wild[20..].fill(0xFF);
        assert_eq!(Needs::of(&wild), None);
    }
}
