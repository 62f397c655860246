/* The terms of capacity leases, the same for who grants (control-plane) and who calls
 * (orchestrator-worker). docs/decisions/0020 has the reasons for the numbers. Pure; threads: any.
 */
#ifndef PENSTOCK_LEASE_TERMS_H
#define PENSTOCK_LEASE_TERMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEASE_TERM_US   ((int64_t)15000000) /* a level holds for so long after its report */
#define LEASE_CREDIT_US ((int64_t)1000000)  /* a credit is used within so long of its report */
#define LEASE_REPORT_US ((int64_t)1000000)  /* between reports when nothing waits */
#define LEASE_BEAT_US   ((int64_t)1000000)  /* between two beats of the grantor */
#define LEASE_SILENT_US ((int64_t)5000000)  /* no word from a grantor: there is none */

/* The limits of a target; 0: none of that kind. safe_…: what all workers together may do without a
 * grantor; -1: lease_safe() decides. */
struct lease_limits {
	int64_t rpm, tpm, concurrent;
	int64_t safe_rpm, safe_tpm, safe_concurrent;
};

/* Nothing to be leased: every call may start at once. */
bool lease_unlimited(const struct lease_limits *l);
/* What all workers together may do without a grantor: safe, at most limit; by default a quarter,
 * at least 1, but nothing of a limit of 1, which cannot be shared without somebody to say whose it
 * is. */
int64_t lease_safe(int64_t limit, int64_t safe);
/* The part of it that belongs to one of n workers, who is at this rank in the order of their ids.
 * The parts sum up to safe exactly. */
int64_t lease_safe_part(int64_t safe, size_t workers, size_t rank);

#endif
