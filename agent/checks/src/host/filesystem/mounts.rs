//! What is mounted (/proc/self/mountinfo, proc_pid_mountinfo(5)) and what should be (/etc/fstab, fstab(5)). Pure.
//!
//! ```text
//! 36 35 98:0 /mnt1 /mnt/parent rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//! id parent device root mount-point options optional-fields… - type source super-options
//! ```
//! ext4 that met an error with `errors=remount-ro` shows `ro` there up to Linux 6.11, and since 6.15 `emergency_ro` (after
//! a forced shutdown `shutdown`) instead. Kernels 6.12 to 6.14 show nothing: there it looks writable, and only the
//! kernel's log tells.
//!
//! Paths are bytes: white space, `\` and `#` in them are written as `\` and three octal digits.

use std::{collections::HashMap, ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

/// One mounted file system, as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) point: PathBuf,
    /// `major:minor`, the same for every mount of one file system.
    pub(super) device: String,
    /// `/` where the whole file system is mounted and not a folder of it.
    pub(super) root: PathBuf,
    pub(super) fs_type: String,
    /// Read-only for everybody. The mount's own options are left aside: a sandbox sets those for its process alone.
    pub(super) is_read_only: bool,
    /// Read-only because the kernel stopped all writing after an error, which nobody ever intends.
    pub(super) is_emergency: bool,
    /// Mounted on demand below an automounter, which takes it away again.
    pub(super) is_on_demand: bool,
}

/// What fstab wants mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) point: PathBuf,
    pub(super) fs_type: String,
    pub(super) is_read_only: bool,
    pub(super) presence: Presence,
}

/// Whether a line of fstab says that its file system is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// The boot waits for it.
    Required,
    /// `nofail`: wanted, and its absence stops nothing.
    Wanted,
    /// `noauto` or mounted on demand.
    OnRequest,
}

/// The type of an automounter's trap: what is mounted there comes when somebody looks.
pub(super) const AUTOFS: &str = "autofs";

/// Super options by which ext4 says, since Linux 6.15, that it stopped all writing.
const EMERGENCY: [&[u8]; 2] = [b"emergency_ro", b"shutdown"];

/// Every mount that can be seen, in order; of several on one point only the last, which hides the others. Lines that
/// cannot be read are left out.
pub(super) fn parse_mountinfo(mountinfo: &[u8]) -> Vec<Mount> {
    let lines: Vec<Line<'_>> = mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(Line::parse)
        .collect();
    let by_id: HashMap<&[u8], &Line<'_>> = lines.iter().map(|line| (line.id, line)).collect();
    let last_on: HashMap<&[u8], usize> = lines
        .iter()
        .enumerate()
        .map(|(position, line)| (line.point, position))
        .collect();
    lines
        .iter()
        .enumerate()
        .filter(|(position, line)| last_on.get(line.point) == Some(position))
        .map(|(_, line)| {
            let is_emergency = EMERGENCY
                .iter()
                .any(|option| has_option(line.super_options, option));
            Mount {
                point: path(line.point),
                device: String::from_utf8_lossy(line.device).into_owned(),
                root: path(line.root),
                fs_type: String::from_utf8_lossy(line.fs_type).into_owned(),
                is_read_only: is_emergency || has_option(line.super_options, b"ro"),
                is_emergency,
                is_on_demand: by_id
                    .get(line.parent)
                    .is_some_and(|parent| parent.fs_type == AUTOFS.as_bytes()),
            }
        })
        .collect()
}

/// Every file system that fstab mounts somewhere, in order.
pub(super) fn parse_fstab(fstab: &[u8]) -> Vec<Wanted> {
    fstab
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii_start().starts_with(b"#"))
        .filter_map(|line| {
            let mut columns = columns(line);
            let _source = columns.next()?;
            let point = columns.next().filter(|point| point.starts_with(b"/"))?;
            let fs_type = columns.next().unwrap_or(b"auto");
            let options = columns.next().unwrap_or(b"defaults");
            if fs_type == b"swap" {
                return None;
            }
            let presence =
                if has_option(options, b"noauto") || has_option(options, b"x-systemd.automount") {
                    Presence::OnRequest
                } else if has_option(options, b"nofail") {
                    Presence::Wanted
                } else {
                    Presence::Required
                };
            Some(Wanted {
                point: path(without_end_slash(point)),
                fs_type: String::from_utf8_lossy(fs_type).into_owned(),
                is_read_only: has_option(options, b"ro"),
                presence,
            })
        })
        .collect()
}

