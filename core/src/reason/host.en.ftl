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
