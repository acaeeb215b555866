// SPDX-License-Identifier: GPL-2.0
/* Makes the tracepoints of kbus_trace.h, and what Rust calls them by. */
#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "kbus_trace.h"