/// A path as mountinfo writes it: without a `/` at its end.
pub(super) fn without_end_slash(mut path: &[u8]) -> &[u8] {
    while let [stem @ .., b'/'] = path
        && !stem.is_empty()
    {
        path = stem;
    }
    path
}

/// One line of mountinfo, still escaped.
struct Line<'a> {
    id: &'a [u8],
    parent: &'a [u8],
    device: &'a [u8],
    root: &'a [u8],
    point: &'a [u8],
    fs_type: &'a [u8],
    super_options: &'a [u8],
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut columns = columns(line);
        let [id, parent, device, root, point, _options] = [
            columns.next()?,
            columns.next()?,
            columns.next()?,
            columns.next()?,
            columns.next()?,
            columns.next()?,
        ];
        // Any number of optional fields, closed by a hyphen.
        columns.find(|column| *column == b"-")?;
        let fs_type = columns.next()?;
        // The source stands between them and may be empty.
        let super_options = columns.last()?;
        point.starts_with(b"/").then_some(Self {
            id,
            parent,
            device,
            root,
            point,
            fs_type,
            super_options,
        })
    }
}

fn columns(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|column| !column.is_empty())
}

fn has_option(options: &[u8], wanted: &[u8]) -> bool {
    options
        .split(|byte| *byte == b',')
        .any(|option| option == wanted)
}

fn path(escaped: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescaped(escaped)))
}

