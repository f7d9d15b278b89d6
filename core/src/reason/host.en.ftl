# Family "host". One message per reason: its code, with '.' and '_' written '-'.

cpu-ok = processor {$used_permille} busy
cpu-busy = processor {$used_permille} busy, limit {$limit_permille}
cpu-first = first reading of the processor, too short to judge

memory-ok = memory {$used_permille} used
memory-low = memory {$used_permille} used, limit {$limit_permille}; {$available_bytes} left
memory-swap = swap {$swap_used_permille} used, limit {$limit_permille}

load-ok = load {$load_milli} per processor ({$cpus ->
    [one] {$cpus} processor
   *[other] {$cpus} processors
})
load-high = load {$load_milli} per processor, limit {$limit_milli} ({$cpus ->
    [one] {$cpus} processor
   *[other] {$cpus} processors
})

filesystem-ok = {$with_used_permille ->
    [yes] disk {$used_permille} full
   *[no] no other file system
}
filesystem-full = disk {$used_permille} full, limit {$limit_permille}; {$available_bytes} left
filesystem-inodes = inodes {$inodes_used_permille} used, limit {$limit_permille}
filesystem-stuck = the file system has not answered for {$since_ms}
filesystem-read-only = turned read-only
filesystem-missing = not mounted, although it should be

host-unreadable = {$source ->
    [statvfs] the file system does not tell how full it is
    [autofs] mounted on demand, absent while nobody uses it
    [sandbox] the agent's own sandbox hides this file system
   *[other] the machine does not let {$source} be read
}{$with_errno ->
    [yes] {" "}(error {$errno})
   *[no] {""}
}: nothing is measured

unit-active = running{$with_since ->
    [yes] {" "}since {$since}
   *[no] {""}
}{$with_restarts ->
    [yes] {" "}({$restarts ->
        [one] {$restarts} restart
       *[other] {$restarts} restarts
    } of late)
   *[no] {""}
}
unit-done = {$with_since ->
    [yes] last run ended well, at {$since}
   *[no] nothing to do, and nothing failed
}
unit-changing = {$state ->
    [activating] starting
    [deactivating] stopping
    [reloading] reloading
   *[other] changing
}{$with_since ->
    [yes] {" "}since {$since}
   *[no] {""}
}
unit-failed = failed{$result ->
    [exit-code] {" "}(its program ended with an error)
    [signal] {" "}(killed by a signal)
    [core-dump] {" "}(crashed)
    [timeout] {" "}(too slow to start or stop)
    [watchdog] {" "}(its watchdog was not fed)
    [start-limit-hit] {" "}(restarted too often)
    [oom-kill] {" "}(killed for want of memory)
    [resources] {" "}(no resources)
    [protocol] {" "}(not what systemd expected of it)
   *[other] {""}
}{$with_since ->
    [yes] {" "}since {$since}
   *[no] {""}
}
unit-inactive = not running, although it should{$with_since ->
    [yes] , since {$since}
   *[no] {""}
}
unit-restarting = {$with_restarts ->
    [yes] {$restarts ->
        [one] {$restarts} restart
       *[other] {$restarts} restarts
    } within {$within_ms}
   *[no] waits to be restarted
}
unit-missing = systemd knows no such unit
unit-no-bus = systemd does not answer on D-Bus: nothing is measured

process-ok = {$count ->
    [one] {$count} process
   *[other] {$count} processes
}
process-few = {$count ->
    [0] no process
    [one] {$count} process
   *[other] {$count} processes
}, at least {$limit} should run
process-many = {$count ->
    [one] {$count} process
   *[other] {$count} processes
}, at most {$limit} should run

network-ok = link up{$with_errors_permille ->
    [yes] , {$errors_permille} damaged and {$drops_permille} dropped packets
   *[no] {""}
}
network-down = no link
network-missing = the interface is not there
network-errors = {$errors ->
    [one] {$errors} damaged packet
   *[other] {$errors} damaged packets
} ({$errors_permille}), limit {$limit_permille}
network-drops = {$drops ->
    [one] {$drops} dropped packet
   *[other] {$drops} dropped packets
} ({$drops_permille}), limit {$limit_permille}
network-watched = {$interfaces ->
    [0] no network interface to look at
    [one] {$interfaces} network interface
   *[other] {$interfaces} network interfaces
}{$with_skipped ->
    [yes] , {$skipped} left out for their names
   *[no] {""}
}

