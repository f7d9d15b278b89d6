# Family "vigie". One message per reason: its code, with '.' and '_' written '-'.

check-late = {$with_last_run ->
    [yes] no result since {$last_run}, expected every {$every_ms}
   *[no] no result since the start, expected every {$every_ms}
}
check-timeout = not finished in {$after_ms}, stopped: nothing is measured
check-fault = the check itself broke down: nothing is measured
check-ran = the check runs again
object-gone = this object was watched and is gone
objects-too-many = {$count} objects found, {$max} at most are followed
contact-listed = reported bad by the node, details on the way

agent-start = agent started, version {$version}
agent-stop = agent stopped by an administrator (signal {$signal})
agent-pause = agent stood still for {$for_ms}, then went on
agent-amnesia = the agent lost the thread of its log: it was at line {$had_seq}, goes on after line {$took_seq}, {$rewritten ->
    [one] {$rewritten} line written anew
   *[other] {$rewritten} lines written anew
}
agent-rejoined = this name joined again, its log goes on after line {$took_seq}
agent-settings-refused = new settings refused ({$mistakes ->
    [one] {$mistakes} mistake
   *[other] {$mistakes} mistakes
}), the earlier ones stay in force
clock-step = the clock jumped by {$by_ms}

entries-lost = lines {$from} to {$to} lost before they were sent
entries-refused = line {$refused_seq} refused by the collector, kept apart on the node
spool-degraded = the agent cannot write to its disk ({$why}), it keeps its lines in memory
spool-recovered = the agent writes to its disk again ({$lines ->
    [one] {$lines} line saved
   *[other] {$lines} lines saved
})
collector-rollback = the collector's log became shorter: the node saw {$had_size} lines, now {$size}

check-planned = check planned: {$check_kind}, every {$every_ms}
plan-complete = plan complete, {$count ->
    [one] {$count} check
   *[other] {$count} checks
}
check-removed = check removed from the node's settings, to be confirmed
check-weakened = check less strict than before, to be confirmed: every {$every_ms} (was {$was_every_ms}), {$failures} failures (was {$was_failures}), timeout {$timeout_ms} (was {$was_timeout_ms})
check-changed = settings of the check changed, to be confirmed
plan-missing = the node answers but has not said what it watches
plan-mismatch = the node announces another plan than the one it sent

node-silent = {$with_last_contact ->
    [yes] no news of the node since {$last_contact}
   *[no] no news of the node
}{$with_checks ->
    [yes] ; unwatched ({$checks_count}): {$checks}
   *[no] {""}
}
site-cut = site cut off: {$nodes_count ->
    [one] {$nodes_count} node silent
   *[other] {$nodes_count} nodes silent together
} ({$nodes}){$with_services ->
    [yes] ; services without a witness: {$services}
   *[no] {""}
}
site-blind = the collector sees nothing any more, it may be cut off itself: {$nodes_count ->
    [one] {$nodes_count} node silent
   *[other] {$nodes_count} nodes silent together
} ({$nodes}){$with_services ->
    [yes] ; services without a witness: {$services}
   *[no] {""}
}
node-ungrouped = this node is in no group: nobody said what it carries
node-flooding = the node sends too much, {$refused ->
    [one] {$refused} request refused
   *[other] {$refused} requests refused
}
node-expired = the node uses a certificate that expired on {$not_after}
node-impostor = the node claimed to be {$claimed}
service-undeclared = the node speaks for the service {$service}, which its groups do not carry
chain-fork = two different lines have the number {$seq}: a cloned machine or a forged line
chain-broken = line {$seq} does not follow the one before it (expected: {$expected_seq})
entry-malformed = line {$seq} cannot be understood
contact-forged = the contact's signature is wrong
entries-withheld = the node says it is at line {$said_seq} but handed in only up to {$has_seq}
node-clock = the node's clock is off by {$by_ms}
delivery-failing = messages no longer reach {$receiver}, {$waiting} waiting{$with_http_status ->
    [yes] {" "}(answer {$http_status})
   *[no] {""}
}
commit-failed = the collector cannot write its log any more
receiver-unreachable = nobody of receiver {$receiver} can be reached

vigie-exercise = exercise for receiver {$receiver}: nothing has failed
sender-alert = alert {$name} of {$sender}
sender-silent = {$sender} says no more of its alert {$name}: over or not, nobody knows