/// Bytes of `\ooo` put back; a `\` without three octal digits stands for itself.
fn unescaped(mut escaped: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(escaped.len());
    while let [first, rest @ ..] = escaped {
        let digit = |byte: u8| {
            (b'0'..=b'7')
                .contains(&byte)
                .then(|| u16::from(byte - b'0'))
        };
        let code = match (*first, rest) {
            (b'\\', [high, middle, low, ..]) => match (digit(*high), digit(*middle), digit(*low)) {
                (Some(high), Some(middle), Some(low)) => {
                    u8::try_from(high * 64 + middle * 8 + low).ok()
                }
                _ => None,
            },
            _ => None,
        };
        match code {
            Some(code) => {
                bytes.push(code);
                escaped = &rest[3..];
            }
            None => {
                bytes.push(*first);
                escaped = rest;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// Lines of real machines: a Debian server with LVM, NFS, btrfs subvolumes, autofs and a container's overlay.
    const MOUNTINFO: &str = r"22 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw,errors=remount-ro
36 35 98:0 /mnt1 /mnt/parent rw,noatime master:1 - ext3 /dev/root ro,errors=continue
40 28 0:45 /@home /home rw,relatime shared:5 - btrfs /dev/sdb1 rw,space_cache=v2,subvolid=257,subvol=/@home
41 28 0:50 / /srv/Dossiers\040patients\134x ro,relatime shared:7 master:2 - nfs4 192.0.2.9:/export rw,vers=4.2
42 28 0:51 / /net rw,relatime shared:8 - autofs systemd-1 rw,fd=29
43 42 0:52 / /net/host/data rw,relatime shared:9 - nfs4 host:/data rw,vers=4.2
44 28 0:53 / /mnt/twice rw - tmpfs first rw
45 44 0:54 / /mnt/twice rw - ext4 /dev/sdc1 rw
46 28 0:55 / /mnt/no-source rw - tmpfs  ro
broken line
47 28 0:56 / relative rw - ext4 /dev/sdd1 rw
48 28 0:57 / /mnt/no-hyphen rw shared:1 ext4 /dev/sdd1 rw
49 28 254:4 / /var rw,relatime shared:10 - ext4 /dev/mapper/vg-var rw,errors=remount-ro,emergency_ro
50 28 254:5 / /opt rw,relatime shared:11 - ext4 /dev/mapper/vg-opt rw,shutdown
";

    fn find<'a>(mounts: &'a [Mount], point: &str) -> Option<&'a Mount> {
        mounts.iter().find(|mount| mount.point == Path::new(point))
    }

    #[test]
    fn mountinfo_is_read_with_optional_fields_and_octal_escapes() {
        let mounts = parse_mountinfo(MOUNTINFO.as_bytes());
        let root = find(&mounts, "/");
        assert_eq!(
            root.map(|m| (m.device.as_str(), m.fs_type.as_str())),
            Some(("254:0", "ext4"))
        );
        let patients = find(&mounts, "/srv/Dossiers patients\\x");
        assert_eq!(
            patients.map(|m| (m.fs_type.as_str(), m.is_read_only)),
            Some(("nfs4", false)),
            "the mount's own ro is not the file system's"
        );
        assert_eq!(
            find(&mounts, "/mnt/parent").map(|m| m.is_read_only),
            Some(true)
        );
        assert_eq!(
            find(&mounts, "/home").map(|m| m.root.clone()),
            Some("/@home".into())
        );
        assert_eq!(
            find(&mounts, "/net/host/data").map(|m| m.is_on_demand),
            Some(true)
        );
        assert_eq!(find(&mounts, "/home").map(|m| m.is_on_demand), Some(false));
        let twice: Vec<_> = mounts
            .iter()
            .filter(|m| m.point == Path::new("/mnt/twice"))
            .collect();
        assert_eq!(twice.len(), 1);
        assert_eq!(
            twice[0].fs_type, "ext4",
            "the later mount hides the earlier one"
        );
        assert_eq!(
            find(&mounts, "/mnt/no-source").map(|m| m.is_read_only),
            Some(true)
        );
        let stopped = [
            ("/var", (true, true)),
            ("/opt", (true, true)),
            ("/mnt/parent", (true, false)),
            ("/", (false, false)),
        ];
        for (point, expected) in stopped {
            let mount = find(&mounts, point).map(|m| (m.is_read_only, m.is_emergency));
            assert_eq!(mount, Some(expected), "{point}");
        }
        assert_eq!(mounts.len(), 11, "what cannot be read is left out");
    }

    #[test]
    fn fstab_is_read_with_comments_swap_and_options() {
        let fstab = b"# /etc/fstab\n  # indented\nUUID=1 / ext4 errors=remount-ro 0 1\n\
            UUID=2\t/boot/efi\tvfat\tumask=0077\t0\t1\nUUID=3 none swap sw 0 0\n/swapfile /x swap sw 0 0\n\
            nas:/a /srv/a\\040b/ nfs ro,nofail 0 0\nUUID=4 /media/k auto noauto,user\nUUID=5 /mnt/d ext4 x-systemd.automount,nofail\n\
            proc /proc\n\nlonely\n";
        let wanted = parse_fstab(fstab);
        let seen: Vec<_> = wanted
            .iter()
            .map(|w| {
                (
                    w.point.to_string_lossy().into_owned(),
                    w.is_read_only,
                    w.presence,
                )
            })
            .collect();
        let expected = [
            ("/", false, Presence::Required),
            ("/boot/efi", false, Presence::Required),
            ("/srv/a b", true, Presence::Wanted),
            ("/media/k", false, Presence::OnRequest),
            ("/mnt/d", false, Presence::OnRequest),
            ("/proc", false, Presence::Required),
        ];
        assert_eq!(
            seen,
            expected.map(|(point, ro, presence)| (point.to_owned(), ro, presence))
        );
    }

    #[test]
    fn escapes_are_put_back_and_lone_backslashes_kept() {
        let table: [(&[u8], &[u8]); 7] = [
            (b"a\\040b", b"a b"),
            (b"\\011\\012\\134\\043", b"\t\n\\#"),
            (b"\\377", b"\xff"),
            (b"\\400", b"\\400"),
            (b"\\08", b"\\08"),
            (b"end\\", b"end\\"),
            (b"\xc3\xa9", "é".as_bytes()),
        ];
        for (escaped, expected) in table {
            assert_eq!(unescaped(escaped), expected);
        }
        assert_eq!(without_end_slash(b"/srv//"), b"/srv");
        assert_eq!(without_end_slash(b"/"), b"/");
        assert_eq!(without_end_slash(b""), b"");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "[ /\\\\0-9a-z:,\\-\n]{0,200}") {
            for content in [bytes.as_slice(), text.as_bytes()] {
                let _ = (parse_mountinfo(content), parse_fstab(content));
            }
        }
    }
}
