//! Reasons of the host family: `cpu`, `memory`, `load`, `filesystem`, `systemd_unit`, `process`, `network`, `admin_accounts`,
//! `clock`, `log_forwarding`, `updates`.

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
    /// The unit is active.
    UNIT_ACTIVE = "unit.active" { "since": Time, "restarts": Integer }
    /// A unit of one task (`Type=oneshot`) is inactive because its last run ended well, or is at work.
    UNIT_DONE = "unit.done" { "since": Time }
    /// The unit is on its way from one state to another.
    UNIT_CHANGING = "unit.changing" { "state": Word, "since": Time }
    /// The unit failed.
    UNIT_FAILED = "unit.failed" { "result": Word, "since": Time }
    /// The unit does not run, although it should.
    UNIT_INACTIVE = "unit.inactive" { "since": Time }
    /// The unit was restarted, or failed and came back, too often, or waits for its next restart.
    UNIT_RESTARTING = "unit.restarting" { "restarts": Integer, "within_ms": Integer }
    /// systemd knows no unit of that name.
    UNIT_MISSING = "unit.missing" {}
    /// systemd cannot be asked.
    UNIT_NO_BUS = "unit.no_bus" {}
    /// As many processes of that name run as should.
    PROCESS_OK = "process.ok" { "count": Integer }
    /// Too few processes of that name run.
    PROCESS_FEW = "process.few" { "count": Integer, "limit": Integer }
    /// Too many processes of that name run.
    PROCESS_MANY = "process.many" { "count": Integer, "limit": Integer }
    /// The link is up; errors and drops since the last look are below their limits.
    NETWORK_OK = "network.ok" { "errors_permille": Integer, "drops_permille": Integer }
    /// The interface has no link.
    NETWORK_DOWN = "network.down" {}
    /// The interface is gone, or was never there although the settings name it.
    NETWORK_MISSING = "network.missing" {}
    /// Too many packets were damaged.
    NETWORK_ERRORS = "network.errors" { "errors": Integer, "errors_permille": Integer, "limit_permille": Integer }
    /// Too many packets were thrown away.
    NETWORK_DROPS = "network.drops" { "drops": Integer, "drops_permille": Integer, "limit_permille": Integer }
    /// How many interfaces are judged, and how many are not because their name cannot leave the node.
    NETWORK_WATCHED = "network.watched" { "interfaces": Integer, "skipped": Integer }
    /// Those with administrators' rights are the accepted ones.
    ADMIN_OK = "admin.ok" { "count": Integer, "digest": Digest }
    /// The first look: what it found is what later ones are compared with.
    ADMIN_LEARNED = "admin.learned" { "count": Integer, "digest": Digest }
    /// Some lost administrators' rights, and none gained them.
    ADMIN_REMOVED = "admin.removed" { "count": Integer, "removed": Integer, "digest": Digest }
    /// Somebody or something gained administrators' rights since the accepted state.
    ADMIN_ADDED = "admin.added" { "count": Integer, "added": Integer, "removed": Integer, "unreadable": Integer, "digest": Digest }
    /// Not everything that gives such rights could be read.
    ADMIN_UNREADABLE = "admin.unreadable" { "count": Integer, "unreadable": Integer }
    /// The accepted state cannot be read or kept, so a change would go unnoticed.
    ADMIN_NO_BASELINE = "admin.no_baseline" { "count": Integer }
    /// The clock is synchronised and within its limits.
    CLOCK_OK = "clock.ok" { "source": Word, "offset_us": Integer, "sources": Integer, "stratum": Integer }
    /// The clock is off by more than a limit.
    CLOCK_OFFSET = "clock.offset" { "source": Word, "offset_ms": Integer, "offset_us": Integer, "limit_ms": Integer, "sources": Integer, "stratum": Integer }
    /// Nothing keeps the clock right.
    CLOCK_UNSYNCHRONISED = "clock.unsynchronised" { "source": Word, "sources": Integer, "since": Time, "for_ms": Integer, "limit_ms": Integer }
    /// The daemon still counts the clock as right, and hears no usable source any more.
    CLOCK_NO_SOURCE = "clock.no_source" { "source": Word, "sources": Integer, "since": Time, "offset_us": Integer }
    /// The daemon that keeps the clock runs and does not tell how the clock stands.
    CLOCK_SILENT = "clock.silent" { "source": Word }
    /// A limit of the offset is written, and what tells of the clock tells no offset.
    CLOCK_OFFSET_UNTOLD = "clock.offset_untold" { "source": Word }
    /// Nothing tells whether the clock is synchronised.
    CLOCK_UNTOLD = "clock.untold" {}
    /// The log is written.
    LOG_OK = "log.ok" { "writer": Word, "storage": Word, "silent_ms": Integer, "oldest": Time }
    /// The daemon that writes the log does not run.
    LOG_STOPPED = "log.stopped" { "writer": Word, "silent_ms": Integer }
    /// Nothing was written to the log for longer than a limit.
    LOG_SILENT = "log.silent" { "writer": Word, "silent_ms": Integer, "limit_ms": Integer }
    /// The log reaches back less far than it should.
    LOG_SHORT = "log.short" { "writer": Word, "kept_ms": Integer, "limit_ms": Integer, "oldest": Time }
    /// The log should be kept, and is in memory only.
    LOG_VOLATILE = "log.volatile" { "writer": Word, "limit_ms": Integer }
    /// Neither the log nor its daemon can be seen.
    LOG_UNTOLD = "log.untold" { "writer": Word, "errno": Integer }
    /// What waits to be forwarded is below its limits.
    LOG_QUEUE_OK = "log.queue_ok" { "queue_bytes": Integer, "queue_age_ms": Integer }
    /// Lines have waited too long to be forwarded, or too many wait.
    LOG_QUEUE = "log.queue" { "queue_bytes": Integer, "queue_age_ms": Integer, "limit_ms": Integer, "limit_bytes": Integer }
    /// A connection to the log's receiver is open.
    LOG_CONNECTED = "log.connected" {}
    /// No connection to the log's receiver is open.
    LOG_DISCONNECTED = "log.disconnected" {}
    /// Security updates that wait are younger than the limits, or none waits.
    UPDATES_OK = "updates.ok" { "pending": Integer, "age_ms": Integer }
    /// A security update has waited too long.
    UPDATES_PENDING = "updates.pending" { "pending": Integer, "age_ms": Integer, "limit_ms": Integer, "since": Time }
    /// Nobody has looked for updates for too long, or what was found had expired.
    UPDATES_LISTS_OLD = "updates.lists_old" { "pending": Integer, "lists_age_ms": Integer, "limit_ms": Integer, "expired": Time }
    /// The machine runs what is installed.
    UPDATES_REBOOT_NONE = "updates.reboot_none" {}
    /// A reboot is needed to run what is installed.
    UPDATES_REBOOT = "updates.reboot" { "age_ms": Integer, "limit_ms": Integer, "packages": Integer }
    /// The release gets security updates.
    UPDATES_SUPPORTED = "updates.supported" { "until": Time, "left_ms": Integer }
    /// The release will soon get no security updates any more.
    UPDATES_END_SOON = "updates.end_soon" { "until": Time, "left_ms": Integer }
    /// The release gets no security updates any more.
    UPDATES_ENDED = "updates.ended" { "until": Time }
    /// The machine does not tell.
    UPDATES_UNTOLD = "updates.untold" { "source": Word, "errno": Integer }
}
