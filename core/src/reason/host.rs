//! Reasons of the host family: `cpu`, `memory`, `load`, `filesystem`.

use super::reasons;

reasons! { Host;
    /// Processor use is below its limits.
    CPU_OK = "cpu.ok" { "used_permille": Integer }
    /// Processor use is above a limit.
    CPU_BUSY = "cpu.busy" { "used_permille": Integer, "limit_permille": Integer }
    /// There is no earlier reading to compare with yet.
    CPU_FIRST = "cpu.first" {}
    /// Memory in use is below its limits.
    MEMORY_OK = "memory.ok" { "used_permille": Integer, "swap_used_permille": Integer }
    /// Memory in use is above a limit.
    MEMORY_LOW = "memory.low" { "used_permille": Integer, "limit_permille": Integer, "available_bytes": Integer }
    /// Swap in use is above a limit.
    MEMORY_SWAP = "memory.swap" { "swap_used_permille": Integer, "limit_permille": Integer }
    /// Load per processor is below its limits.
    LOAD_OK = "load.ok" { "load_milli": Integer, "cpus": Integer }
    /// Load per processor is above a limit.
    LOAD_HIGH = "load.high" { "load_milli": Integer, "cpus": Integer, "limit_milli": Integer }
    /// Room is left on the file system.
    FILESYSTEM_OK = "filesystem.ok" { "used_permille": Integer, "inodes_used_permille": Integer }
    /// Space in use is above a limit.
    FILESYSTEM_FULL = "filesystem.full" { "used_permille": Integer, "limit_permille": Integer, "available_bytes": Integer }
    /// Inodes in use are above a limit.
    FILESYSTEM_INODES = "filesystem.inodes" { "inodes_used_permille": Integer, "limit_permille": Integer }
    /// The file system does not answer (a dead network mount, a broken disk).
    FILESYSTEM_STUCK = "filesystem.stuck" { "since_ms": Integer }
    /// The kernel or an administrator made it read-only while fstab says otherwise.
    FILESYSTEM_READ_ONLY = "filesystem.read_only" {}
    /// Not mounted, although the settings or fstab name it.
    FILESYSTEM_MISSING = "filesystem.missing" {}
    /// The machine did not let itself be read.
    HOST_UNREADABLE = "host.unreadable" { "source": Word, "errno": Integer }
}