admin-ok = as accepted ({$count})
admin-learned = first look, {$count} taken as accepted
admin-removed = {$removed} removed since the accepted state ({$count} left)
admin-added = {$added} added{$with_removed ->
    [yes] , {$removed} removed
   *[no] {""}
} since the accepted state ({$count} now){$with_unreadable ->
    [yes] ; {$unreadable} unreadable
   *[no] {""}
}
admin-unreadable = {$unreadable} of the places that give administrators' rights cannot be read ({$count} found elsewhere)
admin-no-baseline = the accepted state cannot be read or kept ({$count} found): changes would go unnoticed

clock-ok = clock right ({$source}{$with_offset_us ->
    [yes] , off by {$offset_us} microseconds
   *[no] {""}
})
clock-offset = clock off by {$offset_ms}, limit {$limit_ms} ({$source})
clock-unsynchronised = clock not synchronised{$with_for_ms ->
    [yes] {" "}for {$for_ms}, limit {$limit_ms}
   *[no] {""}
} ({$source})
clock-no-source = no time source answers{$with_since ->
    [yes] {" "}since {$since}
   *[no] {""}
}; the clock still counts as right ({$source})
clock-silent = {$source} runs and does not tell how the clock stands
clock-offset-untold = clock synchronised, but {$source} does not tell by how much it is off, and there is a limit
clock-untold = neither chrony nor systemd tells whether the clock is synchronised

log-ok = {$writer} writes the log{$with_silent_ms ->
    [yes] , last line {$silent_ms} ago
   *[no] {""}
}{$with_oldest ->
    [yes] , kept since {$oldest}
   *[no] {""}
}
log-stopped = {$writer} does not run: nothing is logged
log-silent = {$writer} has written nothing for {$silent_ms}, limit {$limit_ms}
log-short = the log of {$writer} reaches back {$kept_ms} only, {$limit_ms} wanted
log-volatile = the log of {$writer} is in memory only, {$limit_ms} wanted
log-untold = {$writer ->
    [queue] the queue of lines to be forwarded cannot be seen
    [target] whether the receiver of the log is connected cannot be told
   *[other] the log of {$writer} cannot be seen
}{$with_errno ->
    [yes] {" "}(error {$errno})
   *[no] {""}
}
log-queue-ok = {$queue_bytes} of log lines wait to be forwarded
log-queue = {$queue_bytes} of log lines wait to be forwarded, for {$queue_age_ms}{$with_limit_ms ->
    [yes] , limit {$limit_ms}
   *[no] {""}
}{$with_limit_bytes ->
    [yes] , limit {$limit_bytes}
   *[no] {""}
}
log-connected = connected to the receiver of the log
log-disconnected = not connected to the receiver of the log

updates-ok = {$pending ->
    [0] no security update waits
    [one] {$pending} security update waits
   *[other] {$pending} security updates wait
}{$with_age_ms ->
    [yes] , for {$age_ms} at least
   *[no] {""}
}
updates-pending = {$pending ->
    [one] {$pending} security update waits
   *[other] {$pending} security updates wait
}, for {$age_ms} at least, limit {$limit_ms}
updates-lists-old = package lists {$with_expired ->
    [yes] expired on {$expired}: the mirror offers nothing newer
   *[no] {$lists_age_ms} old, limit {$limit_ms}: nobody has looked for updates
}; {$pending} known to wait
updates-reboot-none = no reboot needed
updates-reboot = reboot needed{$with_age_ms ->
    [yes] {" "}for {$age_ms}
   *[no] {""}
}{$with_limit_ms ->
    [yes] , limit {$limit_ms}
   *[no] {""}
}
updates-supported = release supported until {$until}
updates-end-soon = no security updates for this release after {$until} ({$left_ms} left)
updates-ended = no security updates for this release since {$until}
updates-untold = {$source ->
    [no_security_suite] no security suite is among the package lists: nobody could learn of an update
    [no_advisories] the repositories carry no security advisories: nobody can tell which update is one
    [list_format] a package list is compressed in a way that is not read here
    [distribution] this distribution's updates cannot be read
    [release] the end of support of this release is not known
    [kernel] the running kernel is none of those installed in /boot
    [boot] the kernels in /boot cannot be seen
    [dnf] dnf does not tell the security advisories
   *[other] {$source} cannot be read
}{$with_errno ->
    [yes] {" "}(error {$errno})
   *[no] {""}
}
