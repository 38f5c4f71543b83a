//! The program as a user meets it: the real binary in folders of its own, with a model and data that take milliseconds.

#[path = "cli/adapters.rs"]
mod adapters;
#[path = "cli/cached.rs"]
mod cached;
#[path = "cli/compare.rs"]
mod compare;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/half.rs"]
mod half;
#[path = "cli/methods.rs"]
mod methods;
#[path = "cli/mistakes.rs"]
mod mistakes;
#[path = "cli/plan.rs"]
mod plan;
#[path = "cli/quantised.rs"]
mod quantised;
#[path = "cli/resumed.rs"]
mod resumed;
#[path = "cli/runs.rs"]
mod runs;
#[path = "cli/settings.rs"]
mod settings;
#[path = "common/skip.rs"]
mod skip;
#[path = "cli/stops.rs"]
mod stops;
#[path = "cli/support.rs"]
mod support;
#[path = "cli/tasks.rs"]
mod tasks;
#[path = "cli/tuning.rs"]
mod tuning;
#[path = "cli/verbs.rs"]
mod verbs;
#[path = "cli/weak.rs"]
mod weak;
#[path = "cli/widths.rs"]
mod widths;
#[path = "cli/wmss.rs"]
mod wmss;
