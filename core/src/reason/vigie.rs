//! Reasons of vigie itself: what agents say of themselves and what the collector finds out about them.

use super::reasons;

reasons! { Vigie;
    /// The check gave no result for three times its interval.
    CHECK_LATE = "check.late" { "last_run": Time, "every_ms": Integer }
    /// The check ran past its deadline and was stopped.
    CHECK_TIMEOUT = "check.timeout" { "after_ms": Integer }
    /// The check stopped with a fault of its own.
    CHECK_FAULT = "check.fault" {}
    /// The check as a whole runs again.
    CHECK_RAN = "check.ran" {}
    /// The object was there and is gone.
    OBJECT_GONE = "object.gone" {}
    /// The check found more objects than one check may report.
    OBJECTS_TOO_MANY = "objects.too_many" { "count": Integer, "max": Integer }
    /// The agent says that this check is not good; its line with the details is still on the way.
    CONTACT_LISTED = "contact.listed" {}
    /// The agent started.
    AGENT_START = "agent.start" { "version": Name }
    /// The agent was stopped by its administrator.
    AGENT_STOP = "agent.stop" { "signal": Word }
    /// The agent stood still (suspend, a stopped process) and goes on.
    AGENT_PAUSE = "agent.pause" { "for_ms": Integer }
    /// The agent's own chain does not lead to the collector's: its state was lost, restored or tampered with.
    AGENT_AMNESIA = "agent.amnesia" { "had_seq": Integer, "had_sha256": Digest, "took_seq": Integer, "rewritten": Integer }
    /// The agent is not allowed to continue its chain but does.
    AGENT_REJOINED = "agent.rejoined" { "took_seq": Integer }
    /// The agent's settings could not be loaded again; the earlier ones stay in force.
    AGENT_SETTINGS_REFUSED = "agent.settings_refused" { "mistakes": Integer }
    /// Wall clock and elapsed time went apart.
    CLOCK_STEP = "clock.step" { "by_ms": Integer }
    /// Lines were lost before they could be sent.
    ENTRIES_LOST = "entries.lost" { "from": Integer, "to": Integer }
    /// The collector could not read a line; its bytes are in quarantine on the node.
    ENTRIES_REFUSED = "entries.refused" { "refused_seq": Integer, "sha256": Digest }
    /// The agent cannot write its spool and keeps lines in memory.
    SPOOL_DEGRADED = "spool.degraded" { "why": Word }
    /// The agent writes its spool again.
    SPOOL_RECOVERED = "spool.recovered" { "lines": Integer }
    /// The collector's log is shorter than the agent has seen it.
    COLLECTOR_ROLLBACK = "collector.rollback" { "had_size": Integer, "size": Integer }
    /// One check of the agent's plan.
    CHECK_PLANNED = "check.planned" { "check_kind": Name, "family": Word, "every_ms": Integer, "timeout_ms": Integer, "failures": Integer, "recoveries": Integer, "settings_sha256": Digest }
    /// The agent's plan is complete.
    PLAN_COMPLETE = "plan.complete" { "count": Integer, "sha256": Digest }

    /// A check that was planned is planned no more.
    CHECK_REMOVED = "check.removed" { "last_status": Word }
    /// A check's settings make it slower to notice.
    CHECK_WEAKENED = "check.weakened" { "every_ms": Integer, "was_every_ms": Integer, "failures": Integer, "was_failures": Integer, "timeout_ms": Integer, "was_timeout_ms": Integer }
    /// A check's settings differ from what they were.
    CHECK_CHANGED = "check.changed" { "settings_sha256": Digest, "was_settings_sha256": Digest }
    /// A node in contact has sent no complete plan.
    PLAN_MISSING = "plan.missing" {}
    /// The node's contact names another plan than its lines do.
    PLAN_MISMATCH = "plan.mismatch" { "said": Digest, "has": Digest }
    /// The node has not been heard.
    NODE_SILENT = "node.silent" { "last_contact": Time, "checks": Names, "checks_count": Integer }
    /// Most nodes of a site fell silent together, and the collector reaches others: the site is cut off.
    SITE_CUT = "site.cut" { "nodes": Names, "nodes_count": Integer, "services": Names }
    /// Most nodes of a site fell silent together, and the collector reaches nothing: it may be cut off itself.
    SITE_BLIND = "site.blind" { "nodes": Names, "nodes_count": Integer, "services": Names }
    /// The node belongs to no group, so nobody said which services it may speak for.
    NODE_UNGROUPED = "node.ungrouped" {}
    /// The node sends more than it may.
    NODE_FLOODING = "node.flooding" { "refused": Integer }
    /// The node uses an expired certificate of a known key.
    NODE_EXPIRED = "node.expired" { "not_after": Time }
    /// The node claimed to be another.
    NODE_IMPOSTOR = "node.impostor" { "claimed": Name }
    /// The node spoke for a service that its groups do not carry.
    SERVICE_UNDECLARED = "service.undeclared" { "service": Name }
    /// Two different lines of one node have the same number: a cloned machine or a forged line.
    CHAIN_FORK = "chain.fork" { "seq": Integer }
    /// A line does not follow the one before it.
    CHAIN_BROKEN = "chain.broken" { "seq": Integer, "expected_seq": Integer }
    /// A line could not be understood.
    ENTRY_MALFORMED = "entry.malformed" { "seq": Integer }
    /// The contact's signature is wrong.
    CONTACT_FORGED = "contact.forged" {}
    /// The node says it has lines that it does not hand in.
    ENTRIES_WITHHELD = "entries.withheld" { "said_seq": Integer, "has_seq": Integer }
    /// The node's clock is far from the collector's.
    NODE_CLOCK = "node.clock" { "by_ms": Integer }
    /// A receiver does not take messages.
    DELIVERY_FAILING = "delivery.failing" { "receiver": Name, "waiting": Integer, "http_status": Integer }
    /// Nobody that a receiver stands for can be reached: no step has a person with a contact.
    RECEIVER_UNREACHABLE = "receiver.unreachable" { "receiver": Name }
    /// The collector could not write its log.
    COMMIT_FAILED = "commit.failed" {}
    /// Nothing failed: an operator wants to see whether a receiver can be told.
    EXERCISE = "vigie.exercise" { "receiver": Name }
    /// A sender says that one of its own alerts is on. Its facts hold the alert's labels besides, which no reason declares.
    SENDER_ALERT = "sender.alert" { "name": Name, "sender": Name }
    /// A sender no longer says how one of its alerts stands; it may be over. Facts as for `sender.alert`.
    SENDER_SILENT = "sender.silent" { "name": Name, "sender": Name }
}
