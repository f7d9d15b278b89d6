//! vigie-tests: the whole system, told as stories with real parties.
//!
//! [`harness`] sets the stage: real collectors and agents as processes, a real nginx, a webhook that can fail in every
//! way a webhook fails, and nodes driven by hand that may lie. The stories are in `scenarios/`, one module for each
//! question. Nothing here is part of the product.
//!
//! Rules of the house: real processes, no sleep to wait for something ([`harness::eventually`] looks until its one
//! patience ends), no assertion about how long something took, and everything that was started ends with its owner.

pub mod harness;
